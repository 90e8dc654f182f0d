#include <thread>

#include "absl/strings/str_cat.h"
#include "client/cli/job_change.h"
#include "client/cli/job_get.h"
#include "client/cli/job_list.h"
#include "client/cli/job_update.h"
#include "client/cli/job_wait.h"
#include "tests/client/cli/cli_fixture.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::gradwatch::testing::ParseOptions;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(JobParseTest, ReadsTheOptions) {
  EXPECT_EQ(ParseOptions(AddJobGet, "x").job_id, "x");
  EXPECT_EQ(ParseOptions(AddJobWait, "x").job_id, "x");
  EXPECT_EQ(ParseOptions(AddJobPause, "x").job_id, "x");
  EXPECT_EQ(ParseOptions(AddJobResume, "x").job_id, "x");
  EXPECT_EQ(ParseOptions(AddJobStop, "x").job_id, "x");
  EXPECT_FALSE(ParseOptions(AddJobStop, "x").now);
  EXPECT_EQ(ParseOptions(AddJobStop, "x --grace 2.5").grace_seconds, 2.5);
  EXPECT_TRUE(ParseOptions(AddJobStop, "x --now").now);
  for (const char* bad : {"x --grace -1", "x --grace 86401", "x --grace 0x10", "x --grace nan", "x --now --grace 3"}) {
    EXPECT_THROW(ParseOptions(AddJobStop, bad), CLI::ParseError) << bad;
  }
  const JobDeleteOptions remove = ParseOptions(AddJobDelete, "x --force --allow-missing");
  EXPECT_EQ(remove.job_id, "x");
  EXPECT_TRUE(remove.force && remove.allow_missing);
  const JobListOptions list = ParseOptions(AddJobList, "--state running --state failed --limit 7");
  EXPECT_THAT(list.states, ElementsAre(v1::JOB_STATE_RUNNING, v1::JOB_STATE_FAILED));
  EXPECT_EQ(list.limit, 7);
  EXPECT_THROW(ParseOptions(AddJobGet, ""), CLI::ParseError);
  EXPECT_THROW(ParseOptions(AddJobList, "--state happy"), CLI::ParseError);
  EXPECT_THROW(ParseOptions(AddJobList, "--limit 0"), CLI::ParseError);
}

class JobTest : public CliTest {
 protected:
  JobTest() {
    io_.now = [] { return absl::FromUnixSeconds(1000); };
    job_.set_job_id("x");
    job_.set_state(v1::JOB_STATE_RUNNING);
    job_.set_steps_done(5);
    job_.set_attempt(1);
    job_.mutable_spec()->set_steps(10);
    job_.set_last_loss(0.25);
    job_.mutable_create_time()->set_seconds(400);
    server_.get_job = [this](const v1::GetJobRequest& request, v1::Job* job) {
      if (request.job_id() != "x") return testing::NotFound("no job \"" + request.job_id() + "\"");
      *job = job_;
      return grpc::Status::OK;
    };
  }

  v1::Job job_;
};

TEST_F(JobTest, GetTellsWhatWasFoundInTheData) {
  job_.mutable_data()->set_examples(9);
  EXPECT_THAT(Cli("job get x").out, HasSubstr("\ndata              9 examples\n"));
  job_.mutable_data()->set_header(false);
  EXPECT_THAT(Cli("job get x").out, HasSubstr("\ndata              9 examples; the first line is data\n"));
  job_.mutable_data()->set_header(true);
  EXPECT_THAT(Cli("job get x").out, HasSubstr("\ndata              9 examples; the first line is a header\n"));
  job_.mutable_data()->set_note("read as a header: \x1b[31mcity\nstate  failed");
  EXPECT_THAT(Cli("job get x").out,
              HasSubstr("\ndata              9 examples; read as a header: \\x1b[31mcity\\nstate  failed\n"));
  EXPECT_THAT(Cli("job get x -o json").out, HasSubstr(R"("data":{"examples":9,"header":true,"note":"read as)"));
}

TEST_F(JobTest, GetPrintsAJob) {
  const CliResult result = Cli("job get x");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, R"(job               x
state             running
steps             5/10
attempt           1
loss              0.25
gradient norm     -
non-finite steps  0
alerts            0 firing, 0 fired so far
clip              none
controls          revision 0
last event        0
created           10 min ago
)");
  job_.set_control_revision(4);
  job_.set_waiting_edits(1);
  EXPECT_THAT(Cli("job get x").out, HasSubstr("\ncontrols          revision 4; 1 edit waits\n"));
  job_.set_waiting_edits(2);
  EXPECT_THAT(Cli("job get x").out, HasSubstr("\ncontrols          revision 4; 2 edits wait\n"));
  const CliResult json = Cli("job get x -o json");
  EXPECT_THAT(json.out, HasSubstr(R"("state":"running")"));
  EXPECT_THAT(json.out, HasSubstr(R"("steps_done":5)"));
  EXPECT_THAT(json.out, HasSubstr(R"("failure":"")")) << "fields are there even if they say nothing";
  EXPECT_THAT(Cli("job get x -o yaml").out, HasSubstr("\nstate: running\n"));
}

