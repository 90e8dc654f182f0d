// What a server makes of its data folder: damaged and missing statistics, jobs that have ended.
#include <malloc.h>

#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "tests/server/job/job_manager_fixture.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

class RecoveryTest : public JobManagerTest {
 protected:
  void SetUp() override {
    JobManagerTest::SetUp();
    ASSERT_THAT(Create("job"), IsOk());
    trainer_ = AttachReady("job");
    Report(trainer_, 0, 99);
    all_launches();
  }
  // Does something to the statistics of all jobs while the server is away.
  void RestartWith(absl::FunctionRef<void(const std::string& folder)> spoil) {
    StopServer();
    spoil(dir_.File("history"));
    StartServer();
  }
  static void Remove(const std::string& folder) { std::filesystem::remove_all(folder); }
  // What no repair can read; by itself it begins anew.
  static void Overwrite(const std::string& folder) {
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
      const auto size = static_cast<size_t>(std::filesystem::file_size(file.path()));
      const std::string extension = file.path().extension();
      if (extension == ".sst" || extension == ".log") std::ofstream(file.path()) << std::string(size, 'x');
    }
  }
  std::vector<std::string> Losses() {
    std::vector<std::string> losses;
    const auto events = reader_->ReadEvents(Get("job").uid(), 0, 10'000, size_t{1} << 30);
    for (const auto& stored : *events) {
      if (stored.event.has_data_loss()) losses.push_back(stored.event.data_loss().description());
    }
    return losses;
  }

  Trainer trainer_;
};

TEST_F(RecoveryTest, EveryEventTellsHowManyStepsWereDone) {
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  RestartServer();
  Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  again.notices = 1;
  Report(again, 100, 109);
  SayFinished(again, v1::JOB_STATE_SUCCEEDED);
  v1::UpdateJobRequest update;
  update.set_job_id("job");
  update.mutable_spec()->set_display_name("late");
  update.mutable_update_mask()->add_paths("display_name");
  ASSERT_THAT(Call(&JobManager::UpdateJob, update), IsOk());
  std::vector<std::string> log;
  const auto events = reader_->ReadEvents(Get("job").uid(), 0, 100, size_t{1} << 20);
  for (const auto& [position, event] : *events) log.push_back(absl::StrCat(Short(event), " @", event.steps_done()));
  EXPECT_THAT(log, ElementsAre("PENDING @0", "attached @0", "RUNNING @0", "requested 1 @100",
                               "detached: the server was away @100", "RECOVERING @100", "attached @100", "RUNNING @100",
                               "dropped 1 @110", "SUCCEEDED @110", "updated late @110"));
}

TEST_F(RecoveryTest, DamagedStatisticsOfARunningJobAreTold) {
  Pass(absl::Seconds(10));  // its figures are in its row
  RestartWith(&Overwrite);
  EXPECT_THAT(Losses(), ElementsAre("statistics: attempt 1, steps 0 to 99 are gone"));
  EXPECT_EQ(State("job"), "RECOVERING");
  EXPECT_EQ(Get("job").steps_done(), 100);
  EXPECT_DOUBLE_EQ(Get("job").last_loss(), 0.01);
  EXPECT_THAT(StoredGaps("job"), ElementsAre("0 to 99"));
  Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  EXPECT_EQ(again.link->sent()[0].welcome().acked_step(), 99);
  again.notices = 1;
  Report(again, 100, 109);
  EXPECT_THAT(StoredSteps("job"), SizeIs(10));
  EXPECT_EQ((*jobs_->GetChannel("job"))->End().step, 109);
  RestartServer();
  EXPECT_THAT(Losses(), SizeIs(1)) << "it is told once";
}

TEST_F(RecoveryTest, DamagedStatisticsOfAnUnknownLengthAreToldToo) {
  RestartWith(&Overwrite);  // before its figures were saved
  EXPECT_THAT(Losses(), IsEmpty()) << "nobody knows how many steps it had";
  Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  Report(again, 100, 109);
  EXPECT_THAT(StoredGaps("job"), ElementsAre("0 to 99")) << "the trainer has forgotten them";
  EXPECT_THAT(Losses(), ElementsAre("statistics: attempt 1, steps 0 to 99 are gone"));
}

// A step of a job that has ended before the store was damaged is looked for, too.
TEST_F(RecoveryTest, WhatAJobThatHasEndedHasLostIsTold) {
  SayFinished(trainer_, v1::JOB_STATE_SUCCEEDED);
  for (int restart = 0; restart < 2; ++restart) {
    RestartWith([restart](const std::string& folder) {
      if (restart == 0) Remove(folder);
    });
    EXPECT_THAT(Losses(), ElementsAre("statistics: attempt 1, steps 0 to 99 are gone"));
    EXPECT_THAT(StoredGaps("job"), ElementsAre("0 to 99"));
    EXPECT_EQ(State("job"), "SUCCEEDED");
  }
}

