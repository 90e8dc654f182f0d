// gradwatch-worker as it is run from a shell, without a server.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

#include "absl/strings/substitute.h"
#include "client/worker/exit_code.h"
#include "client/worker/signal_watch.h"
#include "tests/support/allocation_count.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::worker {
namespace {

using google::protobuf::Struct;
using ::testing::HasSubstr;
using testing::Process;
using testing::RunResult;

// $0: steps, $1: learning rate, $2: more fields.
constexpr char kSpec[] = R"({
  "steps": $0,
  "model": {
    "layers": [{"dense": {"units": 8}}, {"activation": {"function": "ACTIVATION_FUNCTION_TANH"}},
               {"dense": {"units": 4}}],
    "loss": {"function": "LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY"}},
  "data": {"batch_size": 16, "gaussian_clusters": {"classes": 4, "features": 8}},
  "optimizer": {"learning_rate": $1}$2
})";

class ProgramTest : public ::testing::Test {
 protected:
  std::string Spec(int64_t steps, double learning_rate = 0.1, const std::string& more = "") {
    return dir_.Write("job.json", absl::Substitute(kSpec, steps, learning_rate, more));
  }
  static RunResult Worker(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "gradwatch-worker");
    return testing::Run(std::move(arguments));
  }
  static Struct Parse(const std::string& json) {
    Struct object;
    const auto status = google::protobuf::util::JsonStringToMessage(json, &object);
    EXPECT_TRUE(status.ok()) << json;
    return object;
  }

  testing::TempDir dir_;
};

TEST_F(ProgramTest, TrainPrintsWhatCameOut) {
  const RunResult result = Worker({"train", Spec(200), "-o", "json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const Struct object = Parse(result.out);
  const auto& fields = object.fields();
  EXPECT_EQ(fields.at("state").string_value(), "succeeded");
  EXPECT_EQ(fields.at("steps").number_value(), 200);
  EXPECT_GT(fields.at("steps_per_second").number_value(), 0);
  EXPECT_GT(fields.at("first_loss").number_value(), fields.at("final_loss").number_value());
  EXPECT_EQ(fields.at("parameters").number_value(), 8 * 8 + 8 + 8 * 4 + 4);
  EXPECT_EQ(fields.at("parameters_sha256").string_value().size(), 64u);
  EXPECT_TRUE(fields.at("alerts").has_struct_value());
}

TEST_F(ProgramTest, WrongArgumentsReachNoTerminalRaw) {
  const RunResult result = Worker({"train", Spec(1), "--red\x1b[31m"});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("--red\\x1b[31m"));
  EXPECT_EQ(Worker({"--help"}).exit_code, kSuccess);
}

TEST_F(ProgramTest, TheObserverDoesNotDisturb) {
  const std::string spec = Spec(100);
  std::string first;
  for (const char* level : {"full", "norm", "none"}) {
    const RunResult result = Worker({"train", spec, "--report", level});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const std::string digest = Parse(result.out).fields().at("parameters_sha256").string_value();
    if (first.empty()) first = digest;
    EXPECT_EQ(digest, first) << level;
  }
}

TEST_F(ProgramTest, EveryClipModeTrains) {
  const std::string unclipped = Parse(Worker({"train", Spec(150)}).out).fields().at("parameters_sha256").string_value();
  for (const char* clip :
       {R"("mode": "CLIP_MODE_GLOBAL_NORM", "threshold": 0.1)", R"("mode": "CLIP_MODE_TENSOR_NORM", "threshold": 0.1)",
        R"("mode": "CLIP_MODE_VALUE", "threshold": 0.02)", R"("mode": "CLIP_MODE_ADAPTIVE", "threshold": 0.1)",
        R"("mode": "CLIP_MODE_AUTOCLIP")", R"("mode": "CLIP_MODE_ZCLIP", "zclip": {"max_norm": 0.1})",
        R"("mode": "CLIP_MODE_ADAGC", "adagc": {"warmup_steps": 20})"}) {
    const RunResult result =
        Worker({"train", Spec(150, 0.1, absl::Substitute(R"(, "controls": {"clip": {$0}})", clip)), "-o", "json"});
    ASSERT_EQ(result.exit_code, 0) << clip << result.err;
    const Struct object = Parse(result.out);
    EXPECT_GT(object.fields().at("first_loss").number_value(), object.fields().at("final_loss").number_value()) << clip;
    EXPECT_NE(object.fields().at("parameters_sha256").string_value(), unclipped) << clip;
  }
}

TEST_F(ProgramTest, SpamNeedsAnOptimizerWithASecondMoment) {
  const RunResult result =
      Worker({"train", Spec(10, 0.1, R"(, "controls": {"clip": {"mode": "CLIP_MODE_SPAM"}})"), "-o", "json"});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("controls.clip.mode: SPAM needs optimizer ADAM or ADAMW"));
}