TEST_F(JobTest, GetTellsHowManyAlertsWereCountedAndNotTold) {
  job_.set_fired_alerts(4);
  v1::Alert alert;
  alert.set_attempt(1);
  server_.list_alerts = [&](const v1::ListAlertsRequest& request, v1::ListAlertsResponse* response) {
    EXPECT_THAT(request.rules(), ::testing::ElementsAre("alerts_truncated"));
    if (alert.state() != v1::ALERT_STATE_UNSPECIFIED) *response->add_alerts() = alert;
    return grpc::Status::OK;
  };
  const auto alerts = [this] {
    const std::string out = Cli("job get x").out;
    const size_t begin = out.find("alerts  ");
    return out.substr(begin, out.find('\n', begin) - begin);
  };
  EXPECT_EQ(alerts(), "alerts            0 firing, 4 fired so far");
  alert.set_state(v1::ALERT_STATE_FIRING);
  alert.set_summary("from step 7 on alerts of flap are counted, not told one by one; how many is told at the end");
  EXPECT_EQ(
      alerts(),
      "alerts            0 firing, 4 fired so far; from step 7 on alerts of flap are counted, not told one by one");
  alert.set_state(v1::ALERT_STATE_RESOLVED);
  alert.set_summary("900 alerts were counted, not told: 900 of flap in steps 7 to 900");
  EXPECT_EQ(alerts(), "alerts            0 firing, 4 fired so far; 900 alerts were counted, not told");
  alert.set_attempt(2);
  EXPECT_EQ(alerts(), "alerts            0 firing, 4 fired so far") << "of another attempt";
}

TEST_F(JobTest, AJobThatIsNotThereHasItsExitCode) {
  const CliResult result = Cli("job get y");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(result.err, "gradwatch: no job \"y\"\n");
}

TEST_F(JobTest, ListReadsAllPagesUpToTheLimit) {
  server_.list_jobs = [this](const v1::ListJobsRequest& request, v1::ListJobsResponse* response) {
    const int first = request.page_token().empty() ? 0 : std::stoi(request.page_token());
    const int end = first + std::min(request.page_size(), 2);
    for (int i = first; i < end; ++i) {
      *response->add_jobs() = job_;
      response->mutable_jobs(i - first)->set_job_id("x" + std::to_string(i));
    }
    if (end < 5) response->set_next_page_token(std::to_string(end));
    return grpc::Status::OK;
  };
  const CliResult result = Cli("job list --limit 3");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, R"(JOB  STATE    STEPS  LOSS  GRAD NORM  NON-FINITE  FIRING  FIRED  ATTEMPT  CREATED
x0   running  5/10   0.25  -          0           0       0      1        10 min ago
x1   running  5/10   0.25  -          0           0       0      1        10 min ago
x2   running  5/10   0.25  -          0           0       0      1        10 min ago
)");
  EXPECT_EQ(result.err, "gradwatch: there are more than 3 jobs; see --limit, or go on with --page-token 3\n");
  EXPECT_THAT(Cli("job list --limit 3 -o json").out, HasSubstr(R"(],"next_page_token":"3"})")) << "it is not the last";
  const CliResult all = Cli("job list --limit 6 -o json");
  EXPECT_THAT(all.out, HasSubstr(R"(],"next_page_token":""})"));
  EXPECT_EQ(all.err, "");
  const std::string rest = Cli("job list --limit 3 --page-token 3").out;
  EXPECT_THAT(rest, Not(HasSubstr("x2 ")));
  EXPECT_THAT(rest, AllOf(HasSubstr("\nx3 "), HasSubstr("\nx4 ")));
}

