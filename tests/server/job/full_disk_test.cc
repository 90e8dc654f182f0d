// A disk that fills up under running jobs: nothing is half done, and all goes on when there is room again.
#include <csignal>

#include "core/base/error.h"
#include "server/base/unique_text.h"
#include "tests/server/job/job_manager_fixture.h"
#include "tests/server/store/faulty_vfs.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class FullDiskTest : public JobManagerTest {
 protected:
  void TearDown() override {
    FaultyVfs::full = false;
    JobManagerTest::TearDown();
  }
  // The operations that `first` submits share a commit. Those that `second` submits are in the next one, in front of
  // what the first ones ask for.
  void InTwoCommits(absl::FunctionRef<void()> first, absl::FunctionRef<void()> second) {
    absl::Notification before, hold, begun, go_on;
    const auto wait = [](absl::Notification& here, absl::Notification& notification) {
      return [&here, &notification](LedgerTransaction&) {
        here.Notify();
        notification.WaitForNotification();
        return absl::OkStatus();
      };
    };
    ledger_->Submit(wait(before, hold));
    before.WaitForNotification();
    ledger_->Submit(wait(begun, go_on));
    first();
    hold.Notify();
    begun.WaitForNotification();
    second();
    go_on.Notify();
    Settle();
  }
  static void ExpectFull(const absl::Status& status) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full")));
    EXPECT_EQ(core::GetReason(status), "STORAGE_FULL");
  }

  FaultyVfs vfs_;
};

TEST_F(FullDiskTest, ARefusedRequestLeavesNothingBehind) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  const v1::Job before = Get("job");
  const size_t sent = trainer.link->sent().size();

  FaultyVfs::full = true;
  spdlog::set_level(spdlog::level::off);
  ExpectFull(Adjust(ScaleRequest("job", 0.5)).status());
  ExpectFull(Stop("job").status());
  ExpectFull(Delete("job", /*force=*/true).status());
  ExpectFull(Create("other").status());
  EXPECT_EQ(Get("job").SerializeAsString(), before.SerializeAsString());
  EXPECT_THAT(trainer.link->sent(), SizeIs(sent));
  EXPECT_THAT(jobs_->GetJob("other"), StatusIs(absl::StatusCode::kNotFound, _));

  FaultyVfs::full = false;
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "attached", "RUNNING"));
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.25)), IsOk());
  SayApplied(trainer, 1, 10);
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "attached", "RUNNING", "requested 1", "adjusted 1 from 10"));
  EXPECT_THAT(Create("other"), IsOk());
}

TEST_F(FullDiskTest, WhatATrainerSaidIsNotAcknowledgedAndIsHeardLater) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  FaultyVfs::full = true;
  spdlog::set_level(spdlog::level::off);
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(trainer.accepted, 1) << "only that the model is ready";
  ExpectFull(*trainer.link->closed());
  EXPECT_EQ(State("job"), "RUNNING");

  FaultyVfs::full = false;
  Detach(trainer);
  Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  EXPECT_EQ(again.link->sent()[0].welcome().acked_notice(), 1);
  again.notices = 1;
  SayFinished(again, v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(State("job"), "SUCCEEDED");
}

TEST_F(FullDiskTest, ATrainerWhoseAttachingCouldNotBeWrittenHoldsNothing) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  FaultyVfs::full = true;
  spdlog::set_level(spdlog::level::off);
  InOneCommit([&] {
    jobs_->Attach(Hello("job"), trainer.link, [](const auto&) {});
    // Fails the commit of both.
    ledger_->Submit([](LedgerTransaction& transaction) { return transaction.PutSilence(v1::Silence()); });
  });
  FaultyVfs::full = false;
  Pass(absl::Seconds(2));
  EXPECT_EQ(State("job"), "RECOVERING") << "nobody is there, and that is noticed";
}

