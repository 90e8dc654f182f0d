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
#include "tests/support/temp_dir.h"

namespace gradwatch::worker {
namespace {

using google::protobuf::Struct;

constexpr char kLoader[] = "/lib64/ld-linux-x86-64.so.2";
constexpr char kLibraries[] = GRADWATCH_BINARY_DIR "/lib/glibc-hwcaps/";

constexpr char kSpec[] = R"(
steps: 60
model:
  layers:
    - rnn: {units: 24}
    - dense: {units: 5}
  loss: {function: softmax_cross_entropy}
data:
  batch_size: 8
  text: {path: text.txt, sequence_length: 12}
optimizer: {learning_rate: 0.1, momentum: 0.9}
controls: {clip: {mode: global_norm, threshold: 1}}
)";

class EngineVariantsTest : public ::testing::Test {
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
    std::string text;
    for (int i = 0; i < 400; ++i) absl::StrAppend(&text, i % 3 == 0 ? "abcab" : "edcba");
    dir_.Write("text.txt", text);
    spec_ = dir_.Write("job.yaml", kSpec);
  }

  // What the worker prints when the loader may look at these levels only; empty: at all.
  Struct Train(const std::string& mask) {
    std::vector<std::string> command = {GRADWATCH_BINARY_DIR "/bin/gradwatch-worker", "train", spec_, "-o", "json"};
    if (!mask.empty()) command.insert(command.begin(), {kLoader, "--glibc-hwcaps-mask", mask});
    const testing::RunResult result = testing::Run(command);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    Struct object;
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(result.out, &object).ok()) << result.out;
    return object;
  }
  static std::string Text(const Struct& object, const char* name) { return object.fields().at(name).string_value(); }

  const testing::TempDir dir_;
  std::vector<std::string> supported_;  // best first
  std::string spec_;
};

TEST_F(EngineVariantsTest, TheLoaderPicksTheBestThatIsThere) {
  EXPECT_EQ(Text(Train(""), "engine_variant"), supported_[0]);
  for (const std::string& level : supported_) EXPECT_EQ(Text(Train(level), "engine_variant"), level);
}

TEST_F(EngineVariantsTest, AllTrainTheSame) {
  const Struct best = Train("");
  EXPECT_EQ(Text(Train(""), "parameters_sha256"), Text(best, "parameters_sha256")) << "bit by bit within a variant";
  EXPECT_LT(best.fields().at("final_loss").number_value(), best.fields().at("first_loss").number_value());
  for (const std::string& level : supported_) {
    const Struct other = Train(level);
    for (const char* loss : {"first_loss", "final_loss"}) {
      const double expected = best.fields().at(loss).number_value();
      EXPECT_NEAR(other.fields().at(loss).number_value(), expected, 1e-5 * std::abs(expected)) << level << " " << loss;
    }
  }
}

}  // namespace
}  // namespace gradwatch::worker
