// Trainers that are silent, are to end, or make no steps; and two for one job. The table itself is in
// trainer_lease_test.
#include <cmath>
#include <limits>
#include <random>

#include "absl/synchronization/blocking_counter.h"
#include "core/base/error.h"
#include "server/base/unique_text.h"
#include "tests/server/job/job_manager_fixture.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Heard = TrainerLink::Heard;

class LeaseTest : public JobManagerTest {
 protected:
  static constexpr int32_t kPid = 1001;  // that the fake launcher gives the first trainer
  static inline const ProcessEnd kKilled = {.exit_code = 0, .signal = 9, .unknown = false, .last_output = {}};

  Trainer Run(const std::string& job_id) {
    EXPECT_THAT(Create(job_id), IsOk());
    Trainer trainer = AttachReady(job_id);
    Report(trainer, 0, 9);
    return trainer;
  }
  // What came after the first `count` events of the log.
  std::vector<std::string> LogAfter(const std::string& job_id, size_t count) {
    std::vector<std::string> log = Log(job_id);
    log.erase(log.begin(), log.begin() + static_cast<std::ptrdiff_t>(std::min(count, log.size())));
    return log;
  }
};

TEST_F(LeaseTest, ASilentTrainerMakesItsJobRecoveringAndOneWordWhatItWas) {
  Trainer trainer = Run("job");
  trainer.link->heard = Heard::kNothing;
  Pass(absl::Seconds(34));
  EXPECT_EQ(State("job"), "RUNNING");
  Pass(absl::Seconds(2));
  EXPECT_EQ(State("job"), "RECOVERING");
  EXPECT_THAT(EventAt("job", 4).state_changed().reason(), HasSubstr("nothing was heard of the trainer for 35s"));
  EXPECT_FALSE(trainer.link->closed().has_value()) << "its stream stays open";
  Pass(absl::Seconds(50));
  trainer.link->heard = Heard::kMessage;
  Pass(absl::Seconds(1));
  Report(trainer, 10, 10);
  EXPECT_THAT(LogAfter("job", 3), ElementsAre("RECOVERING", "RUNNING"));
  EXPECT_THAT(EventAt("job", 5).state_changed().reason(), HasSubstr("heard again"));
  EXPECT_EQ(trainer.attachment->epoch, 1);
  EXPECT_THAT(StoredSteps("job"), SizeIs(11));
}

TEST_F(LeaseTest, WhatASilentTrainerSaysFindsTheJobAsItWas) {
  Trainer trainer = Run("job");
  ASSERT_THAT(Pause("job"), IsOk());
  trainer.link->heard = Heard::kNothing;
  Pass(absl::Seconds(36));
  EXPECT_EQ(State("job"), "RECOVERING");
  SayPaused(trainer);
  EXPECT_THAT(LogAfter("job", 3), ElementsAre("PAUSING", "RECOVERING", "RUNNING", "PAUSING", "PAUSED"));
}

// The tick has heard the trainer, and what it made of the job is not taken back yet when the trainer's notice comes.
TEST_F(LeaseTest, ANoticeBetweenTheTickThatHearsAndWhatItDoesIsNotLost) {
  for (const bool tick_first : {true, false}) {
    SCOPED_TRACE(tick_first);
    const std::string id = absl::StrCat("job-", tick_first);
    Trainer trainer = Run(id);
    ASSERT_THAT(Pause(id), IsOk());
    trainer.link->heard = Heard::kNothing;
    Pass(absl::Seconds(36));
    ASSERT_EQ(State(id), "RECOVERING");
    trainer.link->heard = Heard::kMessage;
    v1::NoticeBatch batch;
    batch.set_epoch(trainer.attachment->epoch);
    batch.add_notices()->set_number(2);
    batch.mutable_notices(0)->mutable_paused();
    InOneCommit([&] {
      if (tick_first) jobs_->Tick();
      jobs_->OnNotices(*trainer.attachment, trainer.link, batch, [] {});
      if (!tick_first) jobs_->Tick();
    });
    EXPECT_EQ(State(id), "PAUSED");
    EXPECT_EQ(trainer.link->sent().back().ack().notice(), 2);
    EXPECT_THAT(LogAfter(id, 3), ElementsAre("PAUSING", "RECOVERING", "RUNNING", "PAUSING", "PAUSED"));
    Pass(absl::Seconds(3));
    EXPECT_EQ(State(id), "PAUSED");
  }
}