TEST_F(ProgramTest, StepsOverrideTheSpecs) {
  const RunResult result = Worker({"train", Spec(1'000'000'000), "--steps", "7", "-o", "table"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("steps              7\n"));
}

TEST_F(ProgramTest, AFailedRunIsOne) {
  const RunResult result =
      Worker({"train", Spec(100, 1e38, R"(, "controls": {"clip": {"non_finite": "NON_FINITE_ACTION_STOP"}})")});
  EXPECT_EQ(result.exit_code, 1) << result.err;
  const Struct object = Parse(result.out);
  EXPECT_EQ(object.fields().at("state").string_value(), "failed");
  EXPECT_THAT(object.fields().at("failure").string_value(), HasSubstr("not finite"));
  EXPECT_EQ(object.fields().at("alerts").struct_value().fields().at("non_finite").number_value(), 1);
}

TEST_F(ProgramTest, AStoppedRunIsEight) {
  for (const int signal : {SIGTERM, SIGINT}) {
    // A child starts with its parent's blocked signals, so it cannot be killed before it has blocked them itself.
    const sigset_t blocked = BlockSignals({signal});
    Process worker({"gradwatch-worker", "train", Spec(1'000'000'000)});
    pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
    worker.Signal(signal);
    EXPECT_EQ(worker.Wait(), 8);
    const std::optional<std::string> line = worker.ReadLine();
    ASSERT_TRUE(line.has_value());
    EXPECT_EQ(Parse(*line).fields().at("state").string_value(), "stopped");
  }
}

// Its estimate is within the limit of a job, and beyond what this process may have.
TEST_F(ProgramTest, ARunWithoutEnoughMemorySaysSo) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "a sanitizer has memory of its own";
  const struct {
    std::string data, layer;
  } cases[] = {
      {R"("gaussian_clusters": {"classes": 4, "features": 1000, "examples": 1000000})", R"({"dense": {"units": 4}})"},
      {R"("gaussian_clusters": {"classes": 4, "features": 30000})",
       R"({"dense": {"units": 3000}}, {"dense": {"units": 4}})"}};
  for (const auto& c : cases) {
    const std::string spec = dir_.Write("large.json", absl::Substitute(R"({
      "steps": 1, "model": {"layers": [$1], "loss": {"function": "LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY"}},
      "data": {"batch_size": 1, $0}, "optimizer": {"learning_rate": 1}})",
                                                                       c.data, c.layer));
    const RunResult result = testing::Run({"/bin/sh", "-c", "ulimit -v 600000; exec \"$1\" train \"$2\"", "sh",
                                           GRADWATCH_BINARY_DIR "/bin/gradwatch-worker", spec});
    EXPECT_EQ(result.exit_code, 1) << result.err;
    EXPECT_THAT(result.out + result.err, HasSubstr("not enough memory"));
  }
}

TEST_F(ProgramTest, UsageAndInvalidSpecsAreTwo) {
  const struct {
    std::vector<std::string> arguments;
    std::string err;
  } cases[] = {
      {{}, "subcommand"},
      {{"fly"}, "subcommand"},
      {{"train"}, "spec"},
      {{"train", Spec(10), "--report", "everything"}, "--report"},
      {{"train", Spec(10), "--steps", "0"}, "--steps"},
      {{"attach", "--server", "127.0.0.1:1", "--job", "j"}, "--attempt"},
      {{"train", dir_.Write("wrong.json", absl::Substitute(kSpec, 10, "-1", ""))}, "learning_rate"},
      {{"train", dir_.Write("torn.json", "{")}, "torn.json"},
  };
  for (const auto& c : cases) {
    const RunResult result = Worker(c.arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, HasSubstr(c.err));
  }
}

TEST_F(ProgramTest, AJobOfAForeignProgramIsNotItsToTrain) {
  const RunResult result = Worker({"train", dir_.Write("external.yaml", "external: {framework: pytorch}\n")});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("external: this job is trained by a foreign program"));
}

// CLI11 would take hexadecimal numbers, "nan" as a number above 0, and "010" as 8.
TEST_F(ProgramTest, NumbersAreDecimal) {
  const std::vector<std::string> attach = {"attach", "--server", "127.0.0.1:1", "--job", "j", "--attempt"};
  const auto with = [&attach](std::vector<std::string> more) {
    more.insert(more.begin(), attach.begin(), attach.end());
    return more;
  };
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"train", Spec(10), "--steps", "0x7"},
                                                    {"train", Spec(10), "--steps", "7x"},
                                                    with({"0x1"}),
                                                    with({"1", "--token-fd", "0x3"}),
                                                    with({"1", "--report-bytes", "0x1000"}),
                                                    with({"1", "--report-bytes", "nan"}),
                                                    {"check", "--max-bytes", "0x1000"},
                                                    {"check", "--max-seconds", "0x10"}}) {
    const RunResult result = Worker(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments.back();
    EXPECT_THAT(result.err, HasSubstr("\"" + arguments.back() + "\" is not a decimal number")) << arguments.back();
  }
  const RunResult ten = Worker({"train", Spec(100), "--steps", "010"});
  EXPECT_EQ(Parse(ten.out).fields().at("steps").number_value(), 10) << ten.err;
}

