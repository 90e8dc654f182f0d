#include "client/worker/attached_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <numeric>
#include <optional>
#include <thread>

#include "client/worker/signal_watch.h"
#include "core/base/last_words_file.h"
#include "tests/client/worker/fake_trainer_service.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::worker {
namespace {

using testing::Arrived;
using testing::FakeTrainerService;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;
using testing::StreamPlan;

// Before any test starts a thread, so that the signal is blocked in all of them.
const sigset_t kSignals = BlockSignals({SIGUSR1});

v1::TrainerWelcome Welcome(int64_t steps, double learning_rate = 0.01) {
  v1::TrainerWelcome welcome;
  welcome.set_attempt(2);
  welcome.set_job_uid("the-uid");
  v1::JobSpec& spec = *welcome.mutable_spec();
  spec.set_steps(steps);
  spec.mutable_model()->add_layers()->mutable_dense()->set_units(4);
  spec.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY);
  spec.mutable_data()->set_batch_size(8);
  spec.mutable_data()->mutable_gaussian_clusters()->set_classes(4);
  spec.mutable_data()->mutable_gaussian_clusters()->set_features(3);
  spec.mutable_optimizer()->set_learning_rate(learning_rate);
  welcome.mutable_controls()->set_revision(1);
  return welcome;
}

v1::TrainerDirective Command(v1::TrainerCommand::Action action) {
  v1::TrainerDirective directive;
  directive.mutable_command()->set_action(action);
  return directive;
}

AttachedRunOptions Options(const std::string& address) {
  AttachedRunOptions options;
  options.server = address;
  options.job_id = "job";
  options.attempt = 2;
  options.attach_token = "secret";
  return options;
}

ExitCode Attach(const FakeTrainerService& service) { return RunAttached(Options(service.address()), kSignals); }

std::vector<int64_t> StepsUpTo(int64_t end) {
  std::vector<int64_t> steps(static_cast<size_t>(end));
  std::iota(steps.begin(), steps.end(), 0);
  return steps;
}