TEST_F(LeaseTest, ABadNoticeOfASilentTrainerLeavesNothingHalfDone) {
  Trainer trainer = Run("job");
  trainer.link->heard = Heard::kNothing;
  Pass(absl::Seconds(36));
  v1::NoticeBatch batch;
  batch.set_epoch(trainer.attachment->epoch);
  batch.add_notices()->set_number(7);
  batch.mutable_notices(0)->mutable_paused();
  InOneCommit([&] {
    jobs_->OnNotices(*trainer.attachment, trainer.link, batch, [] { ADD_FAILURE(); });
    jobs_->AdjustJob(ScaleRequest("job", 0.5), "tester",
                     [](const absl::StatusOr<v1::AdjustJobResponse>& response) { EXPECT_THAT(response, IsOk()); });
  });
  EXPECT_THAT(*trainer.link->closed(), StatusIs(absl::StatusCode::kInvalidArgument, _));
  Pass(absl::Seconds(1));
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.25)), IsOk()) << "the log goes on where it was";
  EXPECT_THAT(LogAfter("job", 3), ElementsAre("RECOVERING", "requested 1", "RUNNING", "requested 2"));
}

TEST_F(LeaseTest, ASilentTrainerMayHaveSucceeded) {
  Trainer trainer = Run("job");
  trainer.link->heard = Heard::kNothing;
  Pass(absl::Seconds(36));
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(State("job"), "SUCCEEDED");
}

TEST_F(LeaseTest, ATrainerThatStaysSilentIsKilledAndItsJobHasFailed) {
  Trainer trainer = Run("job");
  trainer.link->heard = Heard::kNothing;
  Pass(absl::Seconds(94));
  EXPECT_THAT(launcher_->killed(), IsEmpty());
  Pass(absl::Seconds(2));
  EXPECT_THAT(launcher_->killed(), ElementsAre(kPid));
  Pass(absl::Seconds(1));
  EXPECT_THAT(Get("job").failure(), HasSubstr("the trainer was silent for 1m3"));
  EXPECT_THAT(*trainer.link->closed(), StatusIs(absl::StatusCode::kAborted, _));
}

TEST_F(LeaseTest, ATrainerWhoseMessagesWaitForTheServerIsNotSilent) {
  Trainer trainer = Run("job");
  trainer.link->heard = Heard::kBusy;
  Pass(absl::Seconds(600));
  EXPECT_THAT(LogAfter("job", 3), IsEmpty()) << "neither silent nor stalled";
}

TEST_F(LeaseTest, AServerThatWasStoppedTakesNobodyForSilentOrLost) {
  Trainer attached = Run("attached");
  Trainer away = Run("away");
  attached.link->heard = Heard::kNothing;
  Detach(away);
  Pass(absl::Seconds(1));
  clock_.Advance(absl::Seconds(600));
  Pass(absl::Seconds(1));
  EXPECT_EQ(State("attached"), "RUNNING");
  EXPECT_EQ(State("away"), "RECOVERING");
  EXPECT_THAT(launcher_->killed(), IsEmpty());
}

TEST_F(LeaseTest, TicksThatQueueUpAreOne) {
  Trainer trainer = Run("job");
  trainer.link->heard = Heard::kNothing;
  InOneCommit([&] {
    for (int i = 0; i < 100; ++i) {
      clock_.Advance(absl::Seconds(1));
      jobs_->Tick();
    }
  });
  EXPECT_EQ(State("job"), "RUNNING");
}

// --- Stops ---