TEST_F(ProgramTest, TellsHowTheFirstLineOfATableWasRead) {
  dir_.Write("table.csv", "city,2019\x1b[31m,2020\n5,1,2\n6,3,4\n");
  const std::string spec = dir_.Write("table.json", R"({
    "steps": 1,
    "model": {"layers": [{"dense": {"units": 1}}], "loss": {"function": "LOSS_FUNCTION_SQUARED_ERROR"}},
    "data": {"batch_size": 2, "csv": {"path": "table.csv", "inputs": ["city"], "targets": ["2020"]}},
    "optimizer": {"learning_rate": 0.001}})");
  const std::string note =
      "the first line is read as a header, since \"city\" in column 1 stands over numbers: city, 2019\\x1b[31m, 2020 "
      "(csv.header: no makes it data)";
  const RunResult result = Worker({"train", spec});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "gradwatch-worker: data: " + note + "\n");
  EXPECT_EQ(Parse(result.out).fields().at("data_note").string_value(), note);
}

TEST_F(ProgramTest, WhatIsMissingIsFive) {
  EXPECT_EQ(Worker({"train", dir_.File("nothing.json")}).exit_code, 5);
  const RunResult result = Worker({"train", dir_.Write("text.json", R"({
    "steps": 1,
    "model": {"layers": [{"rnn": {"units": 4}}, {"dense": {"units": 4}}],
              "loss": {"function": "LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY"}},
    "data": {"batch_size": 1, "text": {"path": "absent.txt", "sequence_length": 4}},
    "optimizer": {"learning_rate": 1}})")});
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.err, HasSubstr("absent.txt"));
}

TEST_F(ProgramTest, DataLiesBelowTheFolderOfTheSpec) {
  dir_.Write("text.txt", "abcdabcdabcdabcdabcdabcd");
  const std::string spec = dir_.Write("text.json", R"({
    "steps": 2,
    "model": {"layers": [{"rnn": {"units": 4}}, {"dense": {"units": 4}}],
              "loss": {"function": "LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY"}},
    "data": {"batch_size": 1, "text": {"path": "text.txt", "sequence_length": 4}},
    "optimizer": {"learning_rate": 1}})");
  const RunResult result = Worker({"train", spec});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(Worker({"train", "--data-root", dir_.path(), spec}).exit_code, 0);
  const testing::TempDir elsewhere;
  EXPECT_EQ(Worker({"train", "--data-root", elsewhere.path(), spec}).exit_code, 5);
}

TEST_F(ProgramTest, SaysItsVersion) {
  const RunResult result = Worker({"--version"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, std::string(GRADWATCH_VERSION) + "\n");
}

}  // namespace
}  // namespace gradwatch::worker