TEST_F(RecoveryTest, WhatIsAroundAnAlertIsProtected) {
  v1::Notice notice = AlertNotice(trainer_, "diverged", v1::ALERT_STATE_PENDING, 1);
  notice.mutable_alert()->set_step(50);
  notice.set_steps_done(51);
  Say(trainer_, notice);
  EXPECT_THAT(statistics_->protected_ranges(), IsEmpty());
  notice.mutable_alert()->set_state(v1::ALERT_STATE_FIRING);
  Say(trainer_, notice);
  EXPECT_THAT(statistics_->protected_ranges(), ElementsAre("1: -206 to 306"));
}

TEST_F(RecoveryTest, WhatADeletionLeftIsRemovedAtTheStart) {
  const std::string uid = Get("job").uid();
  statistics_->away = true;  // the server ends before anything is removed
  ASSERT_THAT(Delete("job", /*force=*/true), IsOk());
  absl::Notification stored;
  statistics_->Append("nobodys", {EncodeLost(1, 0, 9, "away")}, [&](const absl::Status&, auto) { stored.Notify(); });
  stored.WaitForNotification();
  ASSERT_THAT(statistics_->Uids(), UnorderedElementsAre(uid, "nobodys"));
  RestartServer();
  EXPECT_THAT(launcher_->AwaitRemoved(), ElementsAre(absl::StrCat(uid, " 1")));
  Settle();
  EXPECT_THAT(statistics_->Uids(), ElementsAre("nobodys")) << "only what was deleted is removed";
  EXPECT_THAT(*ledger_->LoadRemovals(), IsEmpty());
}

TEST_F(RecoveryTest, AServerThatEndsInOrderKnowsHowFarItsJobsWere) {
  jobs_->Drain();  // in the first second, before any figures are saved
  Settle();
  RestartWith(&Remove);
  EXPECT_THAT(Losses(), ElementsAre("statistics: attempt 1, steps 0 to 99 are gone"));
}

TEST_F(RecoveryTest, MissingAndEmptiedStatisticsAreToldToo) {
  Pass(absl::Seconds(10));
  RestartWith(&Remove);
  EXPECT_THAT(Losses(), ElementsAre("statistics: attempt 1, steps 0 to 99 are gone"));
  EXPECT_THAT(StoredGaps("job"), ElementsAre("0 to 99"));
  Trainer again = Attach(Hello("job"));
  again.notices = 1;
  Report(again, 100, 119);
  SayPaused(again);
  RestartWith([](const std::string& folder) {
    for (const auto& file : std::filesystem::directory_iterator(folder)) std::filesystem::resize_file(file.path(), 0);
  });
  EXPECT_THAT(Losses(), SizeIs(2));
  EXPECT_THAT(Losses()[1], HasSubstr("steps 0 to 119"));
  EXPECT_THAT(StoredGaps("job"), ElementsAre("0 to 119"));
}

TEST_F(RecoveryTest, WhatWasStoredWhileItCouldNotBeReadIsNotPassedOver) {
  Pass(absl::Seconds(10));  // its figures are in its row
  Report(trainer_, 100, 119);
  StopServer();
  OpenStores();
  statistics_->away = true;
  MakeManager();
  jobs_->Start();
  Settle();
  EXPECT_EQ(Get("job").steps_done(), 100) << "as much as the row says";
  statistics_->away = false;
  Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  EXPECT_EQ(again.link->sent()[0].welcome().acked_step(), 119);
  EXPECT_EQ(Get("job").steps_done(), 120);
  again.notices = 1;
  Report(again, 120, 129);
  // A reader that had step 99 reads the store up to where the ring begins.
  const auto window = (*jobs_->GetChannel("job"))->Read({.event = 0, .attempt = 1, .step = 99}, 1 << 20);
  EXPECT_TRUE(window.reports_behind);
  EXPECT_EQ(window.start.step, 119);
  EXPECT_EQ(window.end.step, 129);
}

// The ledger's thread ends jobs while others are still looked at; for the thread sanitizer.
TEST_F(RecoveryTest, ManyJobsWhoseTrainersAreGone) {
  for (int i = 0; i < 12; ++i) ASSERT_THAT(Create(absl::StrCat("job-", i)), IsOk());
  StopServer();
  OpenStores();
  launcher_->gone = true;
  MakeManager();
  jobs_->Start();
  Settle();
  for (int i = 0; i < 12; ++i) EXPECT_EQ(State(absl::StrCat("job-", i)), "FAILED");
}