TEST_F(JobTest, ListSaysNothingOfWhatItWasNotTold) {
  server_.list_jobs = [](const v1::ListJobsRequest& request, v1::ListJobsResponse* response) {
    v1::Job& job = *response->add_jobs();
    job.set_job_id("x");
    job.set_state(v1::JOB_STATE_RUNNING);
    job.mutable_spec()->set_display_name(request.view() == v1::JOB_VIEW_FULL ? "full" : "basic");
    return grpc::Status::OK;
  };
  EXPECT_EQ(
      Cli("job list -o json").out,
      R"({"jobs":[{"job_id":"x","uid":"","spec":{"display_name":"basic"},"state":"running","failure":"",)"
      R"("control_revision":0,"applied_revision":0,"etag":"","attempt":0,"steps_done":0,"last_event":0,)"
      R"("firing_alerts":0,"non_finite_steps":0,"fired_alerts":0,"waiting_edits":0,"last_edit":0,"attach_token":"",)"
      R"("tensors_attempt":0}],)"
      R"("next_page_token":""})"
      "\n")
      << "neither steps of 0 nor an empty list of tensors";
  const std::string full = Cli("job list --view full -o json").out;
  EXPECT_THAT(full, HasSubstr(R"("spec":{"display_name":"full","steps":0)"));
  EXPECT_THAT(full, HasSubstr(R"("tensors":[])"));
}

TEST_F(JobTest, TellsNonFiniteGradientsAlertsAndValidations) {
  job_.set_last_non_finite(12);
  job_.set_non_finite_steps(3);
  job_.set_firing_alerts(1);
  job_.set_fired_alerts(4);
  job_.mutable_last_validation()->set_loss(0.5);
  job_.mutable_last_validation()->set_perplexity(1.5);
  job_.set_last_validation_step(99);
  (*job_.mutable_spec()->mutable_labels())["team"] = "vision";
  std::string out = Cli("job get x").out;
  EXPECT_THAT(out, HasSubstr("labels            team=vision\n"));
  EXPECT_THAT(out, HasSubstr("gradient norm     not finite (12 NaN or infinite)\n"));
  EXPECT_THAT(out, HasSubstr("validation        loss 0.5, perplexity 1.5 (after step 99)\n"));
  EXPECT_THAT(out, HasSubstr("non-finite steps  3\nalerts            1 firing, 4 fired so far\n"));
  job_.set_last_grad_norm(2.5);
  EXPECT_THAT(Cli("job get x").out, HasSubstr("gradient norm     2.5 (12 NaN or infinite)\n"));
  EXPECT_THAT(Cli("job get x -o json").out, HasSubstr(R"("last_non_finite":12,"non_finite_steps":3,"fired_alerts":4)"));
  server_.list_jobs = [this](const v1::ListJobsRequest&, v1::ListJobsResponse* response) {
    *response->add_jobs() = job_;
    return grpc::Status::OK;
  };
  EXPECT_THAT(Cli("job list").out, HasSubstr("  2.5        3           1       4      1 "));
}

// As the server tells a job whose gradients overflowed: no norm, but how many are not finite.
TEST_F(JobTest, GradientsThatAreNotFiniteHaveNoNorm) {
  job_.set_last_non_finite(7);
  job_.set_non_finite_steps(1);
  server_.list_jobs = [this](const v1::ListJobsRequest&, v1::ListJobsResponse* response) {
    *response->add_jobs() = job_;
    return grpc::Status::OK;
  };
  for (const v1::JobState state : {v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSED, v1::JOB_STATE_FAILED}) {
    job_.set_state(state);
    EXPECT_THAT(Cli("job get x").out, AllOf(HasSubstr("\ngradient norm     not finite (7 NaN or infinite)\n"),
                                            HasSubstr("\nnon-finite steps  1\n")));
    EXPECT_THAT(Cli("job list").out, HasSubstr("  5/10   0.25  not finite  1           0       0      1 "));
    for (const char* const command : {"job get x -o json", "job list -o json"}) {
      EXPECT_THAT(Cli(command).out, AllOf(HasSubstr(R"("last_non_finite":7)"), Not(HasSubstr("last_grad_norm"))));
    }
  }
}

