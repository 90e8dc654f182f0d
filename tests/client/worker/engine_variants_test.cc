// The loader picks the engine that suits the processor, and what is trained does not depend on which.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/process.h"
#include "tests/support/shipped_jobs.h"

namespace gradwatch::worker {
namespace {

using google::protobuf::Struct;

constexpr char kLoader[] = "/lib64/ld-linux-x86-64.so.2";
constexpr char kLibraries[] = GRADWATCH_BINARY_DIR "/lib/glibc-hwcaps/";

class EngineVariantsTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(absl::StrCat(kLibraries, "x86-64-v3"))) {
      GTEST_SKIP() << "this build has one engine for all processors";
    }
    const std::string levels = testing::Run({kLoader, "--help"}).out;
    for (const char* level : {"x86-64-v4", "x86-64-v3"}) {
      if (absl::StrContains(levels, absl::StrCat(level, " (supported"))) supported_.emplace_back(level);
    }
    supported_.emplace_back("x86-64-v2");
    if (supported_.size() == 1) GTEST_SKIP() << "this processor has neither x86-64-v3 nor -v4";
  }

  // What the worker prints of the beginning of the job when the loader may look at these levels only; empty: at all.
  // An empty object where the job's data are absent.
  Struct Train(const std::string& mask) {
    std::vector<std::string> command = {
        GRADWATCH_BINARY_DIR "/bin/gradwatch-worker", "train", GetParam(), "--steps", Steps(), "-o", "json"};
    if (!mask.empty()) command.insert(command.begin(), {kLoader, "--glibc-hwcaps-mask", mask});
    for (const std::string& folder : testing::JobDataFolders()) command.insert(command.end(), {"--data-root", folder});
    const testing::RunResult result = testing::Run(command);
    Struct object;
    if (absl::StrContains(result.err, "no such file")) return object;
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(result.out, &object).ok()) << result.out;
    return object;
  }
  static std::string Text(const Struct& object, const char* name) { return object.fields().at(name).string_value(); }

  // An exploding run doubles any difference many times: there it is the first update that must agree.
  static std::string Steps() { return absl::StrContains(GetParam(), "explode") ? "1" : "10"; }
  // Fifty layers of ReLU and batch norm multiply what is rounded in the first by 1.21 each, 14,000 together.
  static double Bound() { return absl::StrContains(GetParam(), "explode_batch_norm") ? 1e-2 : 1e-5; }

  std::vector<std::string> supported_;  // best first
};

TEST_P(EngineVariantsTest, TheLoaderPicksTheBestAndAllTrainTheSame) {
  const Struct best = Train("");
  if (best.fields().empty()) GTEST_SKIP() << "its data are not here";
  EXPECT_EQ(Text(best, "engine_variant"), supported_[0]);
  EXPECT_EQ(Text(Train(""), "parameters_sha256"), Text(best, "parameters_sha256")) << "bit by bit within a variant";
  for (const std::string& level : supported_) {
    const Struct other = Train(level);
    EXPECT_EQ(Text(other, "engine_variant"), level);
    for (const char* loss : {"first_loss", "final_loss"}) {
      const double expected = best.fields().at(loss).number_value();
      EXPECT_NEAR(other.fields().at(loss).number_value(), expected, Bound() * std::abs(expected))
          << level << " " << loss;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Jobs, EngineVariantsTest, ::testing::ValuesIn(testing::ShippedJobs()),
                         [](const auto& info) { return testing::ShippedJobName(info.param); });

}  // namespace
}  // namespace gradwatch::worker