TEST_F(LeaseTest, ATrainerThatDoesNotEndInTimeIsKilled) {
  Trainer trainer = Run("job");
  EXPECT_TRUE(Stop("job", 10)->has_stop_deadline());
  Pass(absl::Seconds(9));
  EXPECT_THAT(launcher_->killed(), IsEmpty());
  Pass(absl::Seconds(1));
  EXPECT_THAT(launcher_->killed(), ElementsAre(kPid));
  launcher_->End(kPid, kKilled);
  Detach(trainer);
  EXPECT_THAT(LogAfter("job", 3), ElementsAre("STOPPING", "detached: killed", "STOPPED"));
}

TEST_F(LeaseTest, TheShorterGraceOfTwoCounts) {
  Trainer trainer = Run("job");
  ASSERT_THAT(Stop("job"), IsOk());
  ASSERT_THAT(Stop("job", 5), IsOk());
  ASSERT_THAT(Stop("job", 3600), IsOk());
  Pass(absl::Seconds(7));
  EXPECT_EQ(State("job"), "STOPPED");
  EXPECT_THAT(LogAfter("job", 3), ElementsAre("STOPPING", "detached: killed", "STOPPED"));
}

TEST_F(LeaseTest, WithoutGraceItIsKilledAtOnce) {
  Trainer trainer = Run("job");
  ASSERT_THAT(Stop("job", 0), IsOk());
  EXPECT_THAT(launcher_->killed(), ElementsAre(kPid));
  launcher_->End(kPid, kKilled);
  Detach(trainer);
  EXPECT_EQ(State("job"), "STOPPED");
  EXPECT_EQ(EventAt("job", Get("job").last_event()).state_changed().reason(),
            "the trainer was killed when its time to end was up")
      << "there was no time in which it had to end";
}

TEST_F(LeaseTest, GracesAreChecked) {
  Run("job");
  for (const double grace : {-1.0, 86'401.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
    EXPECT_THAT(Stop("job", grace), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("grace_seconds"))) << grace;
  }
  EXPECT_EQ(State("job"), "RUNNING");
}

TEST_F(LeaseTest, AStopHasItsDeadlineOverARestart) {
  Run("job");
  ASSERT_THAT(Stop("job", 20), IsOk());
  all_launches();
  clock_.Advance(absl::Seconds(15));
  RestartServer();
  Trainer again = Attach(Hello("job"));
  EXPECT_EQ(again.link->sent()[0].welcome().command().action(), v1::TrainerCommand::ACTION_STOP);
  Pass(absl::Seconds(4));
  EXPECT_EQ(State("job"), "STOPPING");
  Pass(absl::Seconds(3));
  EXPECT_EQ(State("job"), "STOPPED");
  EXPECT_THAT(launcher_->killed(), ElementsAre(kPid));
}

TEST_F(LeaseTest, AStopOfATrainerThatIsBeingStartedHasADeadlineToo) {
  ASSERT_THAT(Create("job"), IsOk());
  ASSERT_THAT(Stop("job", 1), IsOk());
  Pass(absl::Seconds(3));
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "STOPPING", "STOPPED"));
}

TEST_F(LeaseTest, AStopThatIsOverdueAfterARestartKillsAsSoonAsTheProcessIsKnown) {
  Run("job");
  ASSERT_THAT(Stop("job", 20), IsOk());
  clock_.Advance(absl::Seconds(60));
  executor_.Hold();
  RestartServer();
  Pass(absl::Seconds(5));
  EXPECT_EQ(State("job"), "STOPPED");
  EXPECT_THAT(launcher_->killed(), IsEmpty()) << "nobody knows the process yet";
  executor_.Release();
  Settle();
  EXPECT_THAT(launcher_->adopted(), ElementsAre(kPid));
  EXPECT_THAT(launcher_->killed(), ElementsAre(kPid));
}