TEST_F(FullDiskTest, ReportsThatCouldNotBeStoredAreSentAgain) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  FaultyVfs::full = statistics_->full = true;
  spdlog::set_level(spdlog::level::off);
  Report(trainer, 0, 9);
  EXPECT_THAT(*trainer.link->closed(), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(PublishedSteps("job"), IsEmpty());
  SayPaused(trainer);
  EXPECT_EQ(State("job"), "RUNNING") << "the ledger's disk is full too";

  FaultyVfs::full = statistics_->full = false;
  Pass(absl::Seconds(1));
  Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  EXPECT_FALSE(again.link->sent()[0].welcome().has_acked_step());
  Report(again, 0, 9);
  EXPECT_THAT(StoredSteps("job"), SizeIs(10));
}

TEST_F(FullDiskTest, AttachingIsRefusedForAWhileAndMakesNoEvents) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  statistics_->full = true;
  Report(trainer, 0, 9);
  Detach(trainer);
  Pass(absl::Seconds(0.6));
  const auto log = Log("job");
  EXPECT_EQ(log.back(), "RECOVERING");
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(Attach(Hello("job")).attachment, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("statistics")));
  }
  EXPECT_EQ(Log("job"), log);

  // It fails again, and again: the trainer is let in rarely, and its job waits for it.
  int attached = 0;
  for (int second = 0; second < 300; ++second) {
    Pass(absl::Seconds(1));
    Trainer again = Attach(Hello("job"));
    if (!again.attachment.ok()) continue;
    ++attached;
    Report(again, 0, 9);
    Detach(again);
  }
  EXPECT_GE(attached, 5);
  EXPECT_LE(attached, 15);
  EXPECT_EQ(State("job"), "RECOVERING");
  statistics_->full = false;
  Trainer again = Attach(Hello("job"));
  for (int second = 0; second < 31 && !again.attachment.ok(); ++second) {  // as a trainer does that is refused
    Pass(absl::Seconds(1));
    again = Attach(Hello("job"));
  }
  ASSERT_THAT(again.attachment, IsOk());
  Report(again, 0, 9);
  EXPECT_THAT(StoredSteps("job"), SizeIs(10));
}

TEST_F(FullDiskTest, ATrainerThatDiedMeanwhileFailsItsJob) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  FaultyVfs::full = true;
  spdlog::set_level(spdlog::level::off);
  Detach(trainer);
  launcher_->End(1001, {.exit_code = 0, .signal = SIGKILL, .unknown = false, .last_output = {}});
  Settle();
  EXPECT_EQ(State("job"), "RUNNING");

  FaultyVfs::full = false;
  Pass(absl::Seconds(1));
  EXPECT_EQ(Get("job").failure(), "trainer killed by signal 9 (SIGKILL)");
}

// A stop that its trainer never heard of is no reason why it ended.
TEST_F(FullDiskTest, ATrainerThatDiedBesideAStopThatIsNotStoredFailsItsJob) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  Detach(trainer);
  v1::StopJobRequest stop;
  stop.set_job_id("job");
  FaultyVfs::full = true;
  spdlog::set_level(spdlog::level::off);
  InOneCommit([&] {
    jobs_->StopJob(stop, "tester", [&](const absl::StatusOr<v1::Job>& job) { ExpectFull(job.status()); });
    launcher_->End(1001, {.exit_code = 0, .signal = SIGKILL, .unknown = false, .last_output = {}});
  });
  FaultyVfs::full = false;
  ASSERT_THAT(Stop("job"), IsOk());
  Pass(absl::Seconds(1));
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_EQ(Get("job").failure(), "trainer killed by signal 9 (SIGKILL)");
}

// --- What a trainer is known by ---

// Launches a job whose handle cannot be stored.
class LostHandleTest : public FullDiskTest {
 protected:
  void SetUp() override {
    FullDiskTest::SetUp();
    spdlog::set_level(spdlog::level::off);
    executor_.Hold();
    ASSERT_THAT(Create("job"), IsOk());
    FaultyVfs::full = true;
    executor_.Release();
    Settle();
    FaultyVfs::full = false;
    ASSERT_THAT(launcher_->launches(), SizeIs(1));
    all_launches();
  }
  void RestartOnAFullDisk() {
    FaultyVfs::full = true;  // what a server stores as it goes has the handle too
    StopServer();
    FaultyVfs::full = false;
    OpenStores();
    FaultyVfs::full = true;
    MakeManager();
    jobs_->Start();
    Settle();
  }
};

