// Jobs whose steps a foreign program runs.
#include <memory>

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
using ::testing::Not;
using ::testing::SizeIs;

class ExternalJobTest : public JobManagerTest {
 protected:
  static v1::CreateJobRequest Request(const std::string& job_id) {
    v1::CreateJobRequest request;
    request.set_job_id(job_id);
    request.mutable_spec()->mutable_external()->set_framework("pytorch 1.13");
    return request;
  }
  // The first hello of a process.
  v1::TrainerHello FirstHello(const v1::Job& created) const {
    v1::TrainerHello hello;
    hello.set_job_id(created.job_id());
    hello.set_attach_token(created.attach_token());
    hello.set_trainer_id(kTrainerId);
    hello.set_trainer("pytorch");
    v1::TensorInfo* const tensor = hello.add_tensors();
    tensor->set_name("linear.weight");
    tensor->add_shape(3);
    return hello;
  }
  bool TellsToken(const v1::Job& job, const std::string& token) {
    return job.SerializeAsString().find(token) != std::string::npos;
  }
};

TEST_F(ExternalJobTest, ItWaitsForItsTrainerAndNothingIsStarted) {
  const auto job = Create(Request("job"));
  ASSERT_THAT(job, IsOk());
  EXPECT_EQ(job->state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job->attempt(), 0);
  EXPECT_THAT(job->attach_token(), SizeIs(64));
  EXPECT_FALSE(job->has_estimate());
  EXPECT_FALSE(job->has_data());
  EXPECT_THAT(job->tensors(), IsEmpty());
  EXPECT_GT(job->spec().rules().rules_size(), 0);
  Pass(absl::Hours(1));
  RestartServer();
  Pass(absl::Hours(1));
  EXPECT_EQ(State("job"), "PENDING");
  EXPECT_THAT(Log("job"), ElementsAre("PENDING"));
  EXPECT_THAT(launcher_->launches(), IsEmpty());
}

TEST_F(ExternalJobTest, TheTokenIsToldInOneAnswerAlone) {
  v1::CreateJobRequest request = Request("job");
  request.set_request_id(NewUuid());
  const auto job = Create(request);
  ASSERT_THAT(job, IsOk());
  EXPECT_EQ(Create(request)->attach_token(), job->attach_token()) << "the same request again";
  const std::string token = job->attach_token();
  EXPECT_FALSE(TellsToken(Get("job"), token));
  v1::ListJobsRequest list;
  list.set_view(v1::JOB_VIEW_FULL);
  EXPECT_FALSE(TellsToken(jobs_->ListJobs(list)->jobs(0), token));
  EXPECT_FALSE(TellsToken(*Stop("job"), token));
  for (int64_t event = 1; event <= Get("job").last_event(); ++event) {
    EXPECT_THAT(EventAt("job", event).SerializeAsString(), Not(HasSubstr(token)));
  }
  request = Request("other");
  EXPECT_NE(Create(request)->attach_token(), token);
  request.set_job_id("");
  request.set_validate_only(true);
  EXPECT_EQ(Create(request)->attach_token(), "") << "there is no job to attach to";
  EXPECT_EQ(Create("hosted")->attach_token(), "");
}

TEST_F(ExternalJobTest, SpecsAreCheckedWithoutAChecker) {
  class NoChecker final : public SpecChecker {
   public:
    void Check(v1::JobSpec, Done) override { ADD_FAILURE() << "there is nothing to check elsewhere"; }
  };
  NoChecker none;
  jobs_.reset();
  auto jobs = JobManager::Create({.ledger = ledger_.get(),
                                  .reader = reader_.get(),
                                  .statistics = statistics_.get(),
                                  .hub = hub_.get(),
                                  .events = events_.get(),
                                  .rings = rings_.get(),
                                  .launcher = launcher_.get(),
                                  .executor = &executor_,
                                  .checker = &none,
                                  .clock = &clock_},
                                 options_);
  ASSERT_THAT(jobs, IsOk());
  jobs_ = *std::move(jobs);
  jobs_->Start();
  EXPECT_THAT(Create(Request("job")), IsOk());
  v1::CreateJobRequest request = Request("wrong");
  request.mutable_spec()->mutable_model();
  EXPECT_THAT(Create(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("spec.model: must be unset")));
  jobs_.reset();
}

TEST_F(ExternalJobTest, ItTakesNoPlaceOfTheJobsThatThisMachineRuns) {
  StopServer();
  options_.max_running_jobs = 1;
  options_.max_waiting_jobs = 0;
  options_.max_external_jobs = 2;
  StartServer();
  ASSERT_THAT(Create(Request("one")), IsOk());
  ASSERT_THAT(Create(Request("two")), IsOk()) << "they do not wait for a turn";
  const auto third = Create(Request("three"));
  EXPECT_THAT(third, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("2 external jobs")));
  EXPECT_EQ(core::GetReason(third.status()), "QUOTA_JOBS");
  ASSERT_THAT(Stop("one"), IsOk());
  EXPECT_THAT(Create(Request("three")), IsOk()) << "those that have ended do not count";

  StopServer();
  options_.max_waiting_jobs = 1;
  StartServer();
  ASSERT_THAT(Create("hosted"), IsOk());
  EXPECT_THAT(launcher_->launches(), SizeIs(1)) << "it is started beside them";
}