TEST_F(LeaseTest, AProcessThatEndsAfterAStopWithoutAWordHasStoppedUnlessItFailed) {
  const struct {
    ProcessEnd end;
    bool stop_first;
    std::string state;
  } cases[] = {
      {{.exit_code = 0, .signal = 0, .unknown = false, .last_output = {}}, true, "STOPPED"},
      {{.exit_code = 0, .signal = 15, .unknown = false, .last_output = {}}, true, "STOPPED"},
      {{.exit_code = 1, .signal = 0, .unknown = false, .last_output = {}}, true, "FAILED"},
      {{.exit_code = 0, .signal = 9, .unknown = false, .last_output = {}}, false, "FAILED"},
      {{.exit_code = 0, .signal = 0, .unknown = false, .last_output = {}}, false, "STOPPED"},
  };
  int32_t pid = kPid - 1;
  for (const auto& c : cases) {
    const std::string id = absl::StrCat("job-", ++pid);
    SCOPED_TRACE(id);
    Trainer trainer = Run(id);
    if (c.stop_first) {
      ASSERT_THAT(Stop(id), IsOk());
    }
    launcher_->End(pid, c.end);
    Settle();
    if (!c.stop_first) {
      ASSERT_THAT(Stop(id), IsOk());  // its stream is still open
    }
    Detach(trainer);
    EXPECT_EQ(State(id), c.state);
  }
}

TEST_F(LeaseTest, WhoKnocksWhenTheTrainerHasEndedIsToldSo) {
  Trainer trainer = Run("job");
  launcher_->End(kPid, kKilled);
  Settle();
  EXPECT_THAT(Attach(Hello("job")).attachment, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("has ended")));
}

// --- Stalls ---

class StallTest : public LeaseTest {
 protected:
  // Fifty steps a second, for half a minute.
  void SetUp() override {
    LeaseTest::SetUp();
    trainer_ = Run("job");
    for (int second = 0; second < 30; ++second) Go();
  }
  void Go() {
    const int64_t next = Get("job").steps_done();
    Report(trainer_, next, next + 4);
    Pass(absl::Seconds(1));
  }
  static std::string Stall(int episode) { return episode == 1 ? "stall" : absl::StrCat("stall ", episode); }

  Trainer trainer_;
};

TEST_F(StallTest, IsToldAndEndsWithTheNextStep) {
  Pass(absl::Seconds(28));
  EXPECT_THAT(LogAfter("job", 3), IsEmpty());
  Pass(absl::Seconds(3));
  EXPECT_THAT(LogAfter("job", 3), ElementsAre("FIRING " + Stall(1)));
  const v1::Alert alert = EventAt("job", 4).alert_changed().alert();
  EXPECT_EQ(alert.rule(), "stall");
  EXPECT_EQ(alert.severity(), v1::SEVERITY_WARNING);
  EXPECT_EQ(alert.first_step(), 160);
  EXPECT_EQ(alert.limit(), 30);
  Pass(absl::Seconds(100));
  EXPECT_THAT(LogAfter("job", 4), IsEmpty()) << "once";
  Go();
  EXPECT_THAT(LogAfter("job", 4), ElementsAre("RESOLVED " + Stall(1)));
  Pass(absl::Seconds(40));
  EXPECT_THAT(LogAfter("job", 5), ElementsAre("FIRING " + Stall(2)));
  SayFinished(trainer_, v1::JOB_STATE_FAILED, "hung");
  EXPECT_THAT(LogAfter("job", 6), ElementsAre("RESOLVED " + Stall(2), "FAILED"));
}

TEST_F(StallTest, APauseEndsItAndIsNone) {
  Pass(absl::Seconds(40));
  ASSERT_THAT(Pause("job"), IsOk());
  SayPaused(trainer_);
  Pass(absl::Seconds(600));
  EXPECT_THAT(LogAfter("job", 3), ElementsAre("FIRING " + Stall(1), "PAUSING", "PAUSED", "RESOLVED " + Stall(1)));
  ASSERT_THAT(Resume("job"), IsOk());
  Pass(absl::Seconds(29));
  EXPECT_EQ(Log("job").back(), "RUNNING");
}

