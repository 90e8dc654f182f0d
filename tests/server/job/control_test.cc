// What users do to a job that is there.
#include "core/base/error.h"
#include "core/spec/job_spec.h"
#include "core/spec/resource_limits.h"
#include "server/base/unique_text.h"
#include "tests/server/job/job_manager_fixture.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ControlTest : public JobManagerTest {
 protected:
  void SetUp() override {
    JobManagerTest::SetUp();
    ASSERT_THAT(Create("job"), IsOk());
  }
  // Events after those of the start.
  std::vector<std::string> LogAfterStart() {
    std::vector<std::string> log = Log("job");
    log.erase(log.begin(), log.begin() + 3);
    return log;
  }
};

TEST_F(ControlTest, AdjustmentsAreChecked) {
  Trainer trainer = AttachReady("job");
  Report(trainer, 0, 9);
  v1::AdjustJobRequest request = ScaleRequest("job", 0.5);
  request.set_etag("stale");
  auto refused = Adjust(request);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kAborted, HasSubstr("etag")));
  EXPECT_EQ(core::GetReason(refused.status()), "ETAG_MISMATCH");
  EXPECT_EQ(core::GetErrorMetadata(refused.status(), "etag"), Get("job").etag());

  request = ScaleRequest("job", 0.5);
  request.set_at_step(9);
  refused = Adjust(request);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("the next is 10")));
  EXPECT_EQ(core::GetReason(refused.status()), "STEP_PASSED");
  request.set_at_step(-1);
  EXPECT_THAT(Adjust(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at_step: -1")));
  request.set_at_step(1000);
  EXPECT_THAT(Adjust(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at_step: 1000")));

  EXPECT_THAT(Adjust(ScaleRequest("job", -1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("controls.learning_rate_scale")));
  request = ScaleRequest("job", 1);
  request.clear_update_mask();
  EXPECT_EQ(core::GetReason(Adjust(request).status()), "BAD_UPDATE_MASK");
  EXPECT_EQ(Get("job").last_edit(), 0);
  request = ScaleRequest("job", 1);
  request.mutable_update_mask()->add_paths("clip");
  request.mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
  request.mutable_controls()->mutable_clip()->set_threshold(1);
  v1::TensorClip* const limit = request.mutable_controls()->mutable_clip()->add_overrides();
  limit->set_tensors("dense1.*");
  limit->set_mode(v1::CLIP_MODE_VALUE);
  limit->set_threshold(1);
  EXPECT_THAT(Adjust(request), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("controls.clip.overrides[0].tensors: \"dense1.*\" matches none")));
  EXPECT_THAT(Adjust(ScaleRequest("nobody", 1)), StatusIs(absl::StatusCode::kNotFound, HasSubstr("nobody")));
  EXPECT_THAT(LogAfterStart(), IsEmpty()) << "nothing was half applied";
  EXPECT_EQ(Get("job").control_revision(), 1);

  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Adjust(ScaleRequest("job", 1)), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("SUCCEEDED")));
}

TEST_F(ControlTest, ARepeatedAdjustmentIsDoneOnce) {
  v1::AdjustJobRequest request = ScaleRequest("job", 0.5);
  request.set_request_id(NewUuid());
  const auto first = Adjust(request);
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.75)), IsOk());
  const auto again = Adjust(request);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->SerializeAsString(), first->SerializeAsString());
  EXPECT_THAT(Waiting("job"), ElementsAre("1", "2"));
}