TEST_F(LostHandleTest, IsStoredWithWhateverComesNext) {
  ASSERT_THAT(Attach(Hello("job")).attachment, IsOk());
  RestartServer();
  EXPECT_THAT(launcher_->adopted(), ElementsAre(1001));
}

TEST_F(LostHandleTest, IsKnownToWhoDeletesTheJob) {
  ASSERT_THAT(Delete("job", /*force=*/true), IsOk());
  EXPECT_THAT(launcher_->killed(), ElementsAre(1001));
}

TEST_F(LostHandleTest, AStartThatWasCutShortIsMadeAgainWhenThereIsRoom) {
  RestartOnAFullDisk();
  EXPECT_THAT(Attach(Hello("job")).attachment, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("started")));
  EXPECT_THAT(launcher_->launches(), IsEmpty());
  const v1::TrainerHello old = Hello("job");
  FaultyVfs::full = false;
  Pass(absl::Seconds(5));
  ASSERT_THAT(launcher_->launches(), SizeIs(1));
  EXPECT_EQ(launcher_->launches()[0].attempt, 2);
  EXPECT_THAT(Attach(old).attachment, StatusIs(absl::StatusCode::kAborted, _));
  EXPECT_THAT(Attach(Hello("job")).attachment, IsOk());
}

// Its trainer, if there is one, could not attach, and cannot be killed.
TEST_F(FullDiskTest, AJobThatWasToStopBeforeItsTrainerWasKnownHasStopped) {
  spdlog::set_level(spdlog::level::off);
  executor_.Hold();
  ASSERT_THAT(Create("job"), IsOk());
  ASSERT_THAT(Stop("job", 3600), IsOk());
  FaultyVfs::full = true;
  executor_.Release();
  Settle();
  const v1::TrainerHello hello = Hello("job");
  StopServer();
  FaultyVfs::full = false;
  StartServer();
  EXPECT_EQ(State("job"), "STOPPED");
  EXPECT_THAT(Attach(hello).attachment, StatusIs(absl::StatusCode::kFailedPrecondition, _));
}

TEST_F(LostHandleTest, AStopBeforeTheRestartIsStoredIsNotWaitedForEither) {
  RestartOnAFullDisk();
  FaultyVfs::full = false;
  ASSERT_THAT(Stop("job", 3600), IsOk());
  Pass(absl::Seconds(1));
  EXPECT_EQ(State("job"), "STOPPED");
}

// It is queued before what a tick asks for, and both are in the commit that fails.
TEST_F(LostHandleTest, AStopThatIsNotStoredDoesNotEndTheRecovery) {
  RestartOnAFullDisk();
  v1::StopJobRequest stop;
  stop.set_job_id("job");
  absl::Notification answered;
  InTwoCommits([&] { jobs_->Tick(); },
               [&] {
                 jobs_->StopJob(stop, "tester", [&](const absl::StatusOr<v1::Job>& job) {
                   ExpectFull(job.status());
                   answered.Notify();
                 });
               });
  answered.WaitForNotification();
  EXPECT_THAT(launcher_->launches(), IsEmpty());
  FaultyVfs::full = false;
  Pass(absl::Seconds(5));
  EXPECT_EQ(State("job"), "PENDING");
  ASSERT_THAT(launcher_->launches(), SizeIs(1)) << "it starts once more";
  EXPECT_EQ(launcher_->launches()[0].attempt, 2);
}

TEST_F(LostHandleTest, AJobThatWaitsAgainForItsTurnHasNoDeadline) {
  options_.max_running_jobs = 1;
  ASSERT_THAT(Create("other"), IsOk());  // the limit of before
  ASSERT_THAT(AttachReady("other").attachment, IsOk());
  RestartServer();
  Trainer other = Attach(Hello("other"));
  ASSERT_THAT(other.attachment, IsOk());
  Pass(absl::Seconds(200));
  EXPECT_EQ(State("job"), "PENDING");
  EXPECT_THAT(launcher_->launches(), IsEmpty());
}

