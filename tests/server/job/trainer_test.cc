// What trainers say, how they end, and what is left after each.
#include <cmath>
#include <csignal>
#include <fstream>

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

constexpr absl::Duration kLostAfter = LeaseTimes().lost_after;

class TrainerTest : public JobManagerTest {
 protected:
  void SetUp() override {
    JobManagerTest::SetUp();
    ASSERT_THAT(Create("job"), IsOk());
  }
  // Attaches; what `meanwhile` asks for is in the commit of the welcome, behind it, and what `before` asks for before
  // it.
  Trainer AttachTogetherWith(
      absl::FunctionRef<void(Trainer&)> meanwhile, absl::FunctionRef<void()> before = [] {}) {
    Trainer trainer;
    absl::Notification answered;
    executor_.Hold();
    jobs_->Attach(Hello("job"), trainer.link, [&](absl::StatusOr<JobManager::Attachment> attachment) {
      trainer.attachment = std::move(attachment);
      answered.Notify();
    });
    Settle();  // the old stream is fenced off, and the last step is about to be read
    InOneCommit([&] {
      before();
      executor_.Release();
      meanwhile(trainer);
    });
    answered.WaitForNotification();
    return trainer;
  }
  std::string EpisodeId(const std::string& job_id, int episode) {
    return absl::StrCat(Get(job_id).uid(), "/1/rule/", episode);
  }
  // The pid that the fake launcher gave the first trainer.
  static constexpr int32_t kPid = 1001;
  static inline const ProcessEnd kKilled = {.exit_code = 0, .signal = SIGKILL, .unknown = false, .last_output = {}};
};

TEST_F(TrainerTest, AWholeRun) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(trainer.link->sent(), SizeIs(2));
  const v1::TrainerWelcome welcome = trainer.link->sent()[0].welcome();
  EXPECT_EQ(welcome.attempt(), 1);
  EXPECT_EQ(welcome.spec().steps(), 1000);
  EXPECT_FALSE(welcome.has_rules()) << "they are in the spec";
  EXPECT_EQ(welcome.controls().revision(), 1);
  EXPECT_EQ(welcome.job_uid(), Get("job").uid());
  EXPECT_FALSE(welcome.has_acked_step());
  EXPECT_FALSE(welcome.has_command());
  EXPECT_EQ(trainer.link->sent()[1].ack().notice(), 1);
  EXPECT_EQ(State("job"), "RUNNING");
  EXPECT_THAT(Get("job").tensors(), SizeIs(1));

  Report(trainer, 0, 9);
  EXPECT_EQ(trainer.link->sent()[2].ack().step(), 9);
  EXPECT_EQ(Get("job").steps_done(), 10);
  EXPECT_DOUBLE_EQ(Get("job").last_loss(), 0.1);
  EXPECT_EQ(Get("job").applied_revision(), 1);

  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(trainer.accepted, 3);
  EXPECT_EQ(State("job"), "SUCCEEDED");
  EXPECT_TRUE(Get("job").has_end_time());
  Detach(trainer);
  launcher_->End(kPid, {});
  Settle();
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "attached", "RUNNING", "SUCCEEDED"));
  EXPECT_TRUE((*jobs_->GetChannel("job"))->ended());
}

TEST_F(TrainerTest, WhoMayAttach) {
  const v1::TrainerHello good = Hello("job");
  const auto refuses = [&](auto change, absl::StatusCode code) {
    v1::TrainerHello hello = good;
    change(hello);
    const Trainer trainer = Attach(hello);
    EXPECT_EQ(trainer.attachment.status().code(), code) << trainer.attachment.status();
    EXPECT_THAT(trainer.link->sent(), IsEmpty());
  };
  refuses([](auto& hello) { hello.set_job_id("nobody"); }, absl::StatusCode::kNotFound);
  refuses([](auto& hello) { hello.set_attach_token("guess"); }, absl::StatusCode::kPermissionDenied);
  refuses([](auto& hello) { hello.clear_attach_token(); }, absl::StatusCode::kPermissionDenied);
  refuses([](auto& hello) { hello.set_trainer_id("x"); }, absl::StatusCode::kInvalidArgument);
  refuses([](auto& hello) { hello.set_attempt(0); }, absl::StatusCode::kInvalidArgument);
  refuses([](auto& hello) { hello.set_attempt(2); }, absl::StatusCode::kInvalidArgument);
  ASSERT_THAT(Attach(good).attachment, IsOk());
  refuses([](auto& hello) { hello.set_trainer_id(NewUuid()); }, absl::StatusCode::kAborted);
  ASSERT_THAT(Delete("job", /*force=*/true), IsOk());
  refuses([](auto&) {}, absl::StatusCode::kNotFound);
}