TEST_F(ControlTest, PauseAndResume) {
  Trainer trainer = AttachReady("job");
  EXPECT_EQ(Pause("job")->state(), v1::JOB_STATE_PAUSING);
  EXPECT_EQ(trainer.link->sent().back().command().action(), v1::TrainerCommand::ACTION_PAUSE);
  SayPaused(trainer);
  const size_t sent = trainer.link->sent().size();
  EXPECT_EQ(Pause("job")->state(), v1::JOB_STATE_PAUSED) << "it is there already";
  EXPECT_THAT(trainer.link->sent(), SizeIs(sent));
  EXPECT_EQ(Resume("job")->state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(trainer.link->sent().back().command().action(), v1::TrainerCommand::ACTION_RESUME);
  SayResumed(trainer);
  EXPECT_THAT(LogAfterStart(), ElementsAre("PAUSING", "PAUSED", "RUNNING"));
}

TEST_F(ControlTest, APausedJobIsPausedAgainAfterItsTrainerWasAway) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Pause("job"), IsOk());
  SayPaused(trainer);
  all_launches();
  RestartServer();
  EXPECT_EQ(State("job"), "RECOVERING");
  Trainer again = Attach(Hello("job"));
  EXPECT_EQ(State("job"), "PAUSED");
  EXPECT_EQ(again.link->sent()[0].welcome().command().action(), v1::TrainerCommand::ACTION_PAUSE);
}

TEST_F(ControlTest, ATrainerThatPausesByItselfIsBelieved) {
  Trainer trainer = AttachReady("job");
  SayPaused(trainer);
  EXPECT_THAT(LogAfterStart(), ElementsAre("PAUSING", "PAUSED"));
  SayResumed(trainer);
  EXPECT_EQ(State("job"), "RUNNING");
}

TEST_F(ControlTest, ARepeatedPauseDoesNotPauseAgain) {
  Trainer trainer = AttachReady("job");
  v1::PauseJobRequest request;
  request.set_job_id("job");
  request.set_request_id(NewUuid());
  ASSERT_THAT(Call(&JobManager::PauseJob, request), IsOk());
  SayPaused(trainer);
  ASSERT_THAT(Resume("job"), IsOk());
  EXPECT_EQ(Call(&JobManager::PauseJob, request)->state(), v1::JOB_STATE_PAUSING) << "the answer of then";
  EXPECT_EQ(State("job"), "RUNNING");
}

TEST_F(ControlTest, StopIsConfirmedByTheTrainer) {
  Trainer trainer = AttachReady("job");
  EXPECT_EQ(Stop("job")->state(), v1::JOB_STATE_STOPPING);
  EXPECT_EQ(trainer.link->sent().back().command().action(), v1::TrainerCommand::ACTION_STOP);
  SayFinished(trainer, v1::JOB_STATE_STOPPED);
  EXPECT_EQ(Stop("job")->state(), v1::JOB_STATE_STOPPED) << "it stays as it is";
  EXPECT_THAT(LogAfterStart(), ElementsAre("STOPPING", "STOPPED"));
  EXPECT_EQ(EventAt("job", 4).state_changed().reason(), "stopped by tester");
}

TEST_F(ControlTest, AStopReachesATrainerThatComesLater) {
  ASSERT_THAT(Stop("job"), IsOk());
  EXPECT_EQ(State("job"), "STOPPING");
  Trainer trainer = Attach(Hello("job"));
  EXPECT_EQ(trainer.link->sent()[0].welcome().command().action(), v1::TrainerCommand::ACTION_STOP);
  EXPECT_EQ(State("job"), "STOPPING");
}

TEST_F(ControlTest, AStopIsDoneByForceIfTheTrainerIsNotThere) {
  ASSERT_THAT(Stop("job"), IsOk());
  Pass(absl::Seconds(62));
  EXPECT_EQ(State("job"), "STOPPED");
  EXPECT_THAT(launcher_->killed(), SizeIs(1));
}