TEST_F(FullDiskTest, AProcessIsWatchedAlthoughTheRecoveryCannotBeStored) {
  ASSERT_THAT(Create("job"), IsOk());
  AttachReady("job");
  spdlog::set_level(spdlog::level::off);
  StopServer();
  OpenStores();
  FaultyVfs::full = true;
  MakeManager();
  jobs_->Start();
  Settle();
  EXPECT_THAT(launcher_->adopted(), ElementsAre(1001));
  EXPECT_EQ(State("job"), "RUNNING");
  FaultyVfs::full = false;
  Pass(absl::Seconds(1));
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "attached", "RUNNING", "detached: the server was away", "RECOVERING"));
  launcher_->End(1001, {.exit_code = 0, .signal = 0, .unknown = true, .last_output = {}});
  Settle();
  EXPECT_EQ(Get("job").failure(), "trainer ended while the server was away");
}

TEST_F(FullDiskTest, AProcessWhoseEndComesBehindAnEndOfItsJobThatIsNotStoredHasEnded) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  FaultyVfs::full = true;
  spdlog::set_level(spdlog::level::off);
  v1::NoticeBatch batch;
  batch.set_epoch(trainer.attachment->epoch);
  batch.add_notices()->set_number(2);
  batch.mutable_notices(0)->mutable_finished()->set_state(v1::JOB_STATE_SUCCEEDED);
  InOneCommit([&] {
    jobs_->OnNotices(*trainer.attachment, trainer.link, batch, [] { ADD_FAILURE(); });
    jobs_->OnDetached(*trainer.attachment, trainer.link, "lost");
    launcher_->End(1001, {.exit_code = 3, .signal = 0, .unknown = false, .last_output = {}});
  });
  FaultyVfs::full = false;
  Pass(absl::Seconds(1));
  EXPECT_EQ(Get("job").failure(), "trainer ended with exit code 3");
}

// The holder of an external job was silent, another one is on its way in, and fails.
TEST_F(FullDiskTest, AMereClaimantFencesNobodyForEver) {
  v1::CreateJobRequest request;
  request.set_job_id("job");
  request.mutable_spec()->mutable_external();
  const auto job = Create(request);
  ASSERT_THAT(job, IsOk());
  v1::TrainerHello hello;
  hello.set_job_id("job");
  hello.set_attach_token(job->attach_token());
  hello.set_trainer_id(kTrainerId);
  Trainer holder = Attach(hello);
  ASSERT_THAT(holder.attachment, IsOk());
  hello.set_attempt(1);
  holder.link->heard = TrainerLink::Heard::kNothing;
  Pass(absl::Seconds(36));
  v1::TrainerHello other = hello;
  other.set_trainer_id(NewUuid());
  other.set_attempt(0);
  executor_.Hold();
  Trainer claimant;
  jobs_->Attach(other, claimant.link, [&](absl::StatusOr<JobManager::Attachment> attachment) {
    claimant.attachment = std::move(attachment);
  });
  Settle();
  EXPECT_THAT(*holder.link->closed(), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(Attach(hello).attachment, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("attaching")));
  FaultyVfs::full = true;
  spdlog::set_level(spdlog::level::off);
  executor_.Release();
  Settle();
  ExpectFull(claimant.attachment.status());
  FaultyVfs::full = false;
  EXPECT_THAT(Attach(hello).attachment, IsOk());
}

TEST_F(FullDiskTest, AStartThatFailsOnAFullDiskFailsItsJobWhenThereIsRoom) {
  options_.max_running_jobs = 1;
  RestartServer();
  spdlog::set_level(spdlog::level::off);
  launcher_->FailWith(absl::ResourceExhaustedError("no room for its log"));
  executor_.Hold();
  ASSERT_THAT(Create("job"), IsOk());
  ASSERT_THAT(Create("next"), IsOk());
  FaultyVfs::full = true;
  executor_.Release();
  Settle();
  EXPECT_EQ(State("job"), "PENDING");
  FaultyVfs::full = false;
  launcher_->FailWith(absl::OkStatus());
  Pass(absl::Seconds(1));
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_EQ(Get("job").failure(), "trainer could not be started: no room for its log");
  EXPECT_THAT(launcher_->launches(), SizeIs(1)) << "of the next one: the place is free again";
}