TEST_F(JobTest, PauseResumeAndStopSendARequestId) {
  const auto answer = [](v1::JobState state) {
    return [state](const auto& request, v1::Job* job) {
      EXPECT_EQ(request.request_id().size(), 36u);
      job->set_job_id(request.job_id());
      job->set_state(state);
      return grpc::Status::OK;
    };
  };
  server_.pause_job = answer(v1::JOB_STATE_PAUSING);
  server_.resume_job = answer(v1::JOB_STATE_RUNNING);
  server_.stop_job = answer(v1::JOB_STATE_STOPPING);
  EXPECT_EQ(Cli("job pause x").out, "x pausing\n");
  EXPECT_EQ(Cli("job resume x").out, "x running\n");
  EXPECT_EQ(Cli("job stop x").out, "x stopping\n");
}

TEST_F(JobTest, AStopSaysHowLongItWaits) {
  std::vector<std::string> graces;
  server_.stop_job = [&](const v1::StopJobRequest& request, v1::Job*) {
    graces.push_back(request.has_grace_seconds() ? absl::StrCat(request.grace_seconds()) : "unset");
    return grpc::Status::OK;
  };
  for (const char* command : {"job stop x", "job stop x --grace 1e1", "job stop x --now"}) Cli(command);
  EXPECT_THAT(graces, ElementsAre("unset", "10", "0"));
}

TEST_F(JobTest, AStopSaysByWhenItEnds) {
  io_.time_zone = absl::FixedTimeZone(3600);
  server_.stop_job = [&](const v1::StopJobRequest&, v1::Job* job) {
    *job = job_;
    return grpc::Status::OK;
  };
  EXPECT_EQ(Cli("job stop x").out, "x running\n");
  job_.set_state(v1::JOB_STATE_FAILED);
  job_.set_failure("the loss is not finite");
  EXPECT_EQ(Cli("job stop x").out, "x has ended: failed: the loss is not finite\n") << "the stop has not failed";
  job_.clear_failure();
  job_.set_state(v1::JOB_STATE_STOPPING);
  EXPECT_EQ(Cli("job stop x").out, "x stopping\n") << "of a server that does not say";
  EXPECT_THAT(Cli("job get x").out, Not(HasSubstr("stops by")));
  job_.mutable_stop_deadline()->set_seconds(1009);
  job_.mutable_stop_deadline()->set_nanos(1);
  const std::string stops = "x stopping: stops by 01:16:50 at the latest; a stop can only be made sooner\n";
  EXPECT_EQ(Cli("job stop x --grace 300").out, stops);
  EXPECT_EQ(CliIntoNothing("job stop x").err, "gradwatch: cannot write to the standard output; " + stops);
  EXPECT_THAT(Cli("job get x").out, HasSubstr("\nstops by          01:16:50 at the latest, in 9 s\n"));
  EXPECT_THAT(Cli("job stop x -o json").out, HasSubstr("\"stop_deadline\":\"1970-01-01T00:16:49"));
  job_.mutable_stop_deadline()->set_seconds(999);
  EXPECT_THAT(Cli("job get x").out, HasSubstr("\nstops by          01:16:40 at the latest\n"));
  job_.set_state(v1::JOB_STATE_STOPPED);
  EXPECT_THAT(Cli("job get x").out, Not(HasSubstr("stops by")));
}