TEST_F(StallTest, SurvivesARestart) {
  Pass(absl::Seconds(40));
  all_launches();
  RestartServer();
  EXPECT_EQ(Get("job").firing_alerts(), 1);
  trainer_ = Attach(Hello("job"));
  trainer_.notices = 1;
  Pass(absl::Seconds(60));
  EXPECT_EQ(Get("job").firing_alerts(), 1) << "nothing has come since";
  Go();
  EXPECT_EQ(Get("job").firing_alerts(), 0);
  for (int second = 0; second < 10; ++second) Go();
  Pass(absl::Seconds(31));
  EXPECT_EQ(Log("job").back(), "FIRING " + Stall(2)) << "episodes are counted on";
}

TEST_F(StallTest, IsNotToldWhileTheServerIsInArrears) {
  statistics_->Hold(Get("job").uid());
  Go();
  Pass(absl::Seconds(60));
  EXPECT_THAT(LogAfter("job", 3), IsEmpty()) << "the step has come, and is not stored";
  statistics_->Release();
  Settle();
  Pass(absl::Seconds(29));
  EXPECT_THAT(LogAfter("job", 3), IsEmpty());
  Pass(absl::Seconds(3));
  EXPECT_THAT(LogAfter("job", 3), ElementsAre("FIRING stall"));
}

// Eight hours of a pause are not what a step takes.
TEST_F(StallTest, AfterAPauseAndARestartAHangIsToldWithinMinutes) {
  ASSERT_THAT(Pause("job"), IsOk());
  SayPaused(trainer_);
  clock_.Advance(absl::Hours(8));
  ASSERT_THAT(Resume("job"), IsOk());
  SayResumed(trainer_);
  all_launches();
  RestartServer();
  trainer_ = Attach(Hello("job"));
  const size_t before = Log("job").size();
  Pass(absl::Minutes(10) + absl::Seconds(2));
  EXPECT_THAT(LogAfter("job", before), ElementsAre("FIRING stall"));
}

TEST_F(StallTest, ATrainerThatIsNotHeardIsSilentAndNotStalled) {
  trainer_.link->heard = Heard::kNothing;
  Pass(absl::Seconds(60));
  EXPECT_THAT(LogAfter("job", 3), ElementsAre("RECOVERING"));
}

TEST_F(StallTest, ARuleOfTheSpecSaysWhen) {
  v1::CreateJobRequest request;
  *request.mutable_spec() = SmallSpec();
  request.set_job_id("strict");
  v1::Rule* const rule = request.mutable_spec()->mutable_rules()->add_rules();
  rule->set_name("hangs");
  rule->set_severity(v1::SEVERITY_CRITICAL);
  rule->mutable_stall()->set_seconds(3);
  ASSERT_THAT(Create(request), IsOk());
  Trainer trainer = AttachReady("strict");
  Report(trainer, 0, 9);
  Pass(absl::Seconds(1));
  Report(trainer, 10, 19);
  Pass(absl::Seconds(5));
  EXPECT_EQ(Log("strict").back(), "FIRING hangs");
}

// --- Two trainers for one job ---

// What two that come at once are answered.
class TwoTrainersTest : public LeaseTest {
 protected:
  static constexpr int kTimes = 1000;

  void AttachLater(const v1::TrainerHello& hello, Trainer* trainer, absl::BlockingCounter* answers) {
    jobs_->Attach(hello, trainer->link, [trainer, answers](absl::StatusOr<JobManager::Attachment> attachment) {
      trainer->attachment = std::move(attachment);
      answers->DecrementCount();
    });
  }
  // Sends steps as if it held the job, whatever it was answered.
  void ReportAnyway(Trainer& trainer, JobManager::Attachment attachment, const v1::ReportBatch& steps) {
    if (trainer.attachment.ok()) attachment = *trainer.attachment;
    v1::ReportBatch batch = steps;
    batch.set_epoch(attachment.epoch);
    jobs_->OnReports(attachment, trainer.link, batch, [&trainer] { ++trainer.accepted; });
  }
};