TEST_F(TrainerTest, AnEndedJobTakesNoTrainer) {
  Trainer trainer = AttachReady("job");
  SayFinished(trainer, v1::JOB_STATE_FAILED, "loss is NaN");
  EXPECT_EQ(Get("job").failure(), "loss is NaN");
  EXPECT_THAT(Attach(Hello("job")).attachment, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("FAILED")));
}

TEST_F(TrainerTest, ATrainerThatIsKilledFailsItsJobByTheSignalsName) {
  Trainer trainer = AttachReady("job");
  Detach(trainer);
  launcher_->End(kPid, kKilled);
  Settle();
  EXPECT_EQ(Get("job").failure(), "trainer killed by signal 9 (SIGKILL)");
  EXPECT_THAT(Log("job"),
              ElementsAre("PENDING", "attached", "RUNNING", "detached: killed by signal 9 (SIGKILL)", "FAILED"));
}

TEST_F(TrainerTest, TheOrderOfProcessAndStreamDoesNotMatter) {
  Trainer trainer = AttachReady("job");
  launcher_->End(kPid, kKilled);
  Settle();
  EXPECT_EQ(State("job"), "RUNNING") << "its last words may be on their way";
  Detach(trainer);
  EXPECT_THAT(Log("job"),
              ElementsAre("PENDING", "attached", "RUNNING", "detached: killed by signal 9 (SIGKILL)", "FAILED"));
}

TEST_F(TrainerTest, AProcessWhoseStreamHangsOnIsNotWaitedForLong) {
  Trainer trainer = AttachReady("job");
  launcher_->End(kPid, {.exit_code = 3, .signal = 0, .unknown = false, .last_output = "first\nno memory\n"});
  Settle();
  Pass(absl::Seconds(1));
  EXPECT_EQ(Get("job").failure(), "trainer ended with exit code 3: no memory");
  EXPECT_THAT(*trainer.link->closed(), StatusIs(absl::StatusCode::kAborted, _));
}

TEST_F(TrainerTest, ATrainerThatDiesBeforeItAttachesFailsItsJob) {
  launcher_->End(kPid, {.exit_code = 1, .signal = 0, .unknown = false, .last_output = "bad flag\n"});
  Settle();
  EXPECT_EQ(Get("job").failure(), "trainer ended with exit code 1: bad flag");
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "FAILED"));
}

TEST_F(TrainerTest, ATrainerThatNeverAttachesIsKilled) {
  Pass(kLostAfter + absl::Seconds(1));
  EXPECT_THAT(Get("job").failure(), HasSubstr("did not attach within 1m"));
  EXPECT_THAT(launcher_->killed(), ElementsAre(kPid));
}

TEST_F(TrainerTest, LastWordsCountAlthoughTheProcessIsGone) {
  Trainer trainer = AttachReady("job");
  launcher_->End(kPid, {});
  Settle();
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  Detach(trainer);
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "attached", "RUNNING", "SUCCEEDED"));
}

TEST_F(TrainerTest, ALostStreamIsWaitedFor) {
  Trainer trainer = AttachReady("job");
  Report(trainer, 0, 4);
  Detach(trainer, "connection lost");
  Pass(absl::Seconds(1));
  EXPECT_EQ(State("job"), "RECOVERING");
  Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  EXPECT_EQ(again.link->sent()[0].welcome().acked_step(), 4);
  EXPECT_EQ(again.link->sent()[0].welcome().acked_notice(), 1);
  EXPECT_EQ(State("job"), "RUNNING");
  again.notices = 1;
  Report(again, 3, 6);
  EXPECT_THAT(StoredSteps("job"), ElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_THAT(PublishedSteps("job"), ElementsAre(0, 1, 2, 3, 4, 5, 6));
  for (int64_t step = 7; step < 27; ++step) {
    Pass(absl::Seconds(10));
    Report(again, step, step);
  }
  EXPECT_EQ(State("job"), "RUNNING");
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "attached", "RUNNING", "detached: connection lost", "RECOVERING",
                                      "attached", "RUNNING"));
}

TEST_F(TrainerTest, ATrainerThatDoesNotComeBackIsKilled) {
  Trainer trainer = AttachReady("job");
  Detach(trainer);
  Pass(absl::Seconds(1));
  Pass(kLostAfter - absl::Seconds(1));
  EXPECT_EQ(State("job"), "RECOVERING");
  EXPECT_THAT(launcher_->killed(), IsEmpty());
  Pass(absl::Seconds(2));
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_THAT(Get("job").failure(), HasSubstr("silent for 1m"));
  EXPECT_THAT(launcher_->killed(), ElementsAre(kPid));
}

