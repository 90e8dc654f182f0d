#include "client/cli/submit.h"

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/client/cli/cli_fixture.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::gradwatch::testing::ParseOptions;
using ::gradwatch::testing::Reason;
using ::gradwatch::testing::RichStatus;
using ::gradwatch::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(SubmitParseTest, ReadsAllOptions) {
  const SubmitOptions options =
      ParseOptions(AddSubmit, "--set steps=3 --set seed=4 job.yaml --name My --job-id my-job --follow");
  EXPECT_EQ(options.spec, "job.yaml");
  EXPECT_THAT(options.assignments, ElementsAre("steps=3", "seed=4"));
  EXPECT_EQ(options.name, "My");
  EXPECT_EQ(options.job_id, "my-job");
  EXPECT_TRUE(options.follow);
  EXPECT_FALSE(options.dry_run);
}

TEST(SubmitParseTest, RefusesContradictions) {
  EXPECT_THROW(ParseOptions(AddSubmit, ""), CLI::ParseError);
  EXPECT_THROW(ParseOptions(AddSubmit, "a.yaml --follow --dry-run"), CLI::ParseError);
  EXPECT_THROW(ParseOptions(AddSubmit, "a.yaml b.yaml"), CLI::ParseError);
}

class SubmitTest : public CliTest {
 protected:
  SubmitTest() {
    server_.create_job = [this](const v1::CreateJobRequest& request, v1::Job* job) {
      request_ = request;
      *job->mutable_spec() = request.spec();
      job->mutable_estimate()->set_parameters(42);
      if (request.validate_only()) {
        job->mutable_spec()->set_threads(1);
      } else {
        job->set_job_id("x");
      }
      return grpc::Status::OK;
    };
  }

  // A job that ends in `state`, as its watcher sees it.
  void ServeEnd(v1::JobState state) {
    server_.watch_job = [state](const v1::WatchJobRequest& request, grpc::ServerContext*,
                                grpc::ServerWriter<v1::WatchJobResponse>* writer) {
      EXPECT_TRUE(request.from_beginning());
      v1::WatchJobResponse response;
      response.add_events()->mutable_state_changed()->set_to(state);
      response.mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
      writer->Write(response);
      return grpc::Status::OK;
    };
  }

  const TempDir dir_;
  const std::string spec_ = dir_.Write("job.yaml", "steps: 10\n");
  v1::CreateJobRequest request_;
};

TEST_F(SubmitTest, TellsWhichRulesCannotJudgeTheJob) {
  server_.get_rules = [](const v1::GetRulesRequest& request, v1::RuleSet* rules) {
    EXPECT_EQ(request.job_id(), "x");
    rules->add_rules()->set_name("fine");
    v1::Rule& rule = *rules->add_rules();
    rule.set_name("layers");
    rule.set_unable("needs layer_statistics, which is off");
    v1::Rule& part = *rules->add_rules();
    part.set_name("joint_growth");
    part.set_unable("updates are left out");
    part.set_armed_at(49);
    return grpc::Status::OK;
  };
  ServeEnd(v1::JOB_STATE_SUCCEEDED);
  constexpr char kTold[] =
      "gradwatch: layers cannot judge: needs layer_statistics, which is off\n"
      "gradwatch: joint_growth judges in part: updates are left out\n";
  for (const char* const follow : {"", " --follow"}) {
    const CliResult result = Cli(absl::StrCat("submit ", spec_, follow));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr(kTold)) << follow;
  }
}

TEST_F(SubmitTest, TellsNewRulesWithNearlyTheNameOfOneOfThePreset) {
  server_.create_job = [](const v1::CreateJobRequest& request, v1::Job* job) {
    *job->mutable_spec() = request.spec();
    job->mutable_spec()->mutable_rules()->add_rules()->set_name("loss_jump");
    job->set_job_id("x");
    return grpc::Status::OK;
  };
  ServeEnd(v1::JOB_STATE_SUCCEEDED);
  for (const char* const option : {"--name=x", "--follow", "--dry-run"}) {
    const CliResult result =
        CliWords({"submit", spec_, "--set", "rules.rules=[{name: los_jump, loss_jump: {}}]", option});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err,
                HasSubstr("gradwatch: los_jump is a rule beside those of the preset; did you mean loss_jump?\n"));
  }
}

