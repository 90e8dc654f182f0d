// What users see when something dies, is stopped, or was never there.
#include <gmock/gmock.h>

#include <csignal>
#include <thread>

#include "absl/strings/str_replace.h"
#include "tests/integration/server_fixture.h"

namespace gradwatch::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class FailureTest : public ServerTest {
 protected:
  void SetUp() override { StartServer(); }

  // Every step of a job that has ended was reported once, or is told to be lost.
  void ExpectEveryStepOnce(const std::string& job) {
    std::vector<int> told(static_cast<size_t>(Number(GetJob(job), "steps_done")));
    const RunResult watched = Gradwatch({"watch", job, "--from-beginning", "-o", "json"});
    ASSERT_EQ(watched.exit_code, StateOf(job) == "stopped" ? 8 : 0) << watched.err;
    for (const auto line : absl::StrSplit(watched.out, '\n', absl::SkipEmpty())) {
      const Struct object = Json(std::string(line));
      const bool lost = Text(object, "type") == "lost";
      if (!lost && Text(object, "type") != "report") continue;
      const auto first = static_cast<size_t>(Number(object, lost ? "first_step" : "step"));
      const auto last = static_cast<size_t>(Number(object, lost ? "last_step" : "step"));
      ASSERT_LT(last, told.size());
      for (size_t step = first; step <= last; ++step) ++told[step];
    }
    EXPECT_EQ(std::count(told.begin(), told.end(), 1), static_cast<int64_t>(told.size()));
  }

  // Submits a long job and waits until it has run some steps.
  void SubmitAndAwaitSteps(const std::string& job) {
    Submit(kLongJob, job);
    const RunResult watched = Gradwatch({"watch", job, "--from-beginning", "--until-step", "20", "-o", "json"});
    ASSERT_EQ(watched.exit_code, 0) << watched.err;
  }
};

TEST_F(FailureTest, AKilledWorkerFailsItsJobAndNoOther) {
  SubmitAndAwaitSteps("victim");
  SubmitAndAwaitSteps("bystander");
  const pid_t worker = WorkerOf("victim");
  ASSERT_GT(worker, 0);
  ASSERT_EQ(kill(worker, SIGKILL), 0);
  EXPECT_EQ(Gradwatch({"job", "wait", "victim"}).exit_code, 1);
  const Struct job = GetJob("victim");
  EXPECT_EQ(Text(job, "state"), "failed");
  EXPECT_THAT(Text(job, "failure"), HasSubstr("SIGKILL"));
  EXPECT_EQ(StateOf("bystander"), "running");
  EXPECT_EQ(Gradwatch({"health"}).exit_code, 0);
}

TEST_F(FailureTest, AKilledServerComesBackWithJobsAndEventsAndTheRunGoesOn) {
  SubmitAndAwaitSteps("survivor");
  ASSERT_EQ(Gradwatch({"clip", "set", "survivor", "--max-norm", "2"}).exit_code, 0);
  Submit(kLongJob, "ended");
  ASSERT_EQ(Gradwatch({"job", "stop", "ended"}).exit_code, 0);
  ASSERT_EQ(Gradwatch({"job", "wait", "ended"}).exit_code, 8);
  const auto before = Events("ended");
  const pid_t worker = WorkerOf("survivor");
  const double steps_before = Number(GetJob("survivor"), "steps_done");

  server_->Signal(SIGKILL);
  ASSERT_EQ(server_->Wait(), -SIGKILL);
  StartServer();

  const auto after = Events("ended");
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < after.size(); ++i) EXPECT_EQ(after[i].DebugString(), before[i].DebugString());
  EXPECT_EQ(StateOf("ended"), "stopped");

  // The worker went on meanwhile, attaches again, and nothing that it did is lost or counted twice.
  const std::string later = absl::StrCat(static_cast<int64_t>(steps_before) + 1000);
  const RunResult watched = Gradwatch({"watch", "survivor", "--from-beginning", "--until-step", later, "-o", "json"});
  ASSERT_EQ(watched.exit_code, 0) << watched.err;
  EXPECT_EQ(WorkerOf("survivor"), worker) << "it is the same process";
  const Struct job = GetJob("survivor");
  EXPECT_EQ(Text(job, "state"), "running");
  EXPECT_EQ(Number(job, "attempt"), 1);
  EXPECT_EQ(Number(job, "applied_revision"), 2);
  EXPECT_EQ(Gradwatch({"job", "stop", "survivor"}).exit_code, 0);
  EXPECT_EQ(Gradwatch({"job", "wait", "survivor"}).exit_code, 8);
  ExpectEveryStepOnce("survivor");
}