TEST_F(TrainerTest, AnOldStreamIsFencedOffByTheNewOne) {
  Trainer old = AttachReady("job");
  Report(old, 0, 2);
  Trainer fresh = Attach(Hello("job"));
  ASSERT_THAT(fresh.attachment, IsOk());
  EXPECT_THAT(*old.link->closed(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("another stream")));
  Report(old, 3, 5);
  v1::Notice notice;
  notice.mutable_paused();
  Say(old, notice);
  Detach(old);
  Pass(absl::Seconds(2));
  EXPECT_THAT(StoredSteps("job"), ElementsAre(0, 1, 2));
  EXPECT_EQ(State("job"), "RUNNING");
}

// A server that was stopped reads the hellos of many streams of one trainer, in any order.
TEST_F(TrainerTest, AStaleHelloBehindTheLiveOneDoesNotEndTheRun) {
  Trainer live = AttachReady("job");
  Trainer stale = Attach(Hello("job"));
  ASSERT_THAT(stale.attachment, IsOk());
  Report(live, 0, 2);
  SayPaused(live);
  EXPECT_THAT(*live.link->closed(), StatusIs(absl::StatusCode::kUnavailable, _)) << "it comes back";
  Detach(stale);
  Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  again.notices = 1;
  Report(again, 0, 2);
  SayFinished(again, v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(State("job"), "SUCCEEDED");
}

TEST_F(TrainerTest, AStreamThatIsReplacedOnItsWayInIsToComeBack) {
  executor_.Hold();
  Trainer first, second;
  for (Trainer* trainer : {&first, &second}) {
    jobs_->Attach(Hello("job"), trainer->link, [trainer](absl::StatusOr<JobManager::Attachment> attachment) {
      trainer->attachment = std::move(attachment);
    });
  }
  Settle();
  executor_.Release();
  Settle();
  EXPECT_THAT(first.attachment, StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(second.attachment, IsOk());
}

TEST_F(TrainerTest, AnAttachThatFailsLateLeavesTheOneThatHoldsTheJobAlone) {
  executor_.Hold();
  Trainer late, holder;
  for (Trainer* trainer : {&late, &holder}) {
    jobs_->Attach(Hello("job"), trainer->link, [trainer](absl::StatusOr<JobManager::Attachment> attachment) {
      trainer->attachment = std::move(attachment);
    });
  }
  Settle();
  executor_.RunLast();
  Settle();
  ASSERT_THAT(holder.attachment, IsOk());
  statistics_->away = true;
  executor_.Release();
  Settle();
  statistics_->away = false;
  EXPECT_THAT(late.attachment, StatusIs(absl::StatusCode::kUnavailable, _));
  Report(holder, 0, 2);
  EXPECT_FALSE(holder.link->closed().has_value()) << *holder.link->closed();
  EXPECT_THAT(StoredSteps("job"), ElementsAre(0, 1, 2));
}

TEST_F(TrainerTest, OneThatIsTurnedAwayLeavesTheOneThatAttachesAlone) {
  Trainer trainer = AttachReady("job");
  statistics_->Hold(Get("job").uid());
  Report(trainer, 0, 9);
  executor_.Hold();
  Trainer again;
  jobs_->Attach(Hello("job"), again.link,
                [&](absl::StatusOr<JobManager::Attachment> attachment) { again.attachment = std::move(attachment); });
  Settle();
  statistics_->Release(absl::UnavailableError("away"));
  EXPECT_THAT(Attach(Hello("job")).attachment, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("statistics")));
  executor_.Release();
  Settle();
  ASSERT_THAT(again.attachment, IsOk());
  Pass(absl::Seconds(70));
  EXPECT_EQ(State("job"), "RUNNING") << "it is there, and heard";
}

TEST_F(TrainerTest, NoticesCountOnceAndWithoutGap) {
  Trainer trainer = AttachReady("job");
  v1::Notice again;
  again.set_number(1);
  again.mutable_finished()->set_state(v1::JOB_STATE_FAILED);
  Say(trainer, again);
  EXPECT_EQ(State("job"), "RUNNING") << "number 1 was heard before";
  EXPECT_EQ(trainer.link->sent().back().ack().notice(), 1);
  again.set_number(3);
  Say(trainer, again);
  EXPECT_EQ(State("job"), "RUNNING");
  EXPECT_THAT(*trainer.link->closed(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 comes after 1")));
}

TEST_F(TrainerTest, AnAlertOfAnotherJobIsNotTouched) {
  Trainer trainer = AttachReady("job");
  SayAlert(trainer, "mine", v1::ALERT_STATE_FIRING);
  ASSERT_THAT(Create("other"), IsOk());
  Trainer other = AttachReady("other");
  Say(other, AlertNotice(trainer, "mine", v1::ALERT_STATE_RESOLVED));
  EXPECT_THAT(*other.link->closed(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("notice.alert.alert_id")));
  EXPECT_EQ(reader_->GetAlert(AlertId("job", "mine"))->job_id(), "job");
  EXPECT_EQ(reader_->GetAlert(AlertId("job", "mine"))->state(), v1::ALERT_STATE_FIRING);
}

TEST_F(TrainerTest, WhatATrainerDiedOfIsToldShortAndHarmless) {
  Trainer trainer = AttachReady("job");
  SayFinished(trainer, v1::JOB_STATE_FAILED, "\x1b[31m" + std::string(1 << 20, 'x'));
  EXPECT_THAT(Get("job").failure(), ::testing::StartsWith("\\x1b[31mxxx"));
  EXPECT_LT(Get("job").failure().size(), 10'000u);
}

TEST_F(TrainerTest, BadReportsCloseTheStream) {
  const auto refuses = [&](auto change) {
    Trainer trainer = Attach(Hello("job"));
    v1::ReportBatch batch;
    batch.set_epoch(trainer.attachment->epoch);
    batch.add_reports()->set_step(5);
    change(batch);
    jobs_->OnReports(*trainer.attachment, trainer.link, batch, [] { ADD_FAILURE(); });
    Settle();
    ASSERT_TRUE(trainer.link->closed().has_value());
    EXPECT_THAT(*trainer.link->closed(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reports")));
  };
  refuses([](auto& batch) { batch.add_reports()->set_step(5); });
  refuses([](auto& batch) { batch.mutable_reports(0)->set_step(-1); });
  refuses([](auto& batch) { batch.mutable_reports(0)->add_tensors()->set_tensor(1000); });
  refuses([](auto& batch) { batch.mutable_reports(0)->set_step_seconds(-1); });
  refuses([](auto& batch) {
    for (int i = 0; i < 1024; ++i) batch.add_reports()->set_step(6 + i);
  });
}

TEST_F(TrainerTest, LostStepsAreStoredWithTheReportsAroundThem) {
  Trainer trainer = AttachReady("job");
  v1::ReportBatch batch = Reports(9, 9);
  batch.add_lost()->set_last_step(8);
  v1::StepRange* const behind = batch.add_lost();
  behind->set_first_step(10);
  behind->set_last_step(12);
  Report(trainer, batch);
  EXPECT_EQ(trainer.link->sent().back().ack().step(), 12);
  EXPECT_THAT(StoredGaps("job"), ElementsAre("0 to 8", "10 to 12"));
  EXPECT_THAT(StoredSteps("job"), ElementsAre(9));
  EXPECT_THAT(PublishedSteps("job"), ElementsAre(8, 9, 12)) << "watchers get the gaps where they are";
  EXPECT_EQ(Get("job").steps_done(), 13);
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "attached", "RUNNING")) << "a gap is no event";
  Trainer again = Attach(Hello("job"));
  EXPECT_EQ(again.link->sent()[0].welcome().acked_step(), 12);
}

TEST_F(TrainerTest, AGapThatCouldNotBeStoredIsNotAcknowledged) {
  Trainer trainer = AttachReady("job");
  statistics_->full = true;
  const size_t sent = trainer.link->sent().size();
  v1::ReportBatch batch;
  batch.add_lost()->set_last_step(8);
  Report(trainer, batch);
  EXPECT_THAT(*trainer.link->closed(), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(trainer.link->sent(), SizeIs(sent));
}

TEST_F(TrainerTest, WhatIsOfAnotherEpochIsFencedOff) {
  Trainer trainer = AttachReady("job");
  EXPECT_EQ(trainer.attachment->epoch, 1);
  EXPECT_EQ(trainer.link->sent()[0].welcome().epoch(), 1);
  trainer.attachment->epoch = 2;
  Report(trainer, 0, 0);
  EXPECT_EQ(core::GetReason(*trainer.link->closed()), "TRAINER_FENCED");
  EXPECT_THAT(StoredSteps("job"), IsEmpty());
  Trainer again = Attach(Hello("job"));
  again.notices = 1;
  again.attachment->epoch = 0;
  SayPaused(again);
  EXPECT_EQ(core::GetReason(*again.link->closed()), "TRAINER_FENCED");
  EXPECT_EQ(State("job"), "RUNNING");
}

TEST_F(TrainerTest, ATrainerKeepsItsEpochHoweverOftenItComesBack) {
  Trainer trainer = AttachReady("job");
  EXPECT_EQ(Attach(Hello("job")).attachment->epoch, 1);
  all_launches();
  RestartServer();
  EXPECT_EQ(Attach(Hello("job")).attachment->epoch, 1);
  v1::TrainerHello other = Hello("job");
  other.set_trainer_id(NewUuid());
  EXPECT_EQ(core::GetReason(Attach(other).attachment.status()), "TRAINER_FENCED") << "who holds it survives a restart";
}

TEST_F(TrainerTest, NoticesOfABatchAreRecordedTogether) {
  Trainer trainer = AttachReady("job");
  v1::NoticeBatch batch;
  batch.set_epoch(trainer.attachment->epoch);
  for (int number = 1; number <= 3; ++number) batch.add_notices()->set_number(number);
  batch.mutable_notices(0)->mutable_model_ready();
  batch.mutable_notices(1)->mutable_paused();
  batch.mutable_notices(2)->mutable_resumed();
  jobs_->OnNotices(*trainer.attachment, trainer.link, batch, [&] { ++trainer.accepted; });
  Settle();
  EXPECT_EQ(trainer.link->sent().back().ack().notice(), 3);
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "attached", "RUNNING", "PAUSING", "PAUSED", "RUNNING"));
  EXPECT_THAT(Get("job").tensors(), SizeIs(1)) << "the first had been heard before";
}

TEST_F(TrainerTest, NonFiniteStepsAndValidationsAreToldOfAJobAndSurviveARestart) {
  Trainer trainer = AttachReady("job");
  v1::ReportBatch batch = Reports(0, 2);
  batch.mutable_reports(1)->set_loss(std::nan(""));
  batch.mutable_reports(1)->mutable_validation()->set_loss(0.5);
  batch.mutable_reports(2)->set_nan_count(2);
  batch.mutable_reports(2)->set_pos_inf_count(3);
  batch.mutable_reports(2)->clear_grad_norm();
  Report(trainer, batch);
  const auto check = [](const v1::Job& job) {
    EXPECT_EQ(job.last_non_finite(), 5);
    EXPECT_EQ(job.non_finite_steps(), 2);
    EXPECT_FALSE(job.has_last_grad_norm()) << "no gradient is no norm of zero";
    EXPECT_EQ(job.last_validation().loss(), 0.5);
    EXPECT_EQ(job.last_validation_step(), 1);
    EXPECT_EQ(job.steps_done(), 3);
  };
  check(Get("job"));
  RestartServer();
  check(Get("job"));
  RestartServer();
  check(Get("job"));
}

TEST_F(TrainerTest, FiguresOfJobsThatRun) {
  ASSERT_THAT(Create("other"), IsOk());
  Trainer trainer = AttachReady("job");
  Report(trainer, 0, 9);
  EXPECT_FALSE(jobs_->Figures()[0].has_steps_per_second()) << "it is too early to say";
  for (int second = 1; second <= 30; ++second) {
    clock_.Advance(absl::Seconds(1));
    Report(trainer, second * 20 - 10, second * 20 + 9);
  }
  v1::JobFigures figures = jobs_->Figures()[0];
  EXPECT_EQ(figures.job_id(), "job");
  EXPECT_EQ(figures.uid(), Get("job").uid());
  EXPECT_EQ(figures.state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(figures.steps_done(), 610);
  EXPECT_EQ(figures.grad_norm(), 609);
  EXPECT_EQ(figures.non_finite(), 0);
  EXPECT_NEAR(figures.steps_per_second(), 20, 1e-9);
  clock_.Advance(absl::Seconds(60));
  EXPECT_EQ(jobs_->Figures()[0].steps_per_second(), 0) << "it has stopped";
  EXPECT_EQ(jobs_->Figures()[1].job_id(), "other");
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(jobs_->Figures(), SizeIs(1)) << "it has ended";
}

// --- What waits for statistics, and what does not ---

TEST_F(TrainerTest, AnAlertWaitsForNoStatistics) {
  ASSERT_THAT(Create("other"), IsOk());
  Trainer other = AttachReady("other");
  Trainer trainer = AttachReady("job");
  absl::Notification go_on, recorded;
  statistics_->Barrier([&go_on] { go_on.WaitForNotification(); });  // nothing of any job is stored
  for (Trainer* reporting : {&other, &trainer}) {
    v1::ReportBatch reports = Reports(0, 9);
    reports.set_epoch(reporting->attachment->epoch);
    jobs_->OnReports(*reporting->attachment, reporting->link, reports, [] {});
  }
  v1::NoticeBatch batch;
  batch.set_epoch(trainer.attachment->epoch);
  v1::Notice* const notice = batch.add_notices();
  notice->set_number(2);
  notice->set_steps_done(10);
  notice->mutable_alert()->set_alert_id(EpisodeId("job", 1));
  notice->mutable_alert()->set_rule("rule");
  notice->mutable_alert()->set_episode(1);
  notice->mutable_alert()->set_state(v1::ALERT_STATE_FIRING);
  jobs_->OnNotices(*trainer.attachment, trainer.link, batch, [&recorded] { recorded.Notify(); });
  recorded.WaitForNotification();
  EXPECT_EQ(trainer.link->sent().back().ack().notice(), 2);
  EXPECT_EQ(Get("job").firing_alerts(), 1);
  EXPECT_THAT((*jobs_->GetChannel("job"))->Read(WatchCursor(), 1 << 20).events, SizeIs(4));
  EXPECT_THAT(PublishedSteps("job"), IsEmpty());
  EXPECT_EQ(Get("job").steps_done(), 0) << "what is stored of them";
  go_on.Notify();
  Settle();
  EXPECT_THAT(PublishedSteps("job"), SizeIs(10));
  EXPECT_EQ(EventAt("job", 4).steps_done(), 10) << "that is its place among the reports";
}

TEST_F(TrainerTest, TheEndWaitsForTheReportsOfItsOwnJobAlone) {
  ASSERT_THAT(Create("slow"), IsOk());
  Trainer trainer = AttachReady("job"), slow = AttachReady("slow");
  statistics_->Hold(Get("slow").uid());
  for (Trainer* ending : {&slow, &trainer}) {
    Report(*ending, 0, 9);
    SayFinished(*ending, v1::JOB_STATE_SUCCEEDED);
  }
  EXPECT_EQ(State("job"), "SUCCEEDED");
  EXPECT_EQ(State("slow"), "RUNNING");
  statistics_->Release();
  Settle();
  EXPECT_EQ(State("slow"), "SUCCEEDED");
  EXPECT_EQ(EventAt("slow", 4).steps_done(), 10);
  EXPECT_THAT(PublishedSteps("slow"), SizeIs(10));
}

TEST_F(TrainerTest, TheEndsOfStreamAndProcessComeBehindWhatWasSaid) {
  Trainer trainer = AttachReady("job");
  statistics_->Hold(Get("job").uid());
  Report(trainer, 0, 9);
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  Detach(trainer);
  launcher_->End(kPid, kKilled);
  Pass(absl::Seconds(5));
  EXPECT_EQ(State("job"), "RUNNING");
  statistics_->Release();
  Settle();
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "attached", "RUNNING", "SUCCEEDED"));
}

TEST_F(TrainerTest, NoEndIsToldBehindReportsThatCouldNotBeStored) {
  Trainer trainer = AttachReady("job");
  statistics_->Hold(Get("job").uid());
  Report(trainer, 0, 9);
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  statistics_->Release(absl::UnavailableError("away"));
  Settle();
  EXPECT_EQ(State("job"), "RUNNING");
  EXPECT_THAT(*trainer.link->closed(), StatusIs(absl::StatusCode::kUnavailable, _)) << "it is to come again";
  Detach(trainer);
  Pass(absl::Seconds(1));
  Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  again.notices = 1;
  Report(again, 0, 9);
  SayFinished(again, v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(State("job"), "SUCCEEDED");
}

TEST_F(TrainerTest, WhatAttachesWaitsForWhatWasSaidBefore) {
  Trainer trainer = AttachReady("job");
  statistics_->Hold(Get("job").uid());
  Report(trainer, 0, 9);
  Trainer again;
  jobs_->Attach(Hello("job"), again.link,
                [&](absl::StatusOr<JobManager::Attachment> attachment) { again.attachment = std::move(attachment); });
  Settle();
  EXPECT_THAT(again.link->sent(), IsEmpty());
  statistics_->Release();
  Settle();
  ASSERT_THAT(again.attachment, IsOk());
  EXPECT_EQ(again.link->sent()[0].welcome().acked_step(), 9);
}

TEST_F(TrainerTest, StepsThatOnlyANoticeToldOfAreNotMissedAfterARestart) {
  Trainer trainer = AttachReady("job");
  Report(trainer, 0, 9);
  v1::Notice paused;
  paused.set_steps_done(50);
  paused.mutable_paused();
  Say(trainer, paused);
  const int64_t event = Get("job").last_event();
  EXPECT_EQ(EventAt("job", event).steps_done(), 50);
  EXPECT_EQ(Get("job").steps_done(), 10);
  RestartServer();
  for (const std::string& line : Log("job")) EXPECT_THAT(line, ::testing::Not(HasSubstr("gone")));
  Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  EXPECT_EQ(again.link->sent()[0].welcome().acked_step(), 9) << "the trainer has the others";
}

TEST_F(TrainerTest, ADeletionInTheCommitOfAnAttachClosesTheLink) {
  const std::string uid = Get("job").uid();
  Trainer trainer = AttachTogetherWith([this](Trainer&) {
    v1::DeleteJobRequest request;
    request.set_job_id("job");
    request.set_force(true);
    jobs_->DeleteJob(request, "tester",
                     [](const absl::StatusOr<v1::DeleteJobResponse>& deleted) { EXPECT_THAT(deleted, IsOk()); });
  });
  EXPECT_EQ(core::GetReason(*trainer.link->closed()), "TRAINER_FENCED");
  EXPECT_THAT(jobs_->GetJob("job"), StatusIs(absl::StatusCode::kNotFound, _));
  ASSERT_THAT(trainer.attachment, IsOk());
  Report(trainer, 0, 3);
  EXPECT_EQ(*statistics_->LastStep(uid, 1), -1) << "nothing is kept of it";
}

TEST_F(TrainerTest, AStreamThatEndsInTheCommitOfItsWelcomeHoldsNothing) {
  Trainer trainer = AttachTogetherWith([this](Trainer& trainer) {
    jobs_->OnDetached({.job_id = "job", .uid = Get("job").uid(), .attempt = 1, .epoch = 1}, trainer.link, "lost");
  });
  ASSERT_THAT(trainer.attachment, IsOk());
  Report(trainer, 0, 3);
  EXPECT_EQ(core::GetReason(*trainer.link->closed()), "TRAINER_FENCED");
  EXPECT_THAT(StoredSteps("job"), IsEmpty());
  EXPECT_THAT(Attach(Hello("job")).attachment, IsOk());
}

TEST_F(TrainerTest, ADeletionInTheCommitOfARecoveryIsSafe) {
  Attach(Hello("job"));
  const std::string uid = Get("job").uid();
  StopServer();
  OpenStores();
  InOneCommit([&] {
    MakeManager();
    v1::DeleteJobRequest request;
    request.set_job_id("job");
    request.set_force(true);
    jobs_->DeleteJob(request, "tester",
                     [](const absl::StatusOr<v1::DeleteJobResponse>& deleted) { EXPECT_THAT(deleted, IsOk()); });
  });
  EXPECT_THAT(jobs_->GetJob("job"), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(launcher_->killed(), ::testing::Contains(kPid));
}

TEST_F(TrainerTest, AlertsAreEventsAndEndWithTheirJob) {
  Trainer trainer = AttachReady("job");
  SayAlert(trainer, "a", v1::ALERT_STATE_FIRING);
  EXPECT_EQ(Get("job").firing_alerts(), 1);
  EXPECT_EQ(EventAt("job", 4).alert_changed().alert().job_id(), "job");
  RestartServer();
  EXPECT_EQ(Get("job").firing_alerts(), 1);
  launcher_->End(kPid, kKilled);
  Settle();
  EXPECT_EQ(Get("job").firing_alerts(), 0);
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "attached", "RUNNING", "FIRING a", "detached: the server was away",
                                      "RECOVERING", "RESOLVED a", "FAILED"));
}

TEST_F(TrainerTest, PendingAlertsEndWithTheirJobToo) {
  Trainer trainer = AttachReady("job");
  SayAlert(trainer, "a", v1::ALERT_STATE_PENDING);
  SayAlert(trainer, "b", v1::ALERT_STATE_PENDING);
  SayAlert(trainer, "b", v1::ALERT_STATE_FIRING);
  SayAlert(trainer, "c", v1::ALERT_STATE_FIRING);
  SayAlert(trainer, "c", v1::ALERT_STATE_RESOLVED);
  EXPECT_EQ(Get("job").firing_alerts(), 1);
  EXPECT_EQ(Get("job").fired_alerts(), 2);
  RestartServer();
  EXPECT_EQ(Get("job").firing_alerts(), 1);
  EXPECT_EQ(Get("job").fired_alerts(), 2);
  launcher_->End(kPid, kKilled);
  Settle();
  const auto log = Log("job");
  EXPECT_THAT(std::vector<std::string>(log.end() - 3, log.end()), ElementsAre("RESOLVED a", "RESOLVED b", "FAILED"));
  EXPECT_EQ(Get("job").firing_alerts(), 0);
  EXPECT_EQ(Get("job").fired_alerts(), 2);
}

// Whoever reads it later must see that it never went away, and how far the run came.
TEST_F(TrainerTest, AnAlertThatEndsWithItsJobSaysSo) {
  Trainer trainer = AttachReady("job");
  SayAlert(trainer, "a", v1::ALERT_STATE_PENDING);
  SayAlert(trainer, "alerts_truncated", v1::ALERT_STATE_FIRING);
  SayAlert(trainer, "b", v1::ALERT_STATE_FIRING);
  const std::string told = EventAt("job", Get("job").last_event()).alert_changed().alert().summary();
  Report(trainer, 0, 29);
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  const int64_t last = Get("job").last_event();
  const v1::Alert pending = EventAt("job", last - 3).alert_changed().alert();
  const v1::Alert counted = EventAt("job", last - 2).alert_changed().alert();
  const v1::Alert firing = EventAt("job", last - 1).alert_changed().alert();
  EXPECT_THAT(pending.summary(), ::testing::StartsWith("had not fired yet: pending when the job ended; it was: "));
  EXPECT_THAT(counted.summary(),
              ::testing::StartsWith("at least 1 alert was counted, not told, when the job ended; it was: "));
  EXPECT_EQ(firing.summary(), absl::StrCat("firing when the job ended; it was: ", told));
  EXPECT_EQ(firing.step(), 29);
}

// The trainer numbers those that it does not tell, too.
TEST_F(TrainerTest, OfAlertsThatWereCountedAKilledTrainerHasToldNearlyHowMany) {
  Trainer trainer = AttachReady("job");
  for (const int32_t episode : {1, 2, 40, 90}) {
    SayAlert(trainer, "flap", v1::ALERT_STATE_FIRING, episode);
    SayAlert(trainer, "flap", v1::ALERT_STATE_RESOLVED, episode);
  }
  SayAlert(trainer, "other", v1::ALERT_STATE_FIRING, 3);
  SayAlert(trainer, "alerts_truncated", v1::ALERT_STATE_FIRING);
  ASSERT_THAT(Stop("job", 0), IsOk());
  launcher_->End(kPid, kKilled);
  Detach(trainer);
  const v1::Alert counted = *reader_->GetAlert(AlertId("job", "alerts_truncated"));
  EXPECT_EQ(counted.state(), v1::ALERT_STATE_RESOLVED);
  EXPECT_THAT(counted.summary(),
              ::testing::StartsWith("at least 88 alerts were counted, not told, when the job ended"));
  EXPECT_EQ(counted.value(), 88);
}

TEST_F(TrainerTest, AfterARestartATrainerComesBackWhereItWas) {
  Trainer trainer = AttachReady("job");
  Report(trainer, 0, 7);
  const std::string etag = Get("job").etag();
  all_launches();
  RestartServer();
  EXPECT_EQ(State("job"), "RECOVERING");
  EXPECT_EQ(Get("job").steps_done(), 8);
  EXPECT_DOUBLE_EQ(Get("job").last_loss(), 0.125);
  EXPECT_EQ(Get("job").etag(), etag);
  EXPECT_THAT(launcher_->adopted(), ElementsAre(kPid));
  Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  EXPECT_EQ(again.link->sent()[0].welcome().acked_step(), 7);
  again.notices = 1;
  Report(again, 6, 9);
  EXPECT_THAT(StoredSteps("job"), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  SayFinished(again, v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "attached", "RUNNING", "detached: the server was away", "RECOVERING",
                                      "attached", "RUNNING", "SUCCEEDED"));
}

TEST_F(TrainerTest, ATrainerThatDiedWhileTheServerWasAway) {
  Trainer trainer = AttachReady("job");
  RestartServer();
  launcher_->End(kPid, {.exit_code = 0, .signal = 0, .unknown = true, .last_output = {}});
  Settle();
  EXPECT_EQ(Get("job").failure(), "trainer ended while the server was away");
}

TEST_F(TrainerTest, AJobThatWasLaunchedAndNotAttachedSurvivesARestart) {
  all_launches();
  RestartServer();
  EXPECT_EQ(State("job"), "PENDING");
  EXPECT_THAT(launcher_->launches(), IsEmpty());
  EXPECT_THAT(Attach(Hello("job")).attachment, IsOk());
  EXPECT_EQ(State("job"), "RUNNING");
}

TEST_F(TrainerTest, AnEndedJobStaysAsItIsAfterARestart) {
  Trainer trainer = AttachReady("job");
  Report(trainer, 0, 3);
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  const v1::Job before = Get("job");
  RestartServer();
  EXPECT_EQ(Get("job").SerializeAsString(), before.SerializeAsString());
  EXPECT_TRUE((*jobs_->GetChannel("job"))->ended());
  EXPECT_EQ((*jobs_->GetChannel("job"))->End().step, 3);
}

TEST_F(TrainerTest, ADrainingServerLeavesItsJobsAsTheyAre) {
  Trainer trainer = AttachReady("job");
  jobs_->Drain();
  Detach(trainer);
  Pass(2 * kLostAfter);
  EXPECT_EQ(State("job"), "RUNNING");
}

TEST_F(TrainerTest, EditsAndWithdrawalsOfTheCommitOfTheWelcomeReachTheTrainer) {
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  ASSERT_THAT(AttachReady("job").attachment, IsOk());
  const auto adjust = [this](double scale) {
    jobs_->AdjustJob(ScaleRequest("job", scale), "tester",
                     [](const absl::StatusOr<v1::AdjustJobResponse>& response) { EXPECT_THAT(response, IsOk()); });
  };
  const auto cancel = [this](int64_t edit) {
    v1::CancelEditRequest request;
    request.set_job_id("job");
    request.set_edit(edit);
    jobs_->CancelEdit(request, "tester",
                      [](const absl::StatusOr<v1::CancelEditResponse>& response) { EXPECT_THAT(response, IsOk()); });
  };
  Trainer trainer = AttachTogetherWith(
      [&](Trainer&) {
        adjust(2);
        cancel(2);
      },
      [&] {
        adjust(3);
        cancel(1);
      });
  ASSERT_THAT(trainer.attachment, IsOk());
  ASSERT_TRUE(trainer.link->sent()[0].has_welcome());
  EXPECT_THAT(SentEdits(trainer), ElementsAre("1", "2", "not 1", "4", "not 2"));
}

}  // namespace
}  // namespace gradwatch::server