TEST_F(ControlTest, DeleteNeedsAnEndOrForce) {
  Trainer trainer = AttachReady("job");
  Report(trainer, 0, 4);
  const std::string uid = Get("job").uid();
  const auto refused = Delete("job");
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("RUNNING")));
  EXPECT_EQ(core::GetReason(refused.status()), "JOB_NOT_TERMINAL");
  ASSERT_THAT(Delete("job", /*force=*/true), IsOk());
  EXPECT_THAT(jobs_->GetJob("job"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("job")));
  EXPECT_THAT(jobs_->GetChannel("job"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("job")));
  EXPECT_THAT(launcher_->killed(), SizeIs(1));
  EXPECT_EQ(core::GetReason(*trainer.link->closed()), "TRAINER_FENCED");
  EXPECT_EQ(*statistics_->LastStep(uid, 1), -1);
  Report(trainer, 5, 6);
  EXPECT_EQ(*statistics_->LastStep(uid, 1), -1) << "what comes too late is not kept";

  EXPECT_THAT(Delete("job"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("job")));
  v1::DeleteJobRequest request;
  request.set_job_id("job");
  request.set_allow_missing(true);
  EXPECT_THAT(Call(&JobManager::DeleteJob, request), IsOk());
  ASSERT_THAT(Create("job"), IsOk()) << "the id is free again";
  EXPECT_NE(Get("job").uid(), uid);
  RestartServer();
  EXPECT_EQ(jobs_->ListJobs({})->jobs_size(), 1);
}

TEST_F(ControlTest, DeleteMayNameTheJobExactly) {
  v1::DeleteJobRequest request;
  request.set_job_id("job");
  request.set_force(true);
  request.set_etag("stale");
  EXPECT_EQ(core::GetReason(Call(&JobManager::DeleteJob, request).status()), "ETAG_MISMATCH");
  request.set_etag(Get("job").etag());
  request.set_uid(NewUuid());
  const auto refused = Call(&JobManager::DeleteJob, request);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kAborted, HasSubstr(Get("job").uid())));
  EXPECT_EQ(core::GetReason(refused.status()), "UID_MISMATCH");
  request.set_uid(Get("job").uid());
  EXPECT_THAT(Call(&JobManager::DeleteJob, request), IsOk());
}

TEST_F(ControlTest, ARepeatedDeletionIsAnsweredAndSparesTheNextJob) {
  v1::DeleteJobRequest request;
  request.set_job_id("job");
  request.set_force(true);
  request.set_request_id(NewUuid());
  ASSERT_THAT(Call(&JobManager::DeleteJob, request), IsOk());
  EXPECT_THAT(Call(&JobManager::DeleteJob, request), IsOk()) << "the answer outlives the job";
  ASSERT_THAT(Create("job"), IsOk());
  EXPECT_THAT(Call(&JobManager::DeleteJob, request), IsOk());
  EXPECT_EQ(State("job"), "PENDING");
  RestartServer();
  EXPECT_THAT(Call(&JobManager::DeleteJob, request), IsOk());
  EXPECT_EQ(State("job"), "PENDING");
  request.set_request_id("7");
  EXPECT_THAT(Call(&JobManager::DeleteJob, request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("request_id")));
}

TEST_F(ControlTest, ARepeatedRequestIsAnsweredWhateverHasChanged) {
  Trainer trainer = AttachReady("job");
  v1::AdjustJobRequest request = ScaleRequest("job", 0.5);
  request.set_request_id(NewUuid());
  request.set_etag(Get("job").etag());
  request.set_at_step(5);
  const auto first = Adjust(request);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->adjustment().at_step(), 5);
  EXPECT_EQ(EventAt("job", 4).adjust_requested().adjustment().at_step(), 5);
  Report(trainer, 0, 9);
  SayApplied(trainer, 1, 5);
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  const auto again = Adjust(request);
  ASSERT_THAT(again, IsOk()) << "neither etag nor step nor state hold any more";
  EXPECT_EQ(again->SerializeAsString(), first->SerializeAsString());
  EXPECT_FALSE(Adjust(ScaleRequest("job", 0.5)).ok());
}

class UpdateTest : public ControlTest {
 protected:
  static v1::UpdateJobRequest Rename(const std::string& name) {
    v1::UpdateJobRequest request;
    request.set_job_id("job");
    request.mutable_spec()->set_display_name(name);
    request.mutable_update_mask()->add_paths("display_name");
    return request;
  }
};