TEST_F(FailureTest, SigtermEndsTheServerCleanlyAndTellsItsStreams) {
  SubmitAndAwaitSteps("running");
  auto watch = Start({"watch", "running", "-o", "json"});
  ASSERT_TRUE(watch->ReadLine().has_value());
  const pid_t worker = WorkerOf("running");
  server_->Signal(SIGTERM);
  EXPECT_EQ(server_->Wait(), 0) << server_->Errors();
  EXPECT_EQ(kill(worker, 0), 0) << "trainers outlive the server";
  watch->Signal(SIGINT);
  while (watch->ReadLine().has_value()) continue;
  EXPECT_EQ(watch->Wait(), 130);
  kill(worker, SIGKILL);
}

TEST_F(FailureTest, AHangUpEndsTheServerCleanlyAndALostLedgerIsTold) {
  SubmitAndAwaitSteps("job");
  ASSERT_EQ(Gradwatch({"job", "stop", "job"}).exit_code, 0);
  ASSERT_EQ(Gradwatch({"job", "wait", "job"}).exit_code, 8);
  server_->Signal(SIGHUP);
  EXPECT_EQ(server_->Wait(), 0) << server_->Errors();
  EXPECT_THAT(server_->Errors(), HasSubstr("shut down"));
  for (const char* file : {"main.sqlite", "main.sqlite-wal", "main.sqlite-shm"}) {
    std::filesystem::remove(dir_.File("data/") + file);
  }
  StartServer();
  EXPECT_THAT(server_->Errors(), HasSubstr("there are statistics of 1 jobs that main.sqlite does not know"));
}

TEST_F(FailureTest, OneCtrlCEndsAWatchWhoseReaderHasStopped) {
  SubmitAndAwaitSteps("job");
  const std::string spec = dir_.Write("job.yaml", kLongJob);
  for (const auto& command : std::vector<std::vector<std::string>>{{"watch", "job", "--from-beginning", "-o", "json"},
                                                                   {"submit", spec, "--follow", "-o", "json"}}) {
    auto watch = Start(command);
    while (watch->unread() < 32768) std::this_thread::yield();  // the pipe is full soon
    watch->Signal(SIGINT);
    EXPECT_EQ(watch->Wait(), 130) << command[0];
    EXPECT_THAT(watch->Errors(), HasSubstr("the job goes on; again with: gradwatch watch"));
  }
}

TEST_F(FailureTest, AClosedStandardOutputIsAnError) {
  const std::string health = "gradwatch --server " + address_ + " health";
  const std::string spec = dir_.Write("short.yaml", absl::StrReplaceAll(kLongJob, {{"1000000000", "3"}}));
  for (const std::string& command : {"gradwatch --server " + address_ + " job list", health, health + " 0<&-",
                                     std::string("gradwatch --help"), "gradwatch-worker train " + spec}) {
    Process process({"/bin/sh", "-c", absl::StrCat("exec " GRADWATCH_BINARY_DIR "/bin/", command, " >&-")});
    EXPECT_EQ(process.Wait(), 1) << command;  // nothing: it hangs
    EXPECT_THAT(process.Errors(), HasSubstr("standard output")) << command;
  }
  Process silent({"/bin/sh", "-c", absl::StrCat("exec " GRADWATCH_BINARY_DIR "/bin/", health, " 2>&- >&-")});
  EXPECT_EQ(silent.Wait(), 1);
}

