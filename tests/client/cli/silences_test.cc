#include "client/cli/silences.h"

#include "client/lib/timestamp.h"
#include "tests/client/cli/cli_fixture.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::gradwatch::testing::ParseOptions;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(SilencesParseTest, ReadsTimes) {
  EXPECT_EQ(ParseOptions(AddAlertsSilence, "--for 2h --comment c").duration, absl::Hours(2));
  EXPECT_EQ(ParseOptions(AddAlertsSilence, "--for 1h30m --comment c").duration, absl::Minutes(90));
  EXPECT_EQ(ParseOptions(AddAlertsSilence, "--for 7d --comment c").duration, absl::Hours(7 * 24));
  EXPECT_EQ(ParseOptions(AddAlertsSilence, "--until 1970-01-01T00:01:00Z --comment c").until->seconds(), 60);
  for (const char* arguments :
       {"--comment c", "--for 2h", "--for 0h --comment c", "--for -1h --comment c", "--for inf --comment c",
        "--for soon --comment c", "--for infd --comment c", "--for 0x1d --comment c", "--for 1_0d --comment c",
        "--until tomorrow --comment c", "--for 2h --until 2030-01-01T00:00:00Z --comment c"}) {
    EXPECT_THROW(ParseOptions(AddAlertsSilence, arguments), CLI::ParseError) << arguments;
  }
}

class SilencesTest : public CliTest {
 protected:
  SilencesTest() {
    io_.now = [] { return absl::FromUnixSeconds(1000); };
  }
};

TEST_F(SilencesTest, SilenceSendsItsGlobsAndEnd) {
  v1::CreateSilenceRequest sent;
  server_.create_silence = [&sent](const v1::CreateSilenceRequest& request, v1::Silence* silence) {
    sent = request;
    *silence = request.silence();
    silence->set_silence_id("s1");
    return grpc::Status::OK;
  };
  const CliResult result =
      Cli("alerts silence --jobs night-* --rules norm_* --tensors rnn0.* --for 2h --comment maintenance");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "silence s1 ends in 2 h\n");
  EXPECT_EQ(sent.request_id().size(), 36u);
  EXPECT_EQ(sent.silence().jobs(), "night-*");
  EXPECT_EQ(sent.silence().rules(), "norm_*");
  EXPECT_EQ(sent.silence().tensors(), "rnn0.*");
  EXPECT_EQ(sent.silence().comment(), "maintenance");
  EXPECT_EQ(sent.silence().end_time().seconds(), 1000 + 7200);
  EXPECT_THAT(Cli("alerts silence --for 2h --comment c -o json").out, HasSubstr(R"("silence_id":"s1")"));
}

TEST_F(SilencesTest, TheHelpPromisesNoMoreThanAMark) {
  const std::string help = Cli("alerts silence --help").out;
  EXPECT_THAT(help, AllOf(HasSubstr("as silenced"), Not(HasSubstr("otification"))));
}

// Of a silence that will never match nobody hears otherwise.
TEST_F(SilencesTest, AGlobThatMatchesNoRuleIsTold) {
  server_.create_silence = [](const v1::CreateSilenceRequest& request, v1::Silence* silence) {
    *silence = request.silence();
    silence->set_silence_id("s1");
    return grpc::Status::OK;
  };
  server_.create_job = [](const v1::CreateJobRequest& request, v1::Job* job) {
    EXPECT_TRUE(request.validate_only()) << "it is only asked what the preset has";
    if (request.spec().rules().preset() == "keras") {
      job->mutable_spec()->mutable_rules()->add_rules()->set_name("terminate_on_nan");
    }
    return grpc::Status::OK;
  };
  server_.list_jobs = [](const v1::ListJobsRequest&, v1::ListJobsResponse* response) {
    response->add_jobs()->set_job_id("ended");
    response->mutable_jobs(0)->set_state(v1::JOB_STATE_FAILED);
    response->add_jobs()->set_job_id("runs");
    response->mutable_jobs(1)->set_state(v1::JOB_STATE_RUNNING);
    return grpc::Status::OK;
  };
  server_.get_rules = [](const v1::GetRulesRequest& request, v1::RuleSet* rules) {
    EXPECT_EQ(request.job_id(), "runs");
    rules->add_rules()->set_name("mine");
    return grpc::Status::OK;
  };
  for (const char* known : {"mine", "m*", "stall", "terminate_on_nan", "*"}) {
    EXPECT_EQ(CliWords({"alerts", "silence", "--rules", known, "--for", "2h", "--comment", "c"}).err, "") << known;
  }
  EXPECT_EQ(Cli("alerts silence --for 2h --comment c").err, "");
  const CliResult result = Cli("alerts silence --rules mien --for 2h --comment c");
  EXPECT_EQ(result.exit_code, 0) << "it is accepted";
  EXPECT_EQ(result.out, "silence s1 ends in 2 h\n");
  EXPECT_EQ(result.err,
            "gradwatch: no rule of any job or preset matches mien; the silence is for rules that are still to come\n");
  server_.list_jobs = [](const v1::ListJobsRequest&, v1::ListJobsResponse*) {
    return grpc::Status(grpc::StatusCode::INTERNAL, "broken");
  };
  EXPECT_EQ(Cli("alerts silence --rules mien --for 2h --comment c").err, "") << "nobody knows";
}