TEST_F(JobTest, AChangeThatWasNotAnsweredMayHaveBeenMade) {
  const grpc::Status late(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  server_.pause_job = [&](const v1::PauseJobRequest&, v1::Job*) { return late; };
  server_.resume_job = [&](const v1::ResumeJobRequest&, v1::Job*) { return late; };
  server_.stop_job = [&](const v1::StopJobRequest&, v1::Job*) { return late; };
  server_.delete_job = [&](const v1::DeleteJobRequest&, v1::DeleteJobResponse*) { return late; };
  server_.update_job = [&](const v1::UpdateJobRequest&, v1::Job*) { return late; };
  server_.adjust_job = [&](const v1::AdjustJobRequest&, v1::AdjustJobResponse*) { return late; };
  server_.cancel_edit = [&](const v1::CancelEditRequest&, v1::CancelEditResponse*) { return late; };
  server_.acknowledge_alert = [&](const v1::AcknowledgeAlertRequest&, v1::Alert*) { return late; };
  server_.create_silence = [&](const v1::CreateSilenceRequest&, v1::Silence*) { return late; };
  server_.delete_silence = [&](const v1::DeleteSilenceRequest&, v1::DeleteSilenceResponse*) { return late; };
  server_.list_silences = [](const v1::ListSilencesRequest&, v1::ListSilencesResponse* response) {
    response->add_silences()->set_silence_id("s1");
    return grpc::Status::OK;
  };
  for (const char* arguments :
       {"job pause x", "job resume x", "job stop x", "job delete x", "job update x --name y", "clip set x --max-norm 1",
        "clip unset x --tensors a", "clip cancel x 1", "adjust x --lr-scale 0.5", "alerts ack a",
        "alerts silence --for 2h --comment c", "alerts unsilence s1"}) {
    const CliResult result = Cli(arguments);
    EXPECT_EQ(result.exit_code, 124) << arguments;
    EXPECT_EQ(result.err,
              "gradwatch: time is up; what was asked for may have been done all the same; --timeout gives more\n")
        << arguments;
  }
  server_.stop_job = [&](const v1::StopJobRequest&, v1::Job*) {
    cancellation_.Cancel();
    return grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED");
  };
  const CliResult interrupted = Cli("job stop x");
  EXPECT_EQ(interrupted.exit_code, 130);
  EXPECT_EQ(interrupted.err, "gradwatch: interrupted; what was asked for may have been done all the same\n");
}

TEST_F(JobTest, DeletePassesItsFlagsOn) {
  server_.delete_job = [](const v1::DeleteJobRequest& request, v1::DeleteJobResponse*) {
    return request.force() ? grpc::Status::OK : grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "it is running");
  };
  EXPECT_EQ(Cli("job delete x").exit_code, 6);
  const CliResult result = Cli("job delete x --force -o json");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "{\"job\":\"x\",\"state\":\"deleted\"}\n");
}

TEST_F(JobTest, DeleteIsRepeatedUnderOneRequestId) {
  std::vector<std::string> ids;
  server_.delete_job = [&ids](const v1::DeleteJobRequest& request, v1::DeleteJobResponse*) {
    ids.push_back(request.request_id());
    EXPECT_EQ(request.etag(), "e");
    EXPECT_EQ(request.uid(), "u");
    return ids.size() == 1 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down") : grpc::Status::OK;
  };
  EXPECT_EQ(Cli("job delete x --if-etag e --if-uid u").exit_code, 0);
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_EQ(ids[0].size(), 36u);
  EXPECT_EQ(ids[0], ids[1]);
}

