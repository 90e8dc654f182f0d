// Calls that are answered once, the streams of alerts, and trainers on the wire.
#include <atomic>
#include <thread>

#include "google/rpc/error.pb.h"
#include "tests/server/rpc/rpc_fixture.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ServicesTest : public RpcTest {
 protected:
  // Makes a job with alerts a (critical, resolved) and b (info, firing).
  void RaiseAlerts() {
    ASSERT_THAT(Create("job"), IsOk());
    trainer_ = AttachReady("job");
    trainer_.Notify(AlertNotice(trainer_, "a", v1::ALERT_STATE_FIRING, v1::SEVERITY_CRITICAL));
    trainer_.Notify(AlertNotice(trainer_, "b", v1::ALERT_STATE_FIRING, v1::SEVERITY_INFO));
    trainer_.Notify(AlertNotice(trainer_, "a", v1::ALERT_STATE_RESOLVED, v1::SEVERITY_CRITICAL));
  }
  static std::vector<std::string> Shorts(const v1::WatchAlertsResponse& response) {
    std::vector<std::string> shorts;
    for (const auto& event : response.events()) shorts.push_back(Short(event));
    return shorts;
  }
  Attached trainer_;
};

TEST_F(ServicesTest, ErrorsCarryTheirDetails) {
  const auto context = NewContext();
  v1::CreateJobRequest request;
  *request.mutable_spec() = SmallSpec();
  request.mutable_spec()->set_steps(0);
  v1::Job job;
  const grpc::Status status = job_stub_->CreateJob(context.get(), request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::BadRequest fields;
  for (const auto& any : details.details()) any.UnpackTo(&fields);
  ASSERT_THAT(fields.field_violations(), SizeIs(1));
  EXPECT_EQ(fields.field_violations(0).field(), "spec.steps");
}

TEST_F(ServicesTest, WhatIsFarTooLargeIsRefusedAtTheDoor) {
  v1::CreateJobRequest request;
  for (int i = 0; i < 100'000; ++i)
    request.mutable_spec()->mutable_model()->add_layers()->mutable_dense()->set_units(1);
  v1::Job job;
  const grpc::Status status = job_stub_->CreateJob(NewContext().get(), request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("at most 262144"));
}

TEST_F(ServicesTest, TheLifeOfAJobByCalls) {
  v1::CreateJobRequest create;
  *create.mutable_spec() = SmallSpec();
  create.set_job_id("job");
  v1::Job job;
  ASSERT_TRUE(job_stub_->CreateJob(NewContext().get(), create, &job).ok());
  v1::AdjustJobResponse adjusted;
  ASSERT_TRUE(job_stub_->AdjustJob(NewContext().get(), ScaleRequest("job", 0.5), &adjusted).ok());
  EXPECT_THAT(adjusted.adjustment().actor(), HasSubstr("127.0.0.1")) << "the peer's address";
  v1::ListEditsRequest list_edits;
  list_edits.set_job_id("job");
  v1::ListEditsResponse edits;
  ASSERT_TRUE(job_stub_->ListEdits(NewContext().get(), list_edits, &edits).ok());
  ASSERT_THAT(edits.edits(), SizeIs(1));
  v1::CancelEditRequest cancel;
  cancel.set_job_id("job");
  cancel.set_edit(edits.edits(0).edit());
  v1::CancelEditResponse cancelled;
  ASSERT_TRUE(job_stub_->CancelEdit(NewContext().get(), cancel, &cancelled).ok());
  EXPECT_THAT(cancelled.adjustment().withdrawn_by(), HasSubstr("127.0.0.1"));
  EXPECT_EQ(job_stub_->CancelEdit(NewContext().get(), cancel, &cancelled).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  v1::ListJobsResponse list;
  ASSERT_TRUE(job_stub_->ListJobs(NewContext().get(), {}, &list).ok());
  EXPECT_THAT(list.jobs(), SizeIs(1));
  v1::PauseJobRequest pause;
  pause.set_job_id("job");
  EXPECT_EQ(job_stub_->PauseJob(NewContext().get(), pause, &job).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  v1::ResumeJobRequest resume;
  resume.set_job_id("job");
  EXPECT_TRUE(job_stub_->ResumeJob(NewContext().get(), resume, &job).ok());
  v1::StopJobRequest stop;
  stop.set_job_id("job");
  ASSERT_TRUE(job_stub_->StopJob(NewContext().get(), stop, &job).ok());
  EXPECT_EQ(job.state(), v1::JOB_STATE_STOPPING);
  v1::DeleteJobRequest remove;
  remove.set_job_id("job");
  remove.set_force(true);
  v1::DeleteJobResponse removed;
  ASSERT_TRUE(job_stub_->DeleteJob(NewContext().get(), remove, &removed).ok());
  v1::GetJobRequest get;
  get.set_job_id("job");
  EXPECT_EQ(job_stub_->GetJob(NewContext().get(), get, &job).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServicesTest, WhatIsNotServedYetSaysSo) {
  const auto check = [](const grpc::Status& status, const char* name) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << name;
    EXPECT_EQ(status.error_message(), absl::StrCat(name, " is not served yet"));
  };
  v1::Job job;
  check(job_stub_->ForkJob(NewContext().get(), {}, &job), "ForkJob");
  v1::Checkpoint checkpoint;
  check(job_stub_->CheckpointJob(NewContext().get(), {}, &checkpoint), "CheckpointJob");
  v1::ListCheckpointsResponse checkpoints;
  check(job_stub_->ListCheckpoints(NewContext().get(), {}, &checkpoints), "ListCheckpoints");
}

TEST_F(ServicesTest, ServerInfo) {
  v1::ServerInfo info;
  ASSERT_TRUE(job_stub_->GetServerInfo(NewContext().get(), {}, &info).ok());
  EXPECT_EQ(info.version(), "test");
  EXPECT_EQ(info.log_epoch(), ledger_->log_epoch());
}

TEST_F(ServicesTest, EventsByPages) {
  RunJob("job", 3);
  v1::ListEventsRequest request;
  request.set_job_id("job");
  request.set_page_size(3);
  v1::ListEventsResponse page;
  ASSERT_TRUE(watch_stub_->ListEvents(NewContext().get(), request, &page).ok());
  EXPECT_THAT(page.events(), SizeIs(3));
  ASSERT_FALSE(page.next_page_token().empty());
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(watch_stub_->ListEvents(NewContext().get(), request, &page).ok());
  EXPECT_THAT(page.events(), SizeIs(1));
  EXPECT_EQ(page.events(0).number(), 4);
  EXPECT_EQ(page.next_page_token(), "");
  request.clear_page_token();
  request.set_after_event(2);
  ASSERT_TRUE(watch_stub_->ListEvents(NewContext().get(), request, &page).ok());
  EXPECT_EQ(page.events(0).number(), 3);
  request.set_job_id("nobody");
  EXPECT_EQ(watch_stub_->ListEvents(NewContext().get(), request, &page).error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_job_id("job");
  request.set_page_size(-1);
  EXPECT_EQ(watch_stub_->ListEvents(NewContext().get(), request, &page).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServicesTest, AlertsByPagesAndById) {
  RaiseAlerts();
  v1::ListAlertsRequest request;
  request.set_page_size(1);
  v1::ListAlertsResponse page;
  ASSERT_TRUE(alert_stub_->ListAlerts(NewContext().get(), request, &page).ok());
  ASSERT_THAT(page.alerts(), SizeIs(1));
  EXPECT_EQ(page.alerts(0).rule(), "b");
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(alert_stub_->ListAlerts(NewContext().get(), request, &page).ok());
  EXPECT_EQ(page.alerts(0).rule(), "a");
  EXPECT_EQ(page.alerts(0).state(), v1::ALERT_STATE_RESOLVED);
  EXPECT_THAT(page.next_page_token(), IsEmpty());
  request.set_min_severity(v1::SEVERITY_CRITICAL);
  EXPECT_EQ(alert_stub_->ListAlerts(NewContext().get(), request, &page).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT)
      << "a token of another list";
  v1::GetAlertRequest get;
  get.set_alert_id(absl::StrCat(trainer_.uid, "/1/b/1"));
  v1::Alert alert;
  ASSERT_TRUE(alert_stub_->GetAlert(NewContext().get(), get, &alert).ok());
  EXPECT_EQ(alert.severity(), v1::SEVERITY_INFO);
  get.set_alert_id("c");
  EXPECT_EQ(alert_stub_->GetAlert(NewContext().get(), get, &alert).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServicesTest, RulesAreThoseOfTheJob) {
  ASSERT_THAT(Create("job"), IsOk());
  v1::GetRulesRequest request;
  request.set_job_id("job");
  v1::RuleSet rules;
  ASSERT_TRUE(alert_stub_->GetRules(NewContext().get(), request, &rules).ok());
  ASSERT_EQ(rules.rules_size(), Get("job").spec().rules().rules_size());
  EXPECT_EQ(rules.rules(0).name(), Get("job").spec().rules().rules(0).name());
  v1::ApplyRulesRequest apply;
  apply.set_job_id("job");
  apply.mutable_rules()->set_preset("none");
  v1::ApplyRulesResponse applied;
  ASSERT_TRUE(alert_stub_->ApplyRules(NewContext().get(), apply, &applied).ok());
  EXPECT_THAT(applied.adjustment().actor(), HasSubstr("127.0.0.1"));
  EXPECT_EQ(applied.rules().rules_size(), 0);
  request.set_job_id("nobody");
  EXPECT_EQ(alert_stub_->GetRules(NewContext().get(), request, &rules).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServicesTest, AlertsOfJobsToCome) {
  const auto context = NewContext();
  const auto stream = alert_stub_->WatchAlerts(context.get(), {});
  v1::WatchAlertsResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_THAT(response.events(), IsEmpty()) << "the first message comes at once";
  RaiseAlerts();
  std::vector<std::string> seen;
  while (seen.size() < 3) {
    ASSERT_TRUE(stream->Read(&response));
    for (const auto& text : Shorts(response)) seen.push_back(text);
  }
  EXPECT_THAT(seen, ElementsAre("FIRING a", "FIRING b", "RESOLVED a"));
}

TEST_F(ServicesTest, AlertStreamsFilterAndResume) {
  RaiseAlerts();
  v1::WatchAlertsRequest request;
  request.set_from_beginning(true);
  request.set_min_severity(v1::SEVERITY_CRITICAL);
  const auto context = NewContext();
  const auto stream = alert_stub_->WatchAlerts(context.get(), request);
  v1::WatchAlertsResponse first, second;
  ASSERT_TRUE(stream->Read(&first));
  ASSERT_TRUE(stream->Read(&second));
  EXPECT_THAT(Shorts(second), ElementsAre("FIRING a", "RESOLVED a"));

  request.set_resume_token(first.resume_token());
  const auto again_context = NewContext();
  const auto again = alert_stub_->WatchAlerts(again_context.get(), request);
  v1::WatchAlertsResponse response;
  ASSERT_TRUE(again->Read(&response));
  ASSERT_TRUE(again->Read(&response));
  EXPECT_EQ(response.SerializeAsString(), second.SerializeAsString());

  request.set_min_severity(v1::SEVERITY_INFO);
  const auto refused_context = NewContext();
  const auto refused = alert_stub_->WatchAlerts(refused_context.get(), request);
  EXPECT_FALSE(refused->Read(&response));
  EXPECT_EQ(refused->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServicesTest, TheFirstMessageOfATrainerIsHello) {
  Attached trainer = OpenTrainer();
  v1::TrainerMessage message;
  message.mutable_heartbeat();
  trainer.Say(message);
  EXPECT_EQ(trainer.Close().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  Attached second = OpenTrainer();
  message.mutable_hello()->set_job_id("nobody");
  message.mutable_hello()->set_trainer_id(kTrainerId);
  message.mutable_hello()->set_attempt(1);
  second.Say(message);
  EXPECT_EQ(second.Close().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServicesTest, ATrainerThatSaysNothingIsSentAway) {
  Attached trainer = OpenTrainer();
  // The call may not have reached the server yet; when it does it has its ten seconds.
  std::atomic<bool> ended = false;
  std::thread clock([&] {
    while (!ended) clock_.Advance(absl::Seconds(1));
  });
  v1::TrainerDirective directive;
  TickDuring([&] { EXPECT_FALSE(trainer.stream->Read(&directive)); });
  ended = true;
  clock.join();
  EXPECT_EQ(trainer.stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(ServicesTest, CommandsReachATrainerAndHeartbeatsFillTheSilence) {
  ASSERT_THAT(Create("job"), IsOk());
  Attached trainer = AttachReady("job");
  ASSERT_THAT(Pause("job"), IsOk());
  EXPECT_EQ(trainer.Next().command().action(), v1::TrainerCommand::ACTION_PAUSE);
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  EXPECT_EQ(trainer.Next().edits().edits(0).values().learning_rate_scale(), 0.5);
  v1::TrainerMessage heartbeat;
  heartbeat.mutable_heartbeat();
  trainer.Say(heartbeat);
  v1::Notice notice;
  notice.mutable_paused();
  trainer.Notify(notice);
  EXPECT_EQ(State("job"), "PAUSED");
  clock_.Advance(absl::Seconds(6));
  TickDuring([&] { EXPECT_TRUE(trainer.Next().has_heartbeat()); });
}

TEST_F(ServicesTest, ATrainerThatBreaksOffIsNoticed) {
  ASSERT_THAT(Create("job"), IsOk());
  Attached trainer = AttachReady("job");
  trainer.context->TryCancel();
  EXPECT_EQ(trainer.stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  // The server notices on a thread of its own; the stream of the job's events tells when.
  Watch watch = StartWatch(FromBeginning("job"));
  std::vector<v1::WatchJobResponse> responses;
  while (Said(responses).size() < 5) {
    if (State("job") == "RUNNING") Pass(absl::Seconds(1));
    if (State("job") == "RECOVERING") responses.push_back(watch.Next());
  }
  EXPECT_THAT(Said(responses)[3], HasSubstr("detached: the trainer's stream ended"));
}

TEST_F(ServicesTest, AllJobsAreWatchedInOneStream) {
  ASSERT_THAT(Create("job"), IsOk());
  const auto context = NewContext();
  v1::WatchJobsRequest request;
  request.set_from_beginning(true);
  const auto stream = watch_stub_->WatchJobs(context.get(), request);
  v1::WatchJobsResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_THAT(response.figures(), SizeIs(1));
  EXPECT_EQ(response.figures(0).job_id(), "job");
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_THAT(response.events(), SizeIs(1));
  EXPECT_EQ(Short(response.events(0)), "PENDING");
  context->TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServicesTest, CallsAreCounted) {
  v1::GetJobRequest request;
  request.set_job_id("nobody");
  v1::Job job;
  EXPECT_EQ(job_stub_->GetJob(NewContext().get(), request, &job).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(api_->metrics().Read(Operation::kGetJob).errors.at(absl::StatusCode::kNotFound), 1);
}

}  // namespace
}  // namespace gradwatch::server
