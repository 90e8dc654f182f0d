// What deploy/show-progress makes of ninja's output, and what scripts say of themselves.
#include <gmock/gmock.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/support/process.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::RunResult;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

RunResult ShowProgress(const std::string& ninja) {
  return gradwatch::testing::Run(
      {"/bin/bash", "-o", "pipefail", "-c",
       absl::StrCat("{ ", ninja, "; } | ", GRADWATCH_SOURCE_DIR, "/deploy/show-progress 0")});
}

TEST(ShowProgressTest, SaysHowFarItIs) {
  const RunResult result = ShowProgress(R"(printf '[1/4] Building a\n[2/4] Building b\nb.cc:1: error: no\n')");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr(" 25 %  1 of 4 parts built, "));
  EXPECT_THAT(result.out, HasSubstr(" 50 %  2 of 4 parts built, "));
  EXPECT_THAT(result.out, HasSubstr("\nb.cc:1: error: no\n")) << "what compilers say is passed on";
  EXPECT_THAT(result.out, Not(HasSubstr("Building"))) << "the rest is noise";
  EXPECT_THAT(result.out, Not(HasSubstr("\x1b"))) << "not on a terminal";
}

TEST(ShowProgressTest, IsQuietWhereNothingIsToBeDoneAndFailsAsTheBuild) {
  EXPECT_EQ(ShowProgress(R"(printf 'ninja: no work to do.\n')").out, "");
  EXPECT_EQ(ShowProgress(R"(printf '[1/4] a\n'; exit 3)").exit_code, 3);
}

TEST(ScriptHelpTest, IsTheWordsAndNoCode) {
  for (const auto& [folder, script] : {std::pair("deploy", "quickstart"), std::pair("tests", "run")}) {
    const RunResult result = gradwatch::testing::Run(
        {"/bin/bash", "-c", absl::StrCat("cd " GRADWATCH_SOURCE_DIR "/", folder, " && ./", script, " --help")});
    EXPECT_EQ(result.exit_code, 0) << script;
    EXPECT_EQ(result.err, "") << script;
    EXPECT_THAT(result.out, StartsWith("Installs what is missing")) << script;
    EXPECT_THAT(result.out, HasSubstr(absl::StrCat("\n\n  ", folder, "/", script, " ["))) << script;
    EXPECT_THAT(result.out, Not(HasSubstr("set -euo"))) << script;
    EXPECT_THAT(result.out, Not(HasSubstr("#"))) << script;
  }
}

}  // namespace
}  // namespace gradwatch::cli