TEST_F(RecoveryTest, AJobThatHasEndedIsAsItWas) {
  SayFinished(trainer_, v1::JOB_STATE_SUCCEEDED);
  const v1::Job before = Get("job");
  RestartServer();
  EXPECT_EQ(Get("job").SerializeAsString(), before.SerializeAsString());
  EXPECT_THAT(Losses(), IsEmpty());
  const auto channel = *jobs_->GetChannel("job");
  EXPECT_TRUE(channel->ended());
  EXPECT_EQ(channel->End(), (WatchCursor{before.last_event(), 1, 99}));
}

TEST_F(RecoveryTest, ALossIsToldOnceAlsoOfAJobThatHasEnded) {
  SayFinished(trainer_, v1::JOB_STATE_SUCCEEDED);
  const std::string uid = Get("job").uid();
  for (int i = 0; i < 3; ++i) jobs_->TellDataLoss(uid, "steps 3 to 4 are damaged");
  Settle();
  EXPECT_THAT(Losses(), ElementsAre("steps 3 to 4 are damaged"));
  EXPECT_TRUE((*jobs_->GetChannel("job"))->ended());
  EXPECT_EQ((*jobs_->GetChannel("job"))->End().event, Get("job").last_event());
  RestartServer();
  jobs_->TellDataLoss(uid, "steps 3 to 4 are damaged");
  jobs_->TellDataLoss(uid, "steps 7 to 8 are damaged");
  jobs_->TellDataLoss("no such uid", "steps 7 to 8 are damaged");
  Settle();
  EXPECT_THAT(Losses(), ElementsAre("steps 3 to 4 are damaged", "steps 7 to 8 are damaged"));
}

TEST_F(RecoveryTest, ALossOfARunningJobIsToldOnceOverRestarts) {
  const std::string uid = Get("job").uid();
  jobs_->TellDataLoss(uid, "a");
  Settle();
  RestartServer();
  jobs_->TellDataLoss(uid, "a");
  Settle();
  EXPECT_THAT(Losses(), ElementsAre("a"));
}

TEST_F(RecoveryTest, ManyLossesOfOneJobAreNotAllTold) {
  for (int i = 0; i < 300; ++i) jobs_->TellDataLoss(Get("job").uid(), absl::StrCat("loss ", i));
  Settle();
  EXPECT_THAT(Losses(), SizeIs(100));
}

TEST_F(RecoveryTest, FiguresAreReadAgainFromWhatWasReportedSinceTheyWereSaved) {
  v1::ReportBatch batch = Reports(100, 109);
  for (v1::StepReport& report : *batch.mutable_reports()) report.set_nan_count(1);
  Report(trainer_, batch);
  Pass(absl::Seconds(10));
  batch = Reports(110, 119);
  for (v1::StepReport& report : *batch.mutable_reports()) report.set_nan_count(2);
  Report(trainer_, batch);
  RestartServer();
  EXPECT_EQ(Get("job").steps_done(), 120);
  EXPECT_EQ(Get("job").non_finite_steps(), 20);
  EXPECT_EQ(Get("job").last_non_finite(), 2);
}

// What a job that has ended costs for as long as it is kept.
TEST_F(RecoveryTest, TwoThousandEndedJobsAreSmallAndStartAtOnce) {
  constexpr int kJobs = 2000;
  SayFinished(trainer_, v1::JOB_STATE_SUCCEEDED);
  v1::Job ended = Get("job");
  for (int tensor = 0; tensor < 100; ++tensor) {
    v1::TensorInfo* const info = ended.add_tensors();
    info->set_name(absl::StrCat("residual", tensor, ".dense1.weight"));
    info->add_shape(256);
    info->add_shape(256);
    *ended.mutable_spec()->mutable_model()->add_layers() = ended.spec().model().layers(0);
  }
  ledger_->Submit([&](LedgerTransaction& transaction) -> absl::Status {
    for (int i = 0; i < kJobs; ++i) {
      JobRow row;
      row.job = ended;
      row.job.set_job_id(absl::StrCat("ended-", i));
      row.job.set_uid(absl::StrCat("00000000-0000-4000-8000-", 100'000'000'000 + i));
      row.job.mutable_create_time()->set_nanos((i + 1) * 1000);
      GW_RETURN_IF_ERROR(transaction.PutJob(row));
    }
    return absl::OkStatus();
  });
  Settle();
  StopServer();
  OpenStores();
  malloc_trim(0);
  const size_t before = mallinfo2().uordblks;
  MakeManager();
  malloc_trim(0);
  const size_t used = mallinfo2().uordblks - before;
  EXPECT_EQ(jobs_->ListJobs({})->jobs_size(), 50);
  EXPECT_LT(used, size_t{64} << 20);
  RecordProperty("bytes_per_job", static_cast<int>(used / kJobs));
  v1::ListJobsRequest request;
  request.set_view(v1::JOB_VIEW_FULL);
  EXPECT_EQ(jobs_->ListJobs(request)->jobs(0).tensors_size(), 101);
}

}  // namespace
}  // namespace gradwatch::server