// A job that a foreign program trains.
class SubmitExternalTest : public SubmitTest {
 protected:
  SubmitExternalTest() {
    server_.create_job = [](const v1::CreateJobRequest& request, v1::Job* job) {
      *job->mutable_spec() = request.spec();
      if (request.validate_only()) return grpc::Status::OK;
      job->set_job_id("x");
      job->set_attach_token("5ec4e7");
      return grpc::Status::OK;
    };
  }
  const std::string external_ = dir_.Write("external.yaml", "external: {framework: pytorch}\n");
};

TEST_F(SubmitTest, TakesHowMuchIsKept) {
  EXPECT_EQ(Cli("submit " + spec_).exit_code, 0);
  EXPECT_FALSE(request_.spec().has_retention());
  EXPECT_EQ(Cli("submit " + spec_ + " --keep-bytes 1e6 --keep-days 2").exit_code, 0);
  EXPECT_EQ(request_.spec().retention().max_bytes(), 1'000'000);
  EXPECT_EQ(request_.spec().retention().max_age().seconds(), 172'800);
  EXPECT_EQ(Cli("submit " + spec_ + " --set retention.max_age=36h").exit_code, 0);
  EXPECT_EQ(request_.spec().retention().max_age().seconds(), 129'600);
  EXPECT_FALSE(request_.spec().retention().has_max_bytes());
}

TEST_F(SubmitExternalTest, TheTokenIsToldWithHowToUseIt) {
  CliResult result = Cli("submit " + external_);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, StartsWith("x submitted; "));
  EXPECT_THAT(result.out, HasSubstr("AttachTrainer"));
  EXPECT_THAT(result.out, HasSubstr("5ec4e7\n"));
  result = Cli("submit " + external_ + " -o json");
  EXPECT_THAT(result.out, HasSubstr("\"attach_token\":"));
  EXPECT_THAT(result.out, HasSubstr("\"5ec4e7\""));
}

TEST_F(SubmitExternalTest, FollowingTellsTheTokenAndWaits) {
  ServeEnd(v1::JOB_STATE_SUCCEEDED);
  const CliResult result = Cli("submit " + external_ + " --follow");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("waits for its trainer"));
  EXPECT_THAT(result.err, HasSubstr("5ec4e7\n"));
}

// Nobody can ask for it again.
TEST_F(SubmitExternalTest, TheTokenIsToldWhereTheOutputCannotBeWritten) {
  for (const char* form : {"", " -o json", " -o yaml"}) {
    const CliResult result = CliIntoNothing(absl::StrCat("submit ", external_, form));
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, StartsWith("gradwatch: cannot write to the standard output; x submitted; "));
    EXPECT_THAT(result.err, HasSubstr("AttachTrainer"));
    EXPECT_THAT(result.err, HasSubstr("5ec4e7\n"));
  }
  ServeEnd(v1::JOB_STATE_SUCCEEDED);
  for (const char* form : {"", " -o json"}) {
    const CliResult result = CliIntoNothing(absl::StrCat("submit --follow ", external_, form));
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("5ec4e7\n"));
  }
}

TEST_F(SubmitExternalTest, FollowingForProgramsTellsTheTokenFirst) {
  ServeEnd(v1::JOB_STATE_SUCCEEDED);
  const CliResult result = Cli("submit --follow -o json " + external_);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, StartsWith("{\"type\":\"submitted\",\"job\":\"x\",\"attach_token\":\"5ec4e7\"}\n"));
  EXPECT_EQ(gradwatch::testing::JsonLines(result.out).size(), 3u) << "then event and end";
  EXPECT_EQ(result.err, "job x submitted\n");
}

TEST_F(SubmitExternalTest, ADryRunSaysWhoTrainsIt) {
  const CliResult result = Cli("submit " + external_ + " --dry-run");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("a foreign program is to train it"));
  EXPECT_THAT(result.err, ::testing::Not(HasSubstr("needs")));
}

// The server gives the same answer to the same request, and to no other.
TEST_F(SubmitExternalTest, AnAnswerThatDoesNotComeIsAskedForAgain) {
  const auto answer = server_.create_job;
  std::vector<v1::CreateJobRequest> requests;
  server_.create_job = [&](const v1::CreateJobRequest& request, v1::Job* job) {
    requests.push_back(request);
    if (requests.size() < 3) return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
    return answer(request, job);
  };
  const CliResult result = Cli("submit " + external_);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("5ec4e7\n"));
  ASSERT_EQ(requests.size(), 3u);
  for (const v1::CreateJobRequest& request : requests) EXPECT_EQ(request.request_id(), requests[0].request_id());
}

