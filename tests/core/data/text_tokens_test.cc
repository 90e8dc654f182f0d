#include "core/data/text_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/core/data/make_files.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::ElementsAre;

TEST(TextTokensTest, ATextThatChangesBetweenTwoReadingsIsRefused) {
  const std::string text = "abca";
  ChangingSource same({text});
  const auto tokens = ReadText("t", {}, same);
  ASSERT_THAT(tokens, IsOk());
  EXPECT_THAT(tokens->tokens, ElementsAre(0, 1, 2, 0));
  const std::string others[] = {
      "abcaa",  // longer
      "abc",    // shorter
      "abcd",   // a character above all others
      "abcB",   // below
      "ab\xc3\xa9", "",
  };
  for (const std::string& other : others) {
    ChangingSource file({text, other});
    EXPECT_THAT(ReadText("t", {}, file),
                StatusIs(absl::StatusCode::kInvalidArgument, "path: t: changed while it was read"))
        << other;
  }
}

}  // namespace
}  // namespace gradwatch::core
