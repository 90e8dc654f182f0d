// A foreign program trains a job: real server, real command line, and a trainer that knows the protocol alone.
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "absl/strings/str_split.h"
#include "tests/integration/server_fixture.h"
#include "tests/support/outside.h"
#include "tests/support/test_trainer.h"

namespace gradwatch::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ExternalTest : public ServerTest {
 protected:
  void SetUp() override {
    StartServer();
    outside_ = std::make_unique<Outside>(address_);
  }

  // Submits an external job and gives its token.
  std::string SubmitExternal(const std::string& job) {
    const std::string spec = dir_.Write("external.yaml", "external: {framework: test}\n");
    const RunResult result = Gradwatch({"submit", spec, "--job-id", job, "-o", "json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Text(Json(result.out), "attach_token");
  }
  // A notice of an episode at the trainer's last step.
  static v1::Notice AlertNotice(const TestTrainer& trainer, v1::AlertState state, int64_t step) {
    v1::Notice notice;
    v1::Alert* const alert = notice.mutable_alert();
    const v1::TrainerWelcome& welcome = trainer.welcome();
    alert->set_alert_id(absl::StrCat(welcome.job_uid(), "/", welcome.attempt(), "/norm-spike/1"));
    alert->set_rule("norm-spike");
    alert->set_episode(1);
    alert->set_severity(v1::SEVERITY_CRITICAL);
    alert->set_state(state);
    alert->set_tensor("linear.weight");
    alert->set_first_step(step);
    alert->set_step(step);
    alert->set_summary("it happened");
    return notice;
  }
  // What a job that has ended reported, one JSON object a step.
  std::vector<Struct> Reports(const std::string& job) const {
    std::vector<Struct> reports;
    for (const auto line : absl::StrSplit(Gradwatch({"watch", job, "--from-beginning", "-o", "json"}).out, '\n')) {
      if (line.empty()) continue;
      Struct object = Json(std::string(line));
      if (Text(object, "type") == "report") reports.push_back(std::move(object));
    }
    return reports;
  }

  std::unique_ptr<Outside> outside_;
};

TEST_F(ExternalTest, FromSubmitToSuccess) {
  const std::string token = SubmitExternal("theirs");
  ASSERT_FALSE(token.empty());
  EXPECT_EQ(StateOf("theirs"), "pending");
  EXPECT_THAT(Gradwatch({"job", "get", "theirs"}).out, AllOf(HasSubstr("external, test"), Not(HasSubstr(token))));
  auto alerts = Start({"alerts", "watch", "--from-beginning", "-o", "json"});

  TestTrainer trainer(outside_->channel, "theirs", token);
  ASSERT_TRUE(trainer.Attach().ok());
  EXPECT_FALSE(trainer.welcome().has_spec());
  ASSERT_TRUE(trainer.RunTo(10));
  trainer.Tell(AlertNotice(trainer, v1::ALERT_STATE_FIRING, 9));
  const auto alert = alerts->ReadUntil("firing");
  ASSERT_TRUE(alert.has_value()) << alerts->Errors();
  EXPECT_EQ(Text(Json(*alert), "job"), "theirs");

  // While it trains, somebody changes the threshold, and lets it wait.
  std::atomic<bool> goes_on = true;
  std::thread training([&] { EXPECT_TRUE(trainer.Run([&](int64_t) { return goes_on.load(); })); });
  const RunResult set = Gradwatch({"clip", "set", "theirs", "--max-norm", "2", "-o", "json"});
  const RunResult pause = Gradwatch({"job", "pause", "theirs"});
  v1::WatchJobRequest events;
  events.set_job_id("theirs");
  events.set_from_beginning(true);
  events.set_events_only(true);
  EXPECT_TRUE(outside_->Watch(events, [](const v1::WatchJobResponse& response) {
    return std::any_of(response.events().begin(), response.events().end(),
                       [](const v1::Event& event) { return event.state_changed().to() == v1::JOB_STATE_PAUSED; });
  }));
  const RunResult resume = Gradwatch({"job", "resume", "theirs"});
  EXPECT_GE(outside_->AwaitLiveStep("theirs"), 0);
  goes_on = false;
  training.join();
  ASSERT_EQ(set.exit_code, 0) << set.err;
  ASSERT_EQ(pause.exit_code, 0) << pause.err;
  ASSERT_EQ(resume.exit_code, 0) << resume.err;
  EXPECT_EQ(trainer.controls().controls().clip().threshold(), 2);

  trainer.Tell(AlertNotice(trainer, v1::ALERT_STATE_RESOLVED, 9));
  EXPECT_TRUE(trainer.Finish(v1::JOB_STATE_SUCCEEDED));
  EXPECT_EQ(Gradwatch({"job", "wait", "theirs"}).exit_code, 0);
  EXPECT_EQ(Number(GetJob("theirs"), "fired_alerts"), 1);

  // Every step is there once, and the change holds from exactly its step.
  const Struct change = Json(set.out);
  const double effective = Number(change, "effective_step"), revision = Number(change, "revision");
  EXPECT_GE(effective, 10);
  double step = 0;
  for (const Struct& report : Reports("theirs")) {
    EXPECT_EQ(Number(report, "step"), step);
    EXPECT_EQ(Number(report, "control_revision"), step < effective ? 1 : revision) << "at step " << step;
    ++step;
  }
  EXPECT_GT(step, effective);
}

TEST_F(ExternalTest, ALostStreamLosesAndDoublesNothing) {
  TestTrainer trainer(outside_->channel, "theirs", SubmitExternal("theirs"));
  ASSERT_TRUE(trainer.Attach().ok());
  ASSERT_TRUE(trainer.RunTo(20));
  trainer.Lose();
  ASSERT_TRUE(trainer.RunTo(40)) << "alone";
  trainer.Tell(AlertNotice(trainer, v1::ALERT_STATE_FIRING, 39));
  ASSERT_TRUE(trainer.Attach().ok());
  EXPECT_EQ(trainer.welcome().attempt(), 1);
  ASSERT_TRUE(trainer.RunTo(60));
  EXPECT_TRUE(trainer.AwaitAcknowledged());

  // The server dies and comes back.
  server_->Signal(SIGKILL);
  server_->Wait();
  ASSERT_TRUE(trainer.RunTo(80));
  StartServer();
  ASSERT_TRUE(outside_->AwaitAnswer());
  ASSERT_TRUE(trainer.Attach().ok());
  EXPECT_EQ(trainer.welcome().attempt(), 1);
  EXPECT_TRUE(trainer.Finish(v1::JOB_STATE_SUCCEEDED));
  EXPECT_EQ(StateOf("theirs"), "succeeded");
  std::vector<double> steps, expected;
  for (const Struct& report : Reports("theirs")) steps.push_back(Number(report, "step"));
  for (int step = 0; step < 80; ++step) expected.push_back(step);
  EXPECT_EQ(steps, expected);
  EXPECT_EQ(Number(GetJob("theirs"), "fired_alerts"), 1);
}

TEST_F(ExternalTest, WhatWaitedForItHoldsFromItsFirstStep) {
  const std::string token = SubmitExternal("theirs");
  EXPECT_EQ(Gradwatch({"clip", "set", "theirs", "--max-norm", "2", "--no-wait"}).exit_code, 0);
  EXPECT_EQ(
      Gradwatch({"clip", "set", "theirs", "--tensors", "linear.*", "--max-norm", "3", "--at-step", "2"}).exit_code, 0);
  EXPECT_EQ(Gradwatch({"clip", "unset", "theirs", "--tensors", "linear.*", "--at-step", "7"}).exit_code, 0);
  TestTrainer trainer(outside_->channel, "theirs", token);
  ASSERT_TRUE(trainer.Attach().ok());
  EXPECT_EQ(trainer.welcome().waiting_edits(), 3);
  EXPECT_GT(trainer.welcome().rules().rules_size(), 0) << "what it would have to judge";
  ASSERT_TRUE(trainer.RunTo(5));
  ASSERT_EQ(trainer.controls().controls().clip().overrides_size(), 1);
  EXPECT_EQ(trainer.controls().controls().clip().overrides(0).threshold(), 3);
  ASSERT_TRUE(trainer.RunTo(10));
  EXPECT_EQ(trainer.controls().controls().clip().overrides_size(), 0);
  EXPECT_TRUE(trainer.Finish(v1::JOB_STATE_SUCCEEDED));
  for (const Struct& report : Reports("theirs")) {
    const double step = Number(report, "step");
    EXPECT_EQ(Number(report, "control_revision"), step < 2 ? 2 : step < 7 ? 3 : 4) << "at step " << step;
  }
  EXPECT_EQ(Number(GetJob("theirs"), "control_revision"), 4);
}

// The server tells everybody which overrides there are, and in which order: it is to be that of the trainer.
TEST_F(ExternalTest, TheOverrideThatWasChangedLastWins) {
  const std::string token = SubmitExternal("theirs");
  const auto limit = [this](const std::string& glob, const std::string& norm, const std::string& step) {
    const RunResult set =
        Gradwatch({"clip", "set", "theirs", "--tensors", glob, "--max-norm", norm, "--at-step", step});
    EXPECT_EQ(set.exit_code, 0) << set.err;
  };
  limit("linear.*", "4", "1");
  limit("*.weight", "3", "2");
  limit("linear.*", "2", "4");
  TestTrainer trainer(outside_->channel, "theirs", token);
  ASSERT_TRUE(trainer.Attach().ok());
  ASSERT_TRUE(trainer.RunTo(6));
  ASSERT_EQ(trainer.controls().controls().clip().overrides_size(), 2);
  EXPECT_EQ(trainer.controls().controls().clip().overrides(0).tensors(), "linear.*");
  EXPECT_TRUE(trainer.Finish(v1::JOB_STATE_SUCCEEDED));
  v1::Job job;
  ASSERT_TRUE(outside_->Get("theirs", &job).ok());
  EXPECT_EQ(job.controls().clip().ShortDebugString(), trainer.controls().controls().clip().ShortDebugString());
  v1::WatchJobRequest request;
  request.set_job_id("theirs");
  request.set_from_beginning(true);
  std::vector<double> norms;
  EXPECT_TRUE(outside_->Watch(request, [&norms](const v1::WatchJobResponse& response) {
    for (const v1::StepReport& report : response.reports()) norms.push_back(report.clip().norm_after());
    return response.has_ended();
  }));
  EXPECT_THAT(norms, ElementsAre(10, 4, 3, 3, 2, 2));
}

TEST_F(ExternalTest, AClipModeThatItDoesNotDoIsDroppedWithTheReason) {
  const std::string token = SubmitExternal("theirs");
  const RunResult set = Gradwatch({"clip", "set", "theirs", "--max-value", "1", "--at-step", "3"});
  ASSERT_EQ(set.exit_code, 0) << set.err;
  TestTrainer trainer(outside_->channel, "theirs", token);
  ASSERT_TRUE(trainer.Attach().ok());
  ASSERT_TRUE(trainer.RunTo(6));
  EXPECT_TRUE(trainer.Finish(v1::JOB_STATE_SUCCEEDED));
  std::vector<v1::Event> events;
  ASSERT_TRUE(outside_->Events("theirs", &events).ok());
  const auto dropped = std::find_if(events.begin(), events.end(), [](const auto& e) { return e.has_adjust_dropped(); });
  ASSERT_NE(dropped, events.end());
  EXPECT_THAT(dropped->adjust_dropped().reason(), HasSubstr("CLIP_MODE_VALUE"));
  EXPECT_EQ(Number(GetJob("theirs"), "control_revision"), 1);
}

// More than one message takes of notices and of reports, and the end, which comes last.
TEST_F(ExternalTest, AllThatItHasDoneAloneIsToldWhenItComesBack) {
  TestTrainer trainer(outside_->channel, "theirs", SubmitExternal("theirs"));
  ASSERT_TRUE(trainer.Attach().ok());
  ASSERT_TRUE(trainer.RunTo(5));
  EXPECT_TRUE(trainer.AwaitAcknowledged());
  trainer.Lose();
  constexpr int kEpisodes = 150;
  for (int episode = 1; episode <= kEpisodes; ++episode) {
    for (const v1::AlertState state : {v1::ALERT_STATE_FIRING, v1::ALERT_STATE_RESOLVED}) {
      v1::Notice notice = AlertNotice(trainer, state, 4);
      notice.mutable_alert()->set_episode(episode);
      notice.mutable_alert()->set_alert_id(absl::StrCat(trainer.welcome().job_uid(), "/1/norm-spike/", episode));
      trainer.Tell(std::move(notice));
    }
  }
  ASSERT_TRUE(trainer.Attach().ok());
  EXPECT_TRUE(trainer.AwaitAcknowledged()) << "there is no report with which the rest could go";
  EXPECT_EQ(Number(GetJob("theirs"), "fired_alerts"), kEpisodes);
  trainer.Lose();
  ASSERT_TRUE(trainer.RunTo(3000));
  EXPECT_FALSE(trainer.Finish(v1::JOB_STATE_SUCCEEDED)) << "nobody hears it yet";
  ASSERT_TRUE(trainer.Attach().ok());
  EXPECT_TRUE(trainer.AwaitAcknowledged());
  EXPECT_EQ(StateOf("theirs"), "succeeded");
  EXPECT_EQ(Reports("theirs").size(), 3000u);
}

TEST_F(ExternalTest, AJobHasOneTrainer) {
  const std::string token = SubmitExternal("theirs");
  TestTrainer stranger(outside_->channel, "theirs", std::string(64, '0'));
  EXPECT_EQ(stranger.Attach().error_code(), grpc::StatusCode::PERMISSION_DENIED);
  TestTrainer first(outside_->channel, "theirs", token), second(outside_->channel, "theirs", token);
  ASSERT_TRUE(first.Attach().ok());
  EXPECT_EQ(second.Attach().error_code(), grpc::StatusCode::UNAVAILABLE) << "it is to come back later";
  ASSERT_TRUE(first.RunTo(3));
  EXPECT_EQ(Gradwatch({"job", "stop", "theirs"}).exit_code, 0);
  EXPECT_FALSE(first.Run([](int64_t) { return true; })) << "it is told to stop";
  EXPECT_TRUE(first.Finish(v1::JOB_STATE_STOPPED));
  EXPECT_EQ(StateOf("theirs"), "stopped");
  EXPECT_EQ(second.Attach().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(ExternalTest, WhatATrainerTellsWronglyIsRefusedAndTheJobGoesOn) {
  TestTrainer trainer(outside_->channel, "theirs", SubmitExternal("theirs"));
  ASSERT_TRUE(trainer.Attach().ok());
  v1::Notice bad = AlertNotice(trainer, v1::ALERT_STATE_FIRING, 0);
  bad.mutable_alert()->set_alert_id("mine");
  trainer.Tell(bad);
  EXPECT_FALSE(trainer.AwaitAcknowledged());
  const grpc::Status status = trainer.Lose();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("notice.alert.alert_id"));
  EXPECT_EQ(Number(GetJob("theirs"), "firing_alerts"), 0);
}

TEST_F(ExternalTest, NobodyNeedsToCome) {
  SubmitExternal("theirs");
  auto follow = Start({"watch", "theirs", "--from-beginning", "-o", "json"});
  ASSERT_TRUE(follow->ReadUntil("pending").has_value());
  EXPECT_EQ(Gradwatch({"job", "stop", "theirs"}).exit_code, 0);
  while (follow->ReadLine().has_value()) continue;
  EXPECT_EQ(follow->Wait(), 8);
  EXPECT_EQ(Gradwatch({"job", "delete", "theirs"}).exit_code, 0);
}

}  // namespace
}  // namespace gradwatch::testing