TEST_F(ExternalJobTest, WhatNobodyAttachedToStopsAtOnceAndCanBeDeleted) {
  ASSERT_THAT(Create(Request("job")), IsOk());
  EXPECT_THAT(Pause("job"), StatusIs(absl::StatusCode::kFailedPrecondition, _));
  EXPECT_EQ(Stop("job")->state(), v1::JOB_STATE_STOPPED);
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "STOPPING", "STOPPED"));
  EXPECT_THAT(Delete("job"), IsOk());
  const auto again = Create(Request("job"));
  ASSERT_THAT(again, IsOk());
  EXPECT_THAT(Delete("job", /*force=*/true), IsOk());
  EXPECT_THAT(Attach(FirstHello(*again)).attachment, StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(launcher_->killed(), IsEmpty());
}

TEST_F(ExternalJobTest, ATrainerWithTheTokenRunsIt) {
  const auto job = Create(Request("job"));
  ASSERT_THAT(job, IsOk());
  v1::TrainerHello hello = FirstHello(*job);
  hello.set_attach_token(std::string(64, '0'));
  EXPECT_THAT(Attach(hello).attachment, StatusIs(absl::StatusCode::kPermissionDenied, _));
  hello = FirstHello(*job);
  hello.set_attempt(1);
  EXPECT_THAT(Attach(hello).attachment, Not(IsOk())) << "there was no attempt yet";

  Trainer trainer = Attach(FirstHello(*job));
  ASSERT_THAT(trainer.attachment, IsOk());
  const v1::TrainerWelcome welcome = trainer.link->sent()[0].welcome();
  EXPECT_EQ(welcome.attempt(), 1);
  EXPECT_EQ(welcome.job_uid(), job->uid());
  EXPECT_FALSE(welcome.has_spec()) << "it knows what it trains";
  EXPECT_GT(welcome.rules().rules_size(), 0) << "and is told what to judge";
  EXPECT_EQ(welcome.rules().DebugString(), job->spec().rules().DebugString());
  EXPECT_THAT(welcome.data_roots(), IsEmpty());
  EXPECT_EQ(welcome.controls().revision(), 1);
  EXPECT_EQ(State("job"), "RUNNING");
  EXPECT_EQ(Get("job").tensors(0).name(), "linear.weight");
  Report(trainer, 0, 9);
  EXPECT_EQ(Get("job").steps_done(), 10) << "nobody said how many there will be";
  SayAlert(trainer, "norm-spike", v1::ALERT_STATE_FIRING);
  EXPECT_EQ(Get("job").firing_alerts(), 1);
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Log("job"),
              ElementsAre("PENDING", "attached", "RUNNING", "FIRING norm-spike", "RESOLVED norm-spike", "SUCCEEDED"));
  EXPECT_THAT(Attach(FirstHello(*job)).attachment, StatusIs(absl::StatusCode::kFailedPrecondition, _));
}

TEST_F(ExternalJobTest, WhatIsWrongClosesThatStreamOnly) {
  const auto job = Create(Request("job"));
  ASSERT_THAT(job, IsOk());
  Trainer trainer = Attach(FirstHello(*job));
  ASSERT_THAT(trainer.attachment, IsOk());
  v1::Notice notice = AlertNotice(trainer, "norm-spike", v1::ALERT_STATE_FIRING);
  notice.mutable_alert()->set_tensor("nosuch");
  Say(trainer, notice);
  ASSERT_TRUE(trainer.link->closed().has_value());
  EXPECT_THAT(*trainer.link->closed(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("notice.alert.tensor")));
  EXPECT_EQ(Get("job").firing_alerts(), 0);
  EXPECT_EQ(State("job"), "RUNNING");

  v1::TrainerHello hello = FirstHello(*job);
  hello.set_attempt(1);
  Trainer again = Attach(hello);
  ASSERT_THAT(again.attachment, IsOk());
  EXPECT_EQ(again.link->sent()[0].welcome().acked_notice(), 0) << "the bad one was not taken";
  SayAlert(again, "norm-spike", v1::ALERT_STATE_FIRING);
  EXPECT_EQ(Get("job").firing_alerts(), 1);
  hello.mutable_tensors(0)->set_shape(0, 4);
  EXPECT_THAT(Attach(hello).attachment, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("hello.tensors")))
      << "they do not change within an attempt";
}