TEST_F(TwoTrainersTest, OfAHostedJobNeverWriteBoth) {
  options_.max_running_jobs = options_.max_waiting_jobs = kTimes;
  RestartServer();
  std::vector<v1::TrainerHello> hellos;
  {
    absl::BlockingCounter created(kTimes);
    for (int i = 0; i < kTimes; ++i) {
      v1::CreateJobRequest request;
      *request.mutable_spec() = SmallSpec();
      request.set_job_id(absl::StrCat("job-", i));
      jobs_->CreateJob(request, "tester", [&created](const absl::StatusOr<v1::Job>& job) {
        EXPECT_THAT(job, IsOk());
        created.DecrementCount();
      });
    }
    created.Wait();
  }
  while (launcher_->launches().size() < kTimes) Settle();
  Settle();  // until then the last one counts as being started
  for (const LaunchRequest& launch : launcher_->launches()) {
    v1::TrainerHello hello;
    hello.set_job_id(launch.job_id);
    hello.set_attach_token(launch.attach_token);
    hello.set_attempt(launch.attempt);
    hellos.push_back(std::move(hello));
  }
  std::vector<Trainer> trainers(2 * kTimes);
  absl::BlockingCounter answers(2 * kTimes);
  for (size_t i = 0; i < trainers.size(); ++i) {
    v1::TrainerHello hello = hellos[i / 2];
    hello.set_trainer_id(NewUuid());
    AttachLater(hello, &trainers[i], &answers);
  }
  answers.Wait();
  for (int i = 0; i < kTimes; ++i) {
    Trainer& first = trainers[2 * i];
    Trainer& second = trainers[2 * i + 1];
    ASSERT_NE(first.attachment.ok(), second.attachment.ok());
    Trainer& holder = first.attachment.ok() ? first : second;
    Trainer& other = first.attachment.ok() ? second : first;
    EXPECT_EQ(core::GetReason(other.attachment.status()), "TRAINER_FENCED");
    ReportAnyway(other, *holder.attachment, Reports(0, 5));
    ReportAnyway(holder, *holder.attachment, Reports(0, 2));
  }
  Settle();
  for (int i = 0; i < kTimes; ++i) {
    EXPECT_EQ(trainers[2 * i].accepted + trainers[2 * i + 1].accepted, 1);
    EXPECT_EQ(Get(hellos[static_cast<size_t>(i)].job_id()).steps_done(), 3);
  }
}

// The holder of an external job is silent or away, two others come at once, and all three write.
TEST_F(TwoTrainersTest, OfAnExternalJobNeverWriteBoth) {
  options_.lease.silence = absl::Seconds(2);
  RestartServer();
  v1::CreateJobRequest request;
  request.set_job_id("job");
  request.mutable_spec()->mutable_external();
  const auto job = Create(request);
  ASSERT_THAT(job, IsOk());
  v1::TrainerHello hello;
  hello.set_job_id("job");
  hello.set_attach_token(job->attach_token());
  hello.set_trainer_id(NewUuid());
  v1::TensorInfo* const tensor = hello.add_tensors();
  tensor->set_name("weight");
  tensor->add_shape(1);
  Trainer holder = Attach(hello);
  ASSERT_THAT(holder.attachment, IsOk());
  std::mt19937 random(7);
  for (int i = 0; i < kTimes; ++i) {
    const int32_t attempt = i + 1;
    ASSERT_EQ(holder.attachment->attempt, attempt);
    ASSERT_EQ(holder.attachment->epoch, attempt);
    v1::TrainerHello others[2] = {hello, hello};
    for (v1::TrainerHello& other : others) {
      other.set_trainer_id(NewUuid());
      other.set_attempt(0);
    }
    EXPECT_EQ(core::GetReason(Attach(others[0]).attachment.status()), "TRAINER_ATTACHED");
    Report(holder, 0, 2);
    EXPECT_EQ(holder.accepted, 1);
    if (random() % 2 == 0) {
      holder.link->heard = Heard::kNothing;
      Pass(absl::Seconds(3));
    } else {
      Detach(holder);
      Pass(absl::Seconds(1));
    }
    Trainer contenders[2];
    absl::BlockingCounter answers(2);
    for (int k = 0; k < 2; ++k) AttachLater(others[k], &contenders[k], &answers);
    answers.Wait();
    ASSERT_NE(contenders[0].attachment.ok(), contenders[1].attachment.ok());
    const int winner = contenders[0].attachment.ok() ? 0 : 1;
    EXPECT_EQ(core::GetReason(contenders[1 - winner].attachment.status()), "TRAINER_ATTACHED");
    ReportAnyway(holder, *holder.attachment, Reports(3, 9));
    ReportAnyway(contenders[1 - winner], *contenders[winner].attachment, Reports(0, 9));
    Settle();
    EXPECT_EQ(holder.accepted + contenders[1 - winner].accepted, 1) << "only what came before";
    EXPECT_THAT(StoredSteps("job"), IsEmpty()) << "of the new attempt";
    hello.set_attempt(attempt);
    EXPECT_THAT(Attach(hello).attachment, StatusIs(absl::StatusCode::kAborted, _)) << "the old one, for ever";
    hello = others[winner];
    holder = contenders[winner];
  }
  EXPECT_EQ(State("job"), "RUNNING");
}