TEST_F(SubmitExternalTest, AnAnswerThatNeverComesLosesTheToken) {
  server_.create_job = [](const v1::CreateJobRequest&, v1::Job*) {
    return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  };
  const CliResult result = Cli("submit " + external_);
  EXPECT_EQ(result.exit_code, 124);
  EXPECT_THAT(result.err,
              HasSubstr("its token is lost then: delete it (gradwatch job delete --force) and submit it again"));
  EXPECT_THAT(result.err, ::testing::Not(HasSubstr("--job-id")));
}

// The server took the request, and went away before it had answered.
TEST_F(SubmitExternalTest, AnAnswerThatIsLostWithTheServerIsAskedForAgain) {
  const auto answer = server_.create_job;
  std::vector<v1::CreateJobRequest> requests;
  server_.create_job = [&](const v1::CreateJobRequest& request, v1::Job* job) {
    requests.push_back(request);
    // More often than one call asks.
    if (requests.size() < 6) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed");
    return answer(request, job);
  };
  const CliResult result = Cli("submit " + external_);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("5ec4e7\n"));
  ASSERT_EQ(requests.size(), 6u);
  for (const v1::CreateJobRequest& request : requests) EXPECT_EQ(request.request_id(), requests[0].request_id());
}

// One that gives a reason of its own was there, and has answered.
TEST_F(SubmitExternalTest, AServerIsSaidToHaveGoneAwayOnlyWhereItHas) {
  const auto answer = server_.create_job;
  const struct {
    const char* reason;  // of the second answer; "": none
    bool went_away;
  } cases[] = {{"", true}, {"SHUTTING_DOWN", true}, {"BACKEND_DOWN", false}};
  for (const auto& c : cases) {
    int calls = 0;
    server_.create_job = [&](const v1::CreateJobRequest& request, v1::Job* job) {
      if (++calls == 1) return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
      if (calls > 5) return answer(request, job);  // more often than one call asks
      return c.reason[0] == '\0' ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed")
                                 : RichStatus(grpc::StatusCode::UNAVAILABLE, "no", Reason(c.reason));
    };
    const CliResult result = Cli("submit " + external_);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, absl::StrCat("gradwatch: the server ",
                                       c.went_away ? "went away before it answered"
                                                   : "cannot say now whether it has accepted the job",
                                       "; it is asked again, as the same request\n"))
        << c.reason;
  }
}

TEST_F(SubmitExternalTest, AnAnswerThatStaysLostLosesTheToken) {
  server_.create_job = [](const v1::CreateJobRequest&, v1::Job*) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed");
  };
  absl::Time now = absl::Now();
  io_.now = [&now] { return now += absl::Minutes(6); };  // time for one call
  const CliResult result = Cli("submit " + external_);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.err,
            "gradwatch: Socket closed; the job may be accepted all the same: see gradwatch job list; its token is lost "
            "then: delete it (gradwatch job delete --force) and submit it again\n");
  EXPECT_EQ(Cli("submit --dry-run " + external_).err, "gradwatch: Socket closed\n") << "nothing is lost";
}

// Full once it holds two lines.
class TwoLines : public std::stringbuf {
  std::streamsize xsputn(const char* text, std::streamsize size) override {
    const std::string all = str();
    return std::count(all.begin(), all.end(), '\n') >= 2 ? 0 : std::stringbuf::xsputn(text, size);
  }
  int_type overflow(int_type c) override {
    const std::string all = str();
    return std::count(all.begin(), all.end(), '\n') >= 2 ? traits_type::eof() : std::stringbuf::overflow(c);
  }
};

// Its job has ended, and the token was told.
TEST_F(SubmitExternalTest, AnOutputThatFailsLaterDoesNotTellTheTokenAgain) {
  ServeEnd(v1::JOB_STATE_SUCCEEDED);
  TwoLines out;
  const CliResult result = RunInto({"submit", "--follow", "-o", "json", external_}, &out, &cancellation_);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, HasSubstr("5ec4e7"));
  EXPECT_EQ(result.err, "job x submitted\ngradwatch: cannot write to the standard output; job x submitted\n");
}