TEST_F(ExternalJobTest, ANewProcessIsANewAttemptAndWhatTheOldOneHadOpenIsOver) {
  const auto job = Create(Request("job"));
  ASSERT_THAT(job, IsOk());
  Trainer first = Attach(FirstHello(*job));
  ASSERT_THAT(first.attachment, IsOk());
  v1::ReportBatch reports = Reports(0, 9);
  reports.mutable_reports(5)->mutable_validation()->set_loss(1);
  Report(first, reports);
  EXPECT_TRUE(Get("job").has_last_validation());
  SayAlert(first, "norm-spike", v1::ALERT_STATE_FIRING);
  v1::TrainerHello hello = FirstHello(*job);
  hello.set_trainer_id(NewUuid());
  EXPECT_THAT(Attach(hello).attachment, StatusIs(absl::StatusCode::kUnavailable, _)) << "the first is there";
  Detach(first);
  Pass(absl::Seconds(36));
  hello.mutable_tensors(0)->set_shape(0, 4);
  Trainer second = Attach(hello);
  ASSERT_THAT(second.attachment, IsOk());
  EXPECT_EQ(second.link->sent()[0].welcome().attempt(), 2);
  EXPECT_EQ(second.link->sent()[0].welcome().acked_notice(), 0);
  EXPECT_FALSE(second.link->sent()[0].welcome().has_acked_step());
  EXPECT_EQ(Get("job").steps_done(), 0);
  EXPECT_FALSE(Get("job").has_last_loss() || Get("job").has_last_grad_norm() || Get("job").has_last_validation());
  EXPECT_EQ(Get("job").tensors(0).shape(0), 4) << "another attempt may have other tensors";
  EXPECT_EQ(Get("job").firing_alerts(), 0);
  SayAlert(second, "norm-spike", v1::ALERT_STATE_FIRING);
  EXPECT_EQ(Get("job").firing_alerts(), 1) << "episodes count anew";
  v1::TrainerHello old = FirstHello(*job);
  old.set_attempt(1);
  EXPECT_EQ(core::GetReason(Attach(old).attachment.status()), "TRAINER_FENCED");
}

TEST_F(ExternalJobTest, StepsOfTheAttemptBeforeAreNotTakenForThoseOfTheNewOne) {
  const auto job = Create(Request("job"));
  ASSERT_THAT(job, IsOk());
  Trainer first = Attach(FirstHello(*job));
  ASSERT_THAT(first.attachment, IsOk());
  Report(first, 0, 9);
  Detach(first);
  Pass(absl::Seconds(36));
  v1::TrainerHello hello = FirstHello(*job);
  hello.set_trainer_id(NewUuid());
  ASSERT_THAT(Attach(hello).attachment, IsOk());
  hello.set_attempt(2);
  Trainer again = Attach(hello);
  ASSERT_THAT(again.attachment, IsOk());
  EXPECT_FALSE(again.link->sent()[0].welcome().has_acked_step()) << "it has reported nothing";
  Report(again, 0, 4);
  EXPECT_THAT(StoredGaps("job"), IsEmpty());
  EXPECT_THAT(StoredSteps("job"), SizeIs(5));
  EXPECT_EQ(Get("job").steps_done(), 5);
}

TEST_F(ExternalJobTest, ControlsThatFitNoOptimizerOfOursMayFitTheirs) {
  ASSERT_THAT(Create(Request("job")), IsOk());
  v1::AdjustJobRequest request;
  request.set_job_id("job");
  request.mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_SPAM);
  request.mutable_update_mask()->add_paths("clip.mode");
  request.set_at_step(999'999'999'999);
  EXPECT_THAT(Adjust(request), IsOk());
  request.set_at_step(1'000'000'000'000);
  EXPECT_THAT(Adjust(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at_step")));
}

// What watchers put into order by steps, and what a restart takes for stored, is what was told of.
TEST_F(ExternalJobTest, NothingIsToldOfStepsThatWereNotDone) {
  for (const bool finishes : {false, true}) {
    const std::string name = finishes ? "finished" : "alert";
    const auto job = Create(Request(name));
    ASSERT_THAT(job, IsOk());
    Trainer trainer = Attach(FirstHello(*job));
    ASSERT_THAT(trainer.attachment, IsOk());
    Report(trainer, 0, 9);
    v1::Notice notice = finishes ? v1::Notice() : AlertNotice(trainer, "rule", v1::ALERT_STATE_FIRING);
    notice.set_number(1);
    notice.set_steps_done(finishes ? 11 : 10);
    if (finishes) notice.mutable_finished()->set_state(v1::JOB_STATE_SUCCEEDED);
    if (!finishes) notice.mutable_alert()->set_step(10);
    Say(trainer, notice);
    ASSERT_TRUE(trainer.link->closed().has_value());
    EXPECT_THAT(*trainer.link->closed(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("notice.")));
    EXPECT_EQ(State(name), "RUNNING");
  }
}

}  // namespace
}  // namespace gradwatch::server