TEST_F(TwoTrainersTest, OfAnExternalJobTheOneThatComesBackKeepsIt) {
  v1::CreateJobRequest request;
  request.set_job_id("job");
  request.mutable_spec()->mutable_external();
  const auto job = Create(request);
  ASSERT_THAT(job, IsOk());
  v1::TrainerHello hello;
  hello.set_job_id("job");
  hello.set_attach_token(job->attach_token());
  hello.set_trainer_id(NewUuid());
  ASSERT_THAT(Attach(hello).attachment, IsOk());
  EXPECT_THAT(Attach(hello).attachment, IsOk()) << "its welcome was lost";
  RestartServer();
  v1::TrainerHello other = hello;
  other.set_trainer_id(NewUuid());
  Pass(absl::Seconds(20));
  EXPECT_EQ(core::GetReason(Attach(other).attachment.status()), "TRAINER_ATTACHED");
  hello.set_attempt(1);
  Trainer back = Attach(hello);
  ASSERT_THAT(back.attachment, IsOk());
  EXPECT_EQ(back.attachment->epoch, 1);
}

TEST_F(TwoTrainersTest, OfAnExternalJobNobodyIsKilled) {
  options_.lease.lost_after_external = absl::Minutes(5);
  RestartServer();
  v1::CreateJobRequest request;
  request.set_job_id("job");
  request.mutable_spec()->mutable_external();
  const auto job = Create(request);
  ASSERT_THAT(job, IsOk());
  v1::TrainerHello hello;
  hello.set_job_id("job");
  hello.set_attach_token(job->attach_token());
  hello.set_trainer_id(NewUuid());
  Trainer trainer = Attach(hello);
  ASSERT_THAT(trainer.attachment, IsOk());
  trainer.link->heard = Heard::kNothing;
  Pass(absl::Seconds(334));
  EXPECT_EQ(State("job"), "RECOVERING");
  Pass(absl::Seconds(2));
  EXPECT_EQ(Get("job").failure(), "the trainer was silent for 5m35s");
  EXPECT_THAT(*trainer.link->closed(), StatusIs(absl::StatusCode::kFailedPrecondition, _));
  EXPECT_THAT(launcher_->killed(), IsEmpty());
}

TEST_F(TwoTrainersTest, AnExternalTrainerThatDoesNotEndIsLetGo) {
  v1::CreateJobRequest request;
  request.set_job_id("job");
  request.mutable_spec()->mutable_external();
  const auto job = Create(request);
  ASSERT_THAT(job, IsOk());
  v1::TrainerHello hello;
  hello.set_job_id("job");
  hello.set_attach_token(job->attach_token());
  hello.set_trainer_id(NewUuid());
  Trainer trainer = Attach(hello);
  ASSERT_THAT(Stop("job", 0), IsOk());
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "attached", "RUNNING", "STOPPING", "detached: let go", "STOPPED"));
  EXPECT_EQ(EventAt("job", 6).state_changed().reason(), "the trainer was let go when its time to end was up");
  EXPECT_THAT(*trainer.link->closed(), StatusIs(absl::StatusCode::kFailedPrecondition, _));
}

}  // namespace
}  // namespace gradwatch::server