TEST(AttachedRunTest, TrainsAndTellsEverything) {
  FakeTrainerService service(Welcome(500), {{}});
  EXPECT_EQ(Attach(service), kSuccess);
  const Arrived arrived = service.arrived();
  EXPECT_EQ(arrived.steps, StepsUpTo(500));

  ASSERT_EQ(arrived.hellos.size(), 1u);
  const v1::TrainerHello& hello = arrived.hellos[0];
  EXPECT_EQ(hello.job_id(), "job");
  EXPECT_EQ(hello.attempt(), 2);
  EXPECT_EQ(hello.attach_token(), "secret");
  EXPECT_EQ(hello.trainer_id().size(), 36u);
  EXPECT_EQ(hello.pid(), getpid());
  EXPECT_NE(hello.host(), "");
  EXPECT_NE(hello.engine_variant(), "");

  ASSERT_GE(arrived.notices.size(), 2u);
  const v1::ModelReady& ready = arrived.notices[0].model_ready();
  ASSERT_EQ(ready.tensors_size(), 2);
  EXPECT_THAT(ready.tensors(0).name(), HasSubstr("weight"));
  const v1::TrainerFinished& finished = arrived.notices.back().finished();
  EXPECT_EQ(finished.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(finished.parameters_sha256(), MatchesRegex("[0-9a-f]{64}"));
  EXPECT_EQ(arrived.end_steps.back(), 500);
}

TEST(AttachedRunTest, BreaksOfTheStreamDoNotChangeTheResult) {
  FakeTrainerService calm(Welcome(300), {{}});
  FakeTrainerService broken(Welcome(300), {{.messages = 0}, {.messages = 1}, {.messages = 2}, {}});
  EXPECT_EQ(Attach(calm), kSuccess);
  EXPECT_EQ(Attach(broken), kSuccess);
  EXPECT_EQ(broken.arrived().steps, StepsUpTo(300));
  EXPECT_EQ(broken.arrived().notices.back().finished().parameters_sha256(),
            calm.arrived().notices.back().finished().parameters_sha256());
}

TEST(AttachedRunTest, AJobThatCannotStartHasFailed) {
  v1::TrainerWelcome welcome = Welcome(10);
  welcome.mutable_spec()->mutable_optimizer()->set_learning_rate(-1);
  FakeTrainerService service(welcome, {{}});
  EXPECT_EQ(Attach(service), kSuccess) << "the server knows";
  const Arrived arrived = service.arrived();
  ASSERT_EQ(arrived.notices.size(), 1u);
  EXPECT_EQ(arrived.notices[0].finished().state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(arrived.notices[0].finished().failure(), HasSubstr("learning_rate"));
}

TEST(AttachedRunTest, ThePauseOfTheWelcomeHoldsBeforeTheFirstStep) {
  v1::TrainerWelcome welcome = Welcome(10);
  welcome.mutable_command()->set_action(v1::TrainerCommand::ACTION_PAUSE);
  FakeTrainerService service(welcome, {{.when_paused = {Command(v1::TrainerCommand::ACTION_RESUME)}}});
  EXPECT_EQ(Attach(service), kSuccess);
  const Arrived arrived = service.arrived();
  ASSERT_GE(arrived.notices.size(), 3u);
  EXPECT_TRUE(arrived.notices[1].has_paused());
  EXPECT_EQ(arrived.end_steps[1], 0);
  EXPECT_TRUE(arrived.notices[2].has_resumed());
  EXPECT_EQ(arrived.steps, StepsUpTo(10));
}

TEST(AttachedRunTest, ASignalStopsTheRunGracefully) {
  FakeTrainerService service(Welcome(1'000'000'000), {{}});
  std::thread stopper([&service] {
    EXPECT_TRUE(service.Await([](const Arrived& arrived) { return !arrived.steps.empty(); }));
    kill(getpid(), SIGUSR1);
  });
  EXPECT_EQ(Attach(service), kSuccess);
  stopper.join();
  EXPECT_EQ(service.arrived().notices.back().finished().state(), v1::JOB_STATE_STOPPED);
}

TEST(AttachedRunTest, AlertsAreNoticesOfTheJob) {
  FakeTrainerService service(Welcome(50, /*learning_rate=*/1e38), {{}});
  EXPECT_EQ(Attach(service), kSuccess);
  bool fired = false;
  for (const v1::Notice& notice : service.arrived().notices) {
    if (notice.alert().state() != v1::ALERT_STATE_FIRING || notice.alert().rule() != "non_finite") continue;
    fired = true;
    EXPECT_EQ(notice.alert().job_id(), "job");
    EXPECT_EQ(notice.alert().attempt(), 2);
    EXPECT_THAT(notice.alert().alert_id(), StartsWith("the-uid/2/"));
    EXPECT_EQ(notice.steps_done(), notice.alert().step() + 1);
  }
  EXPECT_TRUE(fired);
}

TEST(AttachedRunTest, ARunThatOutlivesItsServerEndsAndLeavesItsLastWords) {
  constexpr int64_t kSteps = 20'000;
  const testing::TempDir dir;
  AttachedRunOptions options = Options("unix:" + dir.File("server"));
  options.last_words = dir.File("words");
  options.attachment.patience = absl::ZeroDuration();
  // It acknowledges nothing, so that the run is not over for it however late it goes.
  const std::vector<StreamPlan> plans = {{.acknowledges = false}};
  auto service = std::make_unique<FakeTrainerService>(Welcome(kSteps), plans, options.server);
  std::thread killer([&service] {
    EXPECT_TRUE(service->Await([](const Arrived& arrived) { return !arrived.steps.empty(); }));
    service.reset();
  });
  EXPECT_EQ(RunAttached(options, kSignals), kSuccess) << "the server will know";
  killer.join();

  absl::StatusOr<core::LastWordsReader> reader = core::LastWordsReader::Open(options.last_words);
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::optional<v1::TrainerMessage> last;
  int64_t last_step = -1;
  while (true) {
    absl::StatusOr<std::optional<v1::TrainerMessage>> message = reader->Next();
    ASSERT_TRUE(message.ok()) << message.status();
    if (!message->has_value()) break;
    last = **message;
    for (const v1::StepReport& report : last->reports().reports()) last_step = report.step();
    if (last->has_hello()) {
      EXPECT_EQ(last->hello().attach_token(), "secret");
    }
  }
  EXPECT_EQ(last_step, kSteps - 1);
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->notices().notices().rbegin()->finished().state(), v1::JOB_STATE_SUCCEEDED);
}

TEST(AttachedRunTest, WhatAServerSaysReachesNoTerminalRaw) {
  const grpc::Status evil(grpc::StatusCode::UNAVAILABLE, "\x1b]0;owned\x07\r");
  FakeTrainerService service(Welcome(10), {{.messages = 0, .end = evil}, {}});
  const testing::RunResult result =
      testing::Run({"gradwatch-worker", "attach", "--server", service.address(), "--job", "job", "--attempt", "2"},
                   {"GRADWATCH_ATTACH_TOKEN=secret"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("lost the server (\\x1b]0;owned\\x07\\x0d); training goes on\n"));
}

TEST(AttachedRunTest, RefusalsHaveExitCodes) {
  FakeTrainerService unknown(Welcome(1), {{.refusal = grpc::Status(grpc::StatusCode::NOT_FOUND, "no such job")}});
  EXPECT_EQ(Attach(unknown), kNotFound);
  FakeTrainerService wrong_token(Welcome(1), {{.refusal = grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "token")}});
  EXPECT_EQ(Attach(wrong_token), kPermission);
  FakeTrainerService fenced(Welcome(1'000'000'000),
                            {{.messages = 3, .end = grpc::Status(grpc::StatusCode::ABORTED, "taken over")}});
  EXPECT_EQ(Attach(fenced), kConflict);
}

}  // namespace
}  // namespace gradwatch::worker