TEST_F(SubmitTest, SendsTheSpecWithTheUsersChanges) {
  const CliResult result = Cli("submit " + spec_ + " --set seed=7 --name Mine --job-id x");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "x submitted\n");
  EXPECT_EQ(request_.spec().steps(), 10);
  EXPECT_EQ(request_.spec().seed(), 7);
  EXPECT_EQ(request_.spec().display_name(), "Mine");
  EXPECT_EQ(request_.job_id(), "x");
  EXPECT_EQ(request_.request_id().size(), 36u);
  EXPECT_FALSE(request_.validate_only());
}

TEST_F(SubmitTest, PrintsTheJobInJson) {
  const CliResult result = Cli("submit " + spec_ + " -o json");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr(R"("job_id":"x")"));
  EXPECT_EQ(gradwatch::testing::JsonLines(result.out).size(), 1u);
}

TEST_F(SubmitTest, AJobThatCannotBePrintedIsSaidToBeSubmitted) {
  EXPECT_EQ(CliIntoNothing("submit " + spec_).err, "gradwatch: cannot write to the standard output; x submitted\n");
  EXPECT_EQ(CliIntoNothing("submit --dry-run " + spec_).exit_code, 1);
}

TEST_F(SubmitTest, ADryRunPrintsTheSpecAndTheEstimate) {
  const CliResult result = Cli("submit " + spec_ + " --dry-run");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "steps: 10\nthreads: 1\n");
  EXPECT_THAT(result.err, StartsWith("the spec is valid; needs 42 parameters"));
  EXPECT_TRUE(request_.validate_only());
  EXPECT_EQ(Cli("submit " + spec_ + " --dry-run -o json").out, "{\"steps\":10,\"threads\":1}\n");
}

// What the server read in a file is somebody else's text.
TEST_F(SubmitTest, WhatWasTakenForGrantedAboutTheDataIsTold) {
  const auto answer = server_.create_job;
  server_.create_job = [answer](const v1::CreateJobRequest& request, v1::Job* job) {
    job->mutable_data()->set_examples(9);
    job->mutable_data()->set_header(true);
    job->mutable_data()->set_note("the first line is read as a header: \x1b[31mcity");
    return answer(request, job);
  };
  const std::string note = "data: the first line is read as a header: \\x1b[31mcity\n";
  const CliResult result = Cli("submit " + spec_);
  EXPECT_EQ(result.out, "x submitted\n");
  EXPECT_EQ(result.err, note);
  EXPECT_EQ(Cli("submit " + spec_ + " -o json").err, note);
  const CliResult dry = Cli("submit " + spec_ + " --dry-run");
  EXPECT_EQ(dry.out, "steps: 10\nthreads: 1\n");
  EXPECT_THAT(dry.err, HasSubstr("\n" + note));
  ServeEnd(v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Cli("submit " + spec_ + " --follow").err, StartsWith("job x submitted\n" + note));
}

TEST_F(SubmitTest, ADryRunCanBeSubmitted) {
  const std::string printed = dir_.Write("again.yaml", Cli("submit " + spec_ + " --dry-run").out);
  EXPECT_EQ(Cli("submit " + printed).exit_code, 0);
  EXPECT_EQ(request_.spec().threads(), 1);
}

TEST_F(SubmitTest, WrongFilesAreUsageErrorsAndNothingIsSent) {
  EXPECT_EQ(Cli("submit /no/such/file.yaml").exit_code, 2);
  const CliResult misspelt = Cli("submit " + dir_.Write("bad.yaml", "stepz: 10\n"));
  EXPECT_EQ(misspelt.exit_code, 2);
  EXPECT_THAT(misspelt.err, HasSubstr("stepz"));
  EXPECT_EQ(Cli("submit " + spec_ + " --set stepz=1").exit_code, 2);
  EXPECT_FALSE(request_.has_spec());
}