TEST_F(SilencesTest, SilencesAreListed) {
  server_.list_silences = [](const v1::ListSilencesRequest& request, v1::ListSilencesResponse* response) {
    v1::Silence& silence = *response->add_silences();
    silence.set_silence_id(request.page_token().empty() ? "s2" : "s1");
    silence.set_rules("norm_*");
    silence.set_author("anna");
    silence.set_comment("why\x1b");
    silence.mutable_end_time()->set_seconds(1000 + 7200);
    silence.mutable_create_time()->set_seconds(400);
    if (request.page_token().empty()) response->set_next_page_token("next");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Cli("alerts silences").out,
            "SILENCE  JOBS  RULES   TENSORS  ENDS IN  AUTHOR  MADE        COMMENT\n"
            "s2       all   norm_*  all      2 h      anna    10 min ago  why\\x1b\n"
            "s1       all   norm_*  all      2 h      anna    10 min ago  why\\x1b\n");
  EXPECT_EQ(Cli("alerts silences --limit 1").err,
            "gradwatch: there are more than 1 silences; see --limit, or go on with --page-token next\n");
  EXPECT_THAT(Cli("alerts silences --page-token next").out, AllOf(HasSubstr("\ns1 "), Not(HasSubstr("\ns2 "))));
  EXPECT_THAT(Cli("alerts silences -o json").out, HasSubstr(R"({"silences":[{"silence_id":"s2")"));
}

TEST_F(SilencesTest, UnsilenceEndsOne) {
  server_.delete_silence = [](const v1::DeleteSilenceRequest& request, v1::DeleteSilenceResponse*) {
    return request.silence_id() == "s1" ? grpc::Status::OK : testing::NotFound("no silence \"s2\"");
  };
  server_.list_silences = [](const v1::ListSilencesRequest&, v1::ListSilencesResponse* response) {
    response->add_silences()->set_silence_id("s1");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Cli("alerts unsilence s1").out, "silence s1 ended\n");
  EXPECT_EQ(Cli("alerts unsilence s1 -o json").out, "{\"silence\":\"s1\",\"state\":\"ended\"}\n");
  EXPECT_EQ(Cli("alerts unsilence s2").exit_code, 5);
}

// The ids of lists are short, and are taken as they are printed.
TEST_F(SilencesTest, UnsilenceTakesTheBeginningOfAnId) {
  const std::string first = "3f2a8c1d-0000-4000-8000-000000000001", second = "3f2a0000-0000-4000-8000-000000000002";
  server_.list_silences = [&](const v1::ListSilencesRequest&, v1::ListSilencesResponse* response) {
    response->add_silences()->set_silence_id(first);
    response->add_silences()->set_silence_id(second);
    return grpc::Status::OK;
  };
  std::string ended;
  server_.delete_silence = [&](const v1::DeleteSilenceRequest& request, v1::DeleteSilenceResponse*) {
    ended = request.silence_id();
    return grpc::Status::OK;
  };
  EXPECT_THAT(Cli("alerts silences").out, AllOf(HasSubstr("\n3f2a8c1d  "), HasSubstr("\n3f2a0000  ")));
  EXPECT_EQ(Cli("alerts unsilence 3f2a8c1d").out, "silence " + first + " ended\n");
  EXPECT_EQ(ended, first);
  ended.clear();
  const CliResult two = Cli("alerts unsilence 3f2a");
  EXPECT_EQ(two.exit_code, 2);
  EXPECT_THAT(two.err, AllOf(HasSubstr(first), HasSubstr(second)));
  EXPECT_EQ(Cli("alerts unsilence 9").exit_code, 5);
  EXPECT_EQ(ended, "") << "nothing was asked for";
}

// Every id begins with nothing, and one in sixteen with a letter that was left of a paste.
TEST_F(SilencesTest, UnsilenceTakesNoLessThanFourCharactersOfAnId) {
  std::vector<std::string> ids = {"3f2a8c1d-0000-4000-8000-000000000001"};
  server_.list_silences = [&](const v1::ListSilencesRequest&, v1::ListSilencesResponse* response) {
    for (const std::string& id : ids) response->add_silences()->set_silence_id(id);
    return grpc::Status::OK;
  };
  std::string ended;
  server_.delete_silence = [&](const v1::DeleteSilenceRequest& request, v1::DeleteSilenceResponse*) {
    ended = request.silence_id();
    return grpc::Status::OK;
  };
  for (const char* little : {"", "3", "3f2"}) {
    EXPECT_EQ(CliWords({"alerts", "unsilence", little}).exit_code, 2) << little;
  }
  EXPECT_THAT(Cli("alerts unsilence 3f2").err, HasSubstr("\"3f2\" is too little of an id"));
  EXPECT_EQ(ended, "");
  EXPECT_EQ(Cli("alerts unsilence 3f2a").exit_code, 0);
  EXPECT_EQ(ended, ids[0]);
  ids = {"s10", "s1"};
  EXPECT_EQ(Cli("alerts unsilence s1").exit_code, 0);
  EXPECT_EQ(ended, "s1") << "a whole id is never too short, nor the beginning of another";
}

TEST_F(SilencesTest, ASilenceThatMatchesNothingAtPresentIsTold) {
  server_.create_silence = [](const v1::CreateSilenceRequest& request, v1::Silence* silence) {
    *silence = request.silence();
    silence->set_silence_id("s1");
    return grpc::Status::OK;
  };
  std::string silenced_by = "s1";
  server_.list_alerts = [&](const v1::ListAlertsRequest& request, v1::ListAlertsResponse* response) {
    EXPECT_EQ(request.states_size(), 2) << "of those that have ended none is looked at";
    response->add_alerts()->add_silenced_by(silenced_by);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Cli("alerts silence --for 2h --comment c").err, "");
  silenced_by = "another";
  const CliResult none = Cli("alerts silence --for 2h --comment c");
  EXPECT_EQ(none.exit_code, 0) << "it is accepted";
  EXPECT_EQ(none.err, "gradwatch: it matches no alert at present; it is for those that are still to come\n");
}

}  // namespace
}  // namespace gradwatch::cli