TEST_F(UpdateTest, NameAndLabelsChangeWithAnEventAndAnotherEtag) {
  const v1::Job before = Get("job");
  v1::UpdateJobRequest request = Rename("a better name");
  (*request.mutable_spec()->mutable_labels())["team"] = "vision";
  auto job = Call(&JobManager::UpdateJob, request);
  ASSERT_THAT(job, IsOk());
  EXPECT_EQ(job->spec().display_name(), "a better name");
  EXPECT_TRUE(job->spec().labels().empty()) << "the mask does not name them";
  EXPECT_NE(job->etag(), before.etag());
  EXPECT_EQ(Log("job").back(), "updated a better name");
  request.mutable_update_mask()->add_paths("labels");
  job = Call(&JobManager::UpdateJob, request);
  ASSERT_THAT(job, IsOk());
  EXPECT_EQ(job->spec().labels().at("team"), "vision");
  const v1::JobUpdated updated = EventAt("job", job->last_event()).job_updated();
  EXPECT_EQ(updated.labels().at("team"), "vision");
  EXPECT_EQ(updated.actor(), "tester");
  const auto again = Call(&JobManager::UpdateJob, request);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->last_event(), job->last_event()) << "nothing has changed";
  RestartServer();
  EXPECT_EQ(Get("job").spec().display_name(), "a better name");
  EXPECT_EQ(Get("job").etag(), again->etag());
}

TEST_F(UpdateTest, RetentionChangesWhatTheStoreKeeps) {
  const std::string uid = Get("job").uid(), etag = Get("job").etag(), name = Get("job").spec().display_name();
  const auto budget = [&] { return statistics_->UsageOf(uid).budget; };
  const RetentionBudget own = statistics_->Usage().job_budget;
  v1::UpdateJobRequest request = Rename(name);
  request.mutable_update_mask()->set_paths(0, "retention");
  request.mutable_spec()->mutable_retention()->set_max_bytes(7'000'000);
  const auto job = Call(&JobManager::UpdateJob, request);
  ASSERT_THAT(job, IsOk());
  EXPECT_NE(job->etag(), etag);
  EXPECT_EQ(EventAt("job", job->last_event()).job_updated().retention().max_bytes(), 7'000'000);
  EXPECT_EQ(budget().max_bytes, 7'000'000);
  EXPECT_EQ(budget().max_age, own.max_age) << "of what is unset the server's own holds";
  ASSERT_THAT(Call(&JobManager::UpdateJob, Rename("another")), IsOk());
  EXPECT_EQ(budget().max_bytes, 7'000'000);
  RestartServer();
  EXPECT_EQ(budget().max_bytes, 7'000'000);
  request.mutable_spec()->mutable_retention()->mutable_max_age()->set_seconds(60);
  request.mutable_spec()->mutable_retention()->set_max_bytes(0);
  ASSERT_THAT(Call(&JobManager::UpdateJob, request), IsOk());
  EXPECT_EQ(budget().max_bytes, 0);
  EXPECT_EQ(budget().max_age, absl::Seconds(60));
  request.mutable_spec()->clear_retention();
  ASSERT_THAT(Call(&JobManager::UpdateJob, request), IsOk());
  EXPECT_EQ(budget().max_bytes, own.max_bytes);
  EXPECT_EQ(Call(&JobManager::UpdateJob, Rename(name))->etag(), etag);
  request.mutable_spec()->mutable_retention()->set_max_bytes(-1);
  EXPECT_THAT(Call(&JobManager::UpdateJob, request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("spec.retention.max_bytes")));
}

TEST_F(UpdateTest, ARetentionOfTheSpecHoldsFromTheStart) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_retention()->set_max_bytes(8'000'000);
  v1::CreateJobRequest request;
  *request.mutable_spec() = spec;
  request.set_job_id("other");
  ASSERT_THAT(Call(&JobManager::CreateJob, request), IsOk());
  EXPECT_EQ(statistics_->UsageOf(Get("other").uid()).budget.max_bytes, 8'000'000);
}