TEST_F(SubmitTest, EachWrongFieldIsALine) {
  server_.create_job = [](const v1::CreateJobRequest&, v1::Job*) {
    google::rpc::BadRequest bad;
    for (const char* field : {"spec.model.layers[0].dense.units", "spec.steps"}) {
      auto* violation = bad.add_field_violations();
      violation->set_field(field);
      violation->set_description("is 0, must be at least 1");
    }
    return RichStatus(grpc::StatusCode::INVALID_ARGUMENT, "2 fields are wrong", Reason("FIELD_VIOLATION"), bad);
  };
  const CliResult result = Cli("submit " + spec_);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err,
            "gradwatch: spec.model.layers[0].dense.units: is 0, must be at least 1\n"
            "gradwatch: spec.steps: is 0, must be at least 1\n");
}

TEST_F(SubmitTest, ACheckMayTakeMinutesUnlessTheUserSaysLess) {
  for (const char* flag : {"", " --dry-run"}) {
    const absl::Time begin = absl::Now();
    EXPECT_EQ(Cli(absl::StrCat("submit ", spec_, flag)).exit_code, 0);
    EXPECT_GT(server_.create_job_deadline, begin + absl::Minutes(4)) << flag;
    EXPECT_EQ(Cli(absl::StrCat("submit ", spec_, flag, " --timeout 60")).exit_code, 0);
    EXPECT_LT(server_.create_job_deadline, absl::Now() + absl::Minutes(2)) << flag;
  }
}

TEST_F(SubmitTest, AJobThatWasNotAnsweredMayBeAcceptedAllTheSame) {
  server_.create_job = [](const v1::CreateJobRequest&, v1::Job*) {
    return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  };
  const CliResult late = Cli("submit " + spec_);
  EXPECT_EQ(late.exit_code, 124);
  EXPECT_EQ(
      late.err,
      "gradwatch: time is up; the job may be accepted all the same: see gradwatch job list; repeated with the same "
      "--job-id it cannot start a second time; --timeout gives more\n");
  EXPECT_EQ(Cli("submit --dry-run " + spec_).err,
            "gradwatch: time is up before the spec was checked; --timeout gives more\n");
  server_.create_job = [this](const v1::CreateJobRequest&, v1::Job*) {
    cancellation_.Cancel();
    return grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED");
  };
  const CliResult interrupted = Cli("submit " + spec_);
  EXPECT_EQ(interrupted.exit_code, 130);
  EXPECT_THAT(interrupted.err, StartsWith("gradwatch: interrupted; the job may be accepted all the same: "));
}

TEST_F(SubmitTest, AJobWhoseAnswerWasLostMayBeAccepted) {
  server_.create_job = [](const v1::CreateJobRequest&, v1::Job*) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed");
  };
  const CliResult result = Cli("submit " + spec_);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.err,
            "gradwatch: Socket closed; the job may be accepted all the same: see gradwatch job list; repeated with the "
            "same --job-id it cannot start a second time\n");
}

TEST_F(SubmitTest, FollowEndsAsTheJobDoes) {
  const struct {
    v1::JobState state;
    int exit_code;
  } cases[] = {{v1::JOB_STATE_SUCCEEDED, 0}, {v1::JOB_STATE_FAILED, 1}, {v1::JOB_STATE_STOPPED, 8}};
  for (const auto& c : cases) {
    ServeEnd(c.state);
    const CliResult result = Cli("submit " + spec_ + " --follow -o json");
    EXPECT_EQ(result.exit_code, c.exit_code);
    EXPECT_EQ(gradwatch::testing::JsonLines(result.out).size(), 2u) << "event and end";
    EXPECT_EQ(result.err, "job x submitted\n");
  }
}

TEST_F(SubmitTest, ServerErrorsHaveTheirExitCodes) {
  const struct {
    grpc::StatusCode code;
    int exit_code;
  } cases[] = {{grpc::StatusCode::ALREADY_EXISTS, 6},
               {grpc::StatusCode::NOT_FOUND, 5},
               {grpc::StatusCode::RESOURCE_EXHAUSTED, 7},
               {grpc::StatusCode::PERMISSION_DENIED, 4},
               {grpc::StatusCode::INTERNAL, 1}};
  for (const auto& c : cases) {
    server_.create_job = [&c](const v1::CreateJobRequest&, v1::Job*) { return grpc::Status(c.code, "no"); };
    const CliResult result = Cli("submit " + spec_);
    EXPECT_EQ(result.exit_code, c.exit_code);
    EXPECT_EQ(result.err, "gradwatch: no\n");
  }
}

}  // namespace
}  // namespace gradwatch::cli