TEST_F(FailureTest, NoServerIsExitCodeThreeAndOneLine) {
  const std::string gone = address_;
  server_->Signal(SIGTERM);
  ASSERT_EQ(server_->Wait(), 0);
  for (const auto& command : std::vector<std::vector<std::string>>{
           {"job", "list"}, {"health"}, {"watch", "x"}, {"alerts", "watch"}, {"clip", "get", "x"}}) {
    const RunResult result = Gradwatch(command);
    EXPECT_EQ(result.exit_code, 3) << command[0] << ": " << result.err;
    EXPECT_THAT(result.err, HasSubstr(gone));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

TEST_F(FailureTest, ASecondServerOnTheSameDataIsRefused) {
  const RunResult second =
      gradwatch::testing::Run({"gradwatchd", "--data-dir", dir_.File("data"), "--listen", "127.0.0.1:0"});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_THAT(second.err, HasSubstr("data"));
}

TEST_F(FailureTest, BadSpecsAreRefusedWithPathAndValueBeforeAnythingStarts) {
  // What is fine by itself and completes the parts below.
  const std::string model = "model: {layers: [{dense: {units: 4}}], loss: {function: softmax_cross_entropy}}\n";
  const std::string data = "data: {batch_size: 4, gaussian_clusters: {classes: 4, features: 8}}\n";
  const std::string rate = "optimizer: {learning_rate: 0.1}\n";
  dir_.Write("empty.txt", "");
  dir_.Write("tiny.txt", "ab");
  const std::string text_data = "data: {batch_size: 4, text: {sequence_length: 8, path: ";
  const struct {
    const char* what;
    std::string spec;
    int exit_code;
    const char* path;
    const char* value;
  } cases[] = {
      {"misspelt field", "stepz: 10\n", 2, "stepz", "stepz"},
      {"wrong type", "steps: ten\n", 2, "steps", "ten"},
      {"no steps", model + data + rate, 2, "steps", "0"},
      {"NaN rate", "steps: 1\noptimizer: {learning_rate: .nan}\n" + model + data, 2, "optimizer.learning_rate", "nan"},
      {"layer too large",
       "steps: 1\nmodel: {layers: [{dense: {units: 99999999}}], loss: {function: squared_error}}\n" + data + rate, 2,
       "model.layers[0].dense.units", "99999999"},
      {"does not fit the end",
       "steps: 1\nmodel: {layers: [{dense: {units: 3}}], loss: {function: softmax_cross_entropy}}\n" + data + rate, 2,
       "model.layers[0]", "3"},
      {"missing file", "steps: 1\n" + model + rate + text_data + "nowhere.txt}}\n", 5, "data.text.path", "nowhere.txt"},
      {"empty file", "steps: 1\n" + model + rate + text_data + "empty.txt}}\n", 2, "data.text.path", "empty.txt"},
      {"file too short", "steps: 1\n" + model + rate + text_data + "tiny.txt}}\n", 2, "data.text", "2"},
      {"outside the roots", "steps: 1\n" + model + rate + text_data + "/etc/passwd}}\n", 2, "data.text.path",
       "/etc/passwd"},
      {"climbing out", "steps: 1\n" + model + rate + text_data + "../../../../etc/passwd}}\n", 2, "data.text.path",
       "passwd"},
      {"bad clip", "steps: 1\ncontrols: {clip: {mode: global_norm, threshold: -1}}\n" + model + data + rate, 2,
       "controls.clip.threshold", "-1"},
      {"not served yet", "steps: 1\ncheckpoints: {every_steps: 5}\n" + model + data + rate, 2, "checkpoints",
       "not served yet"},
  };
  for (const auto& c : cases) {
    const RunResult result = Gradwatch({"submit", dir_.Write("bad.yaml", c.spec)});
    EXPECT_EQ(result.exit_code, c.exit_code) << c.what << ": " << result.err;
    EXPECT_THAT(result.err, HasSubstr(c.path)) << c.what;
    EXPECT_THAT(result.err, HasSubstr(c.value)) << c.what;
    EXPECT_EQ(result.out, "") << c.what;
  }
  const RunResult list = Gradwatch({"job", "list", "-o", "json"});
  EXPECT_EQ(list.exit_code, 0);
  EXPECT_THAT(list.out, Not(HasSubstr("job_id"))) << "nothing was started";
}

TEST_F(FailureTest, ATooLargeNetworkIsRefusedBeforeMemoryIsTaken) {
  const RunResult result = Gradwatch({"submit", dir_.Write("large.yaml", R"(
steps: 1
model:
  layers: [{dense: {units: 1000000}}, {dense: {units: 1000000}}, {dense: {units: 4}}]
  loss: {function: softmax_cross_entropy}
data: {batch_size: 4, gaussian_clusters: {classes: 4, features: 8}}
optimizer: {learning_rate: 0.1}
)")});
  EXPECT_EQ(result.exit_code, 2) << result.err;
  EXPECT_THAT(result.err, HasSubstr("parameters"));
}

TEST_F(FailureTest, WrongIdsAndStatesHaveTheirExitCodes) {
  EXPECT_EQ(Gradwatch({"job", "get", "nobody"}).exit_code, 5);
  EXPECT_EQ(Gradwatch({"watch", "nobody"}).exit_code, 5);
  EXPECT_EQ(Gradwatch({"clip", "set", "nobody", "--max-norm", "1"}).exit_code, 5);
  EXPECT_EQ(Gradwatch({"submit", "/no/such/file.yaml"}).exit_code, 2);
  EXPECT_EQ(Gradwatch({"clip", "set"}).exit_code, 2);
  EXPECT_EQ(Gradwatch({"nonsense"}).exit_code, 2);
  SubmitAndAwaitSteps("job");
  EXPECT_EQ(Gradwatch({"clip", "set", "job", "--max-norm", "nan"}).exit_code, 2);
  EXPECT_EQ(Gradwatch({"clip", "set", "job", "--max-norm", "-1"}).exit_code, 2);
  EXPECT_EQ(Gradwatch({"clip", "set", "job", "--max-norm", "1", "--if-etag", "stale"}).exit_code, 6);
  EXPECT_EQ(Gradwatch({"job", "delete", "job"}).exit_code, 6) << "it has not ended";
  EXPECT_EQ(Gradwatch({"submit", dir_.Write("job.yaml", kLongJob), "--job-id", "job"}).exit_code, 6);
  EXPECT_EQ(Gradwatch({"job", "stop", "job"}).exit_code, 0);
  EXPECT_EQ(Gradwatch({"job", "wait", "job"}).exit_code, 8);
  EXPECT_EQ(Gradwatch({"clip", "set", "job", "--max-norm", "1"}).exit_code, 6) << "it has ended";
  EXPECT_EQ(Gradwatch({"job", "delete", "job"}).exit_code, 0);
  EXPECT_EQ(Gradwatch({"job", "get", "job"}).exit_code, 5);
}

TEST_F(FailureTest, PauseHoldsTheStepsAndResumeGoesOn) {
  SubmitAndAwaitSteps("job");
  EXPECT_EQ(Gradwatch({"job", "pause", "job"}).exit_code, 0);
  auto watch = Start({"watch", "job", "--from-beginning", "--events-only", "-o", "json"});
  ASSERT_TRUE(watch->ReadUntil("paused").has_value());
  const double steps = Number(GetJob("job"), "steps_done");
  EXPECT_EQ(Number(GetJob("job"), "steps_done"), steps);
  EXPECT_EQ(Gradwatch({"job", "resume", "job"}).exit_code, 0);
  ASSERT_EQ(
      Gradwatch({"watch", "job", "--from-beginning", "--until-step", absl::StrCat(int64_t(steps) + 100), "-o", "json"})
          .exit_code,
      0);
}

}  // namespace
}  // namespace gradwatch::testing