// Each of these has told the trainer that it is not wanted any more, though what it had seen was never so.
TEST_F(FullDiskTest, ATrainerIsNotTurnedAwayForGoodByWhatIsNotStored) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  spdlog::set_level(spdlog::level::off);
  v1::DeleteJobRequest request;
  request.set_job_id("job");
  request.set_force(true);
  v1::NoticeBatch batch;
  batch.set_epoch(trainer.attachment->epoch);
  batch.add_notices()->set_number(2);
  batch.mutable_notices(0)->mutable_paused();
  absl::Status deleted;
  Trainer again;
  FaultyVfs::full = true;
  InOneCommit([&] {
    jobs_->DeleteJob(request, "tester",
                     [&](const absl::StatusOr<v1::DeleteJobResponse>& answer) { deleted = answer.status(); });
    jobs_->OnNotices(*trainer.attachment, trainer.link, batch, [] { ADD_FAILURE(); });
    jobs_->Attach(Hello("job"), again.link,
                  [&](absl::StatusOr<JobManager::Attachment> attachment) { again.attachment = std::move(attachment); });
  });
  ExpectFull(deleted);
  ExpectFull(*trainer.link->closed());
  ExpectFull(again.attachment.status());
  FaultyVfs::full = false;
  EXPECT_THAT(Attach(Hello("job")).attachment, IsOk());
}

// A stream ends in a commit that fails, in which the job was to end; its trainer comes again before that is looked at
// once more.
TEST_F(FullDiskTest, TheEndOfAStreamDoesNotCountOnceThereIsAnother) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  spdlog::set_level(spdlog::level::off);
  v1::NoticeBatch batch;
  batch.set_epoch(trainer.attachment->epoch);
  batch.add_notices()->set_number(2);
  batch.mutable_notices(0)->mutable_finished()->set_state(v1::JOB_STATE_SUCCEEDED);
  Trainer again;
  InTwoCommits(
      [&] {
        // Nothing of it is stored.
        ledger_->Submit([](LedgerTransaction& transaction) {
          FaultyVfs::full = true;
          transaction.OnCommit([](const absl::Status&) { FaultyVfs::full = false; });
          return absl::OkStatus();
        });
        jobs_->OnNotices(*trainer.attachment, trainer.link, batch, [] { ADD_FAILURE(); });
        jobs_->OnDetached(*trainer.attachment, trainer.link, "lost");
      },
      [&] {
        jobs_->Attach(Hello("job"), again.link, [&](absl::StatusOr<JobManager::Attachment> attachment) {
          again.attachment = std::move(attachment);
        });
      });
  ASSERT_THAT(again.attachment, IsOk());
  Pass(absl::Seconds(70));
  EXPECT_EQ(State("job"), "RUNNING");
  EXPECT_THAT(launcher_->killed(), IsEmpty());
}

TEST_F(FullDiskTest, AJobThatCouldNotBeStartedIsStartedLater) {
  v1::CreateJobRequest request;
  *request.mutable_spec() = SmallSpec();
  request.set_job_id("job");
  spdlog::set_level(spdlog::level::off);
  absl::Notification answered;
  jobs_->CreateJob(request, "tester", [&](const absl::StatusOr<v1::Job>& job) {
    EXPECT_THAT(job, IsOk());
    FaultyVfs::full = true;  // its start is the next thing to be written
    answered.Notify();
  });
  answered.WaitForNotification();
  Settle();
  EXPECT_THAT(launcher_->launches(), IsEmpty());

  FaultyVfs::full = false;
  Pass(absl::Seconds(1));
  EXPECT_THAT(launcher_->launches(), SizeIs(1));
}

}  // namespace
}  // namespace gradwatch::server