TEST_F(JobTest, UpdateChangesNameAndLabels) {
  job_.set_etag("e1");
  (*job_.mutable_spec()->mutable_labels())["old"] = "1";
  (*job_.mutable_spec()->mutable_labels())["stays"] = "2";
  v1::UpdateJobRequest sent;
  server_.update_job = [&](const v1::UpdateJobRequest& request, v1::Job* job) {
    const bool is_late = sent.job_id().empty() && !request.etag().empty();  // somebody else was faster
    sent = request;
    if (is_late) return grpc::Status(grpc::StatusCode::ABORTED, "etag");
    *job = job_;
    *job->mutable_spec() = request.spec();
    return grpc::Status::OK;
  };
  const CliResult result =
      CliWords({"job", "update", "x", "--name", "My run", "--label", "team=a=b", "--label", "old-"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "x: name \"My run\", labels stays=2, team=a=b\n");
  EXPECT_THAT(sent.update_mask().paths(), ElementsAre("display_name", "labels"));
  EXPECT_EQ(sent.etag(), "e1");
  EXPECT_EQ(sent.request_id().size(), 36u);
  EXPECT_EQ(Cli("job update x --name y").exit_code, 0);
  EXPECT_THAT(sent.update_mask().paths(), ElementsAre("display_name"));
  EXPECT_EQ(sent.etag(), "") << "a name does not hang on what else there is";
  sent.Clear();
  EXPECT_EQ(Cli("job update x --label a=b --if-etag e0").exit_code, 6) << "not tried again";
  for (const char* arguments : {"job update x", "job update", "job update x --label team", "job update x --label =b"}) {
    EXPECT_EQ(Cli(arguments).exit_code, 2) << arguments;
  }
}

TEST_F(JobTest, WaitTellsNonFiniteSteps) {
  job_.set_state(v1::JOB_STATE_SUCCEEDED);
  job_.set_non_finite_steps(2);
  server_.watch_job = [&](const v1::WatchJobRequest&, grpc::ServerContext*,
                          grpc::ServerWriter<v1::WatchJobResponse>* writer) {
    v1::WatchJobResponse response;
    *response.mutable_started()->mutable_job() = job_;
    writer->Write(response);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Cli("job wait x").out, "x succeeded after 5 steps (2 of them with NaN or infinities)\n");
}

TEST_F(JobTest, WaitEndsAsTheJobDoes) {
  const struct {
    v1::JobState state;
    int exit_code;
    const char* out;
  } cases[] = {{v1::JOB_STATE_SUCCEEDED, 0, "x succeeded after 5 steps\n"},
               {v1::JOB_STATE_FAILED, 1, "x failed after 5 steps: killed\n"},
               {v1::JOB_STATE_STOPPED, 8, "x stopped after 5 steps\n"}};
  for (const auto& c : cases) {
    server_.watch_job = [&](const v1::WatchJobRequest& request, grpc::ServerContext*,
                            grpc::ServerWriter<v1::WatchJobResponse>* writer) {
      EXPECT_TRUE(request.events_only());
      v1::WatchJobResponse response;
      *response.mutable_started()->mutable_job() = job_;
      response.set_resume_token("t");
      writer->Write(response);
      response.clear_started();
      response.add_events()->mutable_state_changed()->set_to(c.state);
      job_.set_state(c.state);
      if (c.state == v1::JOB_STATE_FAILED) job_.set_failure("killed");
      writer->Write(response);
      return grpc::Status::OK;
    };
    job_.set_state(v1::JOB_STATE_RUNNING);
    job_.clear_failure();
    const CliResult result = Cli("job wait x");
    EXPECT_EQ(result.exit_code, c.exit_code);
    EXPECT_EQ(result.out, c.out);
  }
}

TEST_F(JobTest, WaitKnowsAJobThatHasEndedAlready) {
  job_.set_state(v1::JOB_STATE_STOPPED);
  server_.watch_job = [&](const v1::WatchJobRequest&, grpc::ServerContext* context,
                          grpc::ServerWriter<v1::WatchJobResponse>* writer) {
    v1::WatchJobResponse response;
    *response.mutable_started()->mutable_job() = job_;
    writer->Write(response);
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::OK;
  };
  EXPECT_EQ(Cli("job wait x").exit_code, 8);
}

TEST_F(JobTest, WaitEndsWithItsTimeout) {
  server_.watch_job = [&](const v1::WatchJobRequest&, grpc::ServerContext* context,
                          grpc::ServerWriter<v1::WatchJobResponse>*) {
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::OK;
  };
  EXPECT_EQ(Cli("job wait x --timeout 0.2").exit_code, 124);
}

TEST_F(JobTest, WaitTellsThatTheJobWasDeleted) {
  server_.watch_job = [&](const v1::WatchJobRequest&, grpc::ServerContext*,
                          grpc::ServerWriter<v1::WatchJobResponse>* writer) {
    v1::WatchJobResponse response;
    response.mutable_ended()->set_reason(v1::WatchEnded::REASON_DELETED);
    writer->Write(response);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Cli("job wait x").exit_code, 5);
}

}  // namespace
}  // namespace gradwatch::cli