TEST_F(UpdateTest, JobsThatHaveEndedCanBeRenamed) {
  Trainer trainer = AttachReady("job");
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  ASSERT_THAT(Call(&JobManager::UpdateJob, Rename("late")), IsOk());
  EXPECT_EQ(State("job"), "SUCCEEDED");
  EXPECT_EQ(Get("job").spec().display_name(), "late");
  EXPECT_TRUE((*jobs_->GetChannel("job"))->ended());
  EXPECT_EQ((*jobs_->GetChannel("job"))->End().event, Get("job").last_event());
}

TEST_F(UpdateTest, UpdatesAreChecked) {
  v1::UpdateJobRequest request = Rename("x");
  request.set_etag("stale");
  EXPECT_EQ(core::GetReason(Call(&JobManager::UpdateJob, request).status()), "ETAG_MISMATCH");
  request = Rename("x");
  request.clear_update_mask();
  EXPECT_EQ(core::GetReason(Call(&JobManager::UpdateJob, request).status()), "BAD_UPDATE_MASK");
  request.mutable_update_mask()->add_paths("steps");
  EXPECT_THAT(Call(&JobManager::UpdateJob, request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"steps\"")));
  EXPECT_THAT(Call(&JobManager::UpdateJob, Rename(std::string(129, 'x'))),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("spec.display_name")));
  request = Rename("");
  request.set_job_id("nobody");
  EXPECT_EQ(core::GetReason(Call(&JobManager::UpdateJob, request).status()), "JOB_NOT_FOUND");
  EXPECT_THAT(Log("job"), ElementsAre("PENDING"));
}

TEST_F(UpdateTest, ARepeatedUpdateIsDoneOnce) {
  v1::UpdateJobRequest request = Rename("first");
  request.set_request_id(NewUuid());
  ASSERT_THAT(Call(&JobManager::UpdateJob, request), IsOk());
  ASSERT_THAT(Call(&JobManager::UpdateJob, Rename("second")), IsOk());
  EXPECT_EQ(Call(&JobManager::UpdateJob, request)->spec().display_name(), "first") << "the answer of then";
  EXPECT_EQ(Get("job").spec().display_name(), "second");
}

TEST_F(ControlTest, CallsAboutNobodyAreNotFound) {
  EXPECT_THAT(Pause("x"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"x\"")));
  EXPECT_THAT(Resume("x"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"x\"")));
  const auto refused = Stop("x");
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"x\"")));
  EXPECT_EQ(core::GetReason(refused.status()), "JOB_NOT_FOUND");
}

// Switching the cosine on takes a copy of the gradients: here of two tensors, which have 16 floats each with their
// gaps.
class MemoryLimitTest : public JobManagerTest {
 protected:
  // A job that fits into the limit with `spare` bytes left.
  void StartJob(int64_t spare) {
    const auto job = core::ValidateJob(SmallSpec(), core::DataRoots(), core::SpecLimits());
    ASSERT_THAT(job, IsOk());
    options_.limits.max_bytes = core::EstimatedBytes(job->estimate) + spare;
    JobManagerTest::SetUp();
    ASSERT_THAT(Create("job"), IsOk());
  }
  void SetUp() override {}
  absl::StatusOr<v1::AdjustJobResponse> SwitchCosineOn() {
    v1::AdjustJobRequest request;
    request.set_job_id("job");
    request.mutable_controls()->set_gradient_cosine(true);
    request.mutable_update_mask()->add_paths("gradient_cosine");
    return Adjust(request);
  }
};

TEST_F(MemoryLimitTest, AChangeThatNeedsMoreThanTheLimitIsRefused) {
  StartJob(16 * 4 - 1);
  const auto refused = SwitchCosineOn();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("controls.gradient_cosine")));
  EXPECT_EQ(core::GetReason(refused.status()), "QUOTA_MEMORY");
  EXPECT_FALSE(Get("job").controls().gradient_cosine());
  EXPECT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
}

TEST_F(MemoryLimitTest, AChangeThatFitsIsNot) {
  StartJob(16 * 4);
  EXPECT_THAT(SwitchCosineOn(), IsOk());
}

}  // namespace
}  // namespace gradwatch::server
