#include "client/cli/alerts.h"

#include <atomic>
#include <thread>

#include "absl/time/clock.h"
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

TEST(AlertsParseTest, ReadsTheOptions) {
  const AlertsListOptions list = ParseOptions(AddAlertsList, "--job x --min-severity warning --state firing --limit 3");
  EXPECT_EQ(list.job_id, "x");
  EXPECT_EQ(list.min_severity, v1::SEVERITY_WARNING);
  EXPECT_THAT(list.states, ElementsAre(v1::ALERT_STATE_FIRING));
  EXPECT_EQ(list.limit, 3);
  const AlertsWatchOptions watch = ParseOptions(AddAlertsWatch, "--job x --min-severity critical --from-beginning");
  EXPECT_EQ(watch.job_id, "x");
  EXPECT_EQ(watch.min_severity, v1::SEVERITY_CRITICAL);
  EXPECT_TRUE(watch.from_beginning);
  EXPECT_THROW(ParseOptions(AddAlertsWatch, "--resume t --from-beginning"), CLI::ParseError);
  EXPECT_THROW(ParseOptions(AddAlertsWatch, "x"), CLI::ParseError);
}

v1::Alert MakeAlert() {
  v1::Alert alert;
  alert.set_alert_id("u/1/norm_spike/1");
  alert.set_job_id("x");
  alert.set_rule("norm_spike");
  alert.set_severity(v1::SEVERITY_WARNING);
  alert.set_state(v1::ALERT_STATE_FIRING);
  alert.set_step(12);
  alert.set_tensor("rnn0.weight_hh");
  alert.set_summary("the norm is 40 times its median");
  return alert;
}

class AlertsTest : public CliTest {};

TEST_F(AlertsTest, ListPrintsATable) {
  server_.list_alerts = [](const v1::ListAlertsRequest& request, v1::ListAlertsResponse* response) {
    EXPECT_EQ(request.job_id(), "x");
    EXPECT_EQ(request.min_severity(), v1::SEVERITY_INFO);
    *response->add_alerts() = MakeAlert();
    return grpc::Status::OK;
  };
  const CliResult result = Cli("alerts list --job x --min-severity info");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "ALERT             SEVERITY  STATE   STEP  TENSOR          ACK  SUMMARY\n"
            "u/1/norm_spike/1  warning   firing  12    rnn0.weight_hh  -    the norm is 40 times its median\n");
  EXPECT_THAT(Cli("alerts list --job x --min-severity info -o json").out, HasSubstr(R"("rule":"norm_spike")"));
}

TEST_F(AlertsTest, ListAsksForRulesByName) {
  server_.list_alerts = [](const v1::ListAlertsRequest& request, v1::ListAlertsResponse* response) {
    EXPECT_THAT(request.rules(), ::testing::ElementsAre("norm_spike", "stall"));
    *response->add_alerts() = MakeAlert();
    return grpc::Status::OK;
  };
  EXPECT_THAT(Cli("alerts list --rule norm_spike --rule stall").out, HasSubstr("/norm_spike/"));
  EXPECT_EQ(Cli("alerts list --rule").exit_code, 2);
}

TEST_F(AlertsTest, ListSaysWhereThereIsNoSuchJobOrRule) {
  const auto job = [](const v1::GetJobRequest& request, v1::Job* found) {
    if (request.job_id() != "x") return testing::NotFound("there is no job \"" + request.job_id() + "\"");
    found->set_job_id("x");
    return grpc::Status::OK;
  };
  server_.get_job = job;
  server_.list_alerts = [](const v1::ListAlertsRequest&, v1::ListAlertsResponse*) { return grpc::Status::OK; };
  server_.get_rules = [](const v1::GetRulesRequest&, v1::RuleSet* rules) {
    rules->add_rules()->set_name("mine");
    return grpc::Status::OK;
  };
  server_.create_job = [](const v1::CreateJobRequest& request, v1::Job* checked) {
    EXPECT_TRUE(request.validate_only());
    checked->mutable_spec()->mutable_rules()->add_rules()->set_name("loss_jump");
    return grpc::Status::OK;
  };
  const CliResult no_job = Cli("alerts list --job nojob");
  EXPECT_EQ(no_job.exit_code, 5);
  EXPECT_EQ(no_job.err, "gradwatch: there is no job \"nojob\"\n");
  EXPECT_EQ(Cli("alerts list --job x").exit_code, 0) << "it has no alerts";
  const CliResult no_rule = Cli("alerts list --job x --rule min --rule mine --rule stall");
  EXPECT_EQ(no_rule.exit_code, 0);
  EXPECT_EQ(no_rule.err, "gradwatch: x has no rule \"min\"; did you mean mine?\n");
  EXPECT_EQ(Cli("alerts list --rule los_jump").err,
            "gradwatch: no alert of a rule \"los_jump\" is kept, and it is none of the default rules; did you mean "
            "loss_jump?\n");
  EXPECT_EQ(Cli("alerts list --rule loss_jump").err, "");
}

TEST_F(AlertsTest, ListGoesOnWhereItWasCut) {
  server_.list_alerts = [](const v1::ListAlertsRequest& request, v1::ListAlertsResponse* response) {
    v1::Alert& alert = *response->add_alerts() = MakeAlert();
    alert.set_alert_id(request.page_token().empty() ? "u/1/first/1" : "u/1/second/1");
    if (request.page_token().empty()) response->set_next_page_token("a b");
    return grpc::Status::OK;
  };
  const CliResult cut = Cli("alerts list --limit 1");
  EXPECT_THAT(cut.out, HasSubstr("u/1/first/1 "));
  EXPECT_EQ(cut.err, "gradwatch: there are more than 1 alerts; see --limit, or go on with --page-token 'a b'\n");
  const CliResult rest = CliWords({"alerts", "list", "--limit", "1", "--page-token", "a b"});
  EXPECT_THAT(rest.out, AllOf(HasSubstr("u/1/second/1 "), Not(HasSubstr("first"))));
  EXPECT_EQ(rest.err, "");
}

TEST_F(AlertsTest, WatchPrintsChangesUntilCtrlCAndSaysHowToGoOn) {
  server_.watch_alerts = [](const v1::WatchAlertsRequest& request, grpc::ServerContext* context,
                            grpc::ServerWriter<v1::WatchAlertsResponse>* writer) {
    EXPECT_EQ(request.resume_token(), "before");
    v1::WatchAlertsResponse response;
    response.set_resume_token("after");
    v1::Event& event = *response.add_events();
    event.set_job_id("x");
    event.set_number(4);
    event.set_attempt(1);
    *event.mutable_alert_changed()->mutable_alert() = MakeAlert();
    writer->Write(response);
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::OK;
  };
  const CliResult text = CliUntil("its median\n", "alerts watch --min-severity info --resume before");
  EXPECT_EQ(text.exit_code, 130);
  EXPECT_EQ(
      text.out,
      "x  event 4  alert firing (warning): norm_spike at step 12, rnn0.weight_hh: the norm is 40 times its median\n");
  EXPECT_EQ(text.err, "gradwatch: detached; again with: gradwatch alerts watch --min-severity info --resume after\n");
  const CliResult json = CliUntil("}\n", "alerts watch --resume before -o jsonl");
  const auto objects = gradwatch::testing::JsonLines(json.out);
  ASSERT_EQ(objects.size(), 1u);
  const auto& fields = objects[0].fields();
  EXPECT_EQ(fields.at("type").string_value(), "event");
  EXPECT_EQ(fields.at("job").string_value(), "x");
  EXPECT_EQ(fields.at("event").number_value(), 4);
  EXPECT_EQ(fields.at("step").number_value(), 12);
  EXPECT_EQ(fields.at("kind").string_value(), "alert_changed");
  EXPECT_EQ(fields.at("alert").struct_value().fields().at("tensor").string_value(), "rnn0.weight_hh");
}

TEST_F(AlertsTest, ListTellsWhatIsAcknowledgedAndSilenced) {
  server_.list_alerts = [](const v1::ListAlertsRequest&, v1::ListAlertsResponse* response) {
    v1::Alert& alert = *response->add_alerts() = MakeAlert();
    alert.set_acknowledged_by("anna");
    alert.mutable_acknowledge_time()->set_seconds(1);
    alert.add_silenced_by("s1");
    return grpc::Status::OK;
  };
  EXPECT_THAT(Cli("alerts list").out, HasSubstr("  firing, silenced  12    rnn0.weight_hh  anna  "));
}

TEST_F(AlertsTest, GetPrintsAllOfAnAlert) {
  server_.get_alert = [](const v1::GetAlertRequest& request, v1::Alert* alert) {
    if (request.alert_id() != "u/1/norm_spike/1") return testing::NotFound("no alert \"" + request.alert_id() + "\"");
    *alert = MakeAlert();
    alert->set_attempt(1);
    alert->set_value(80);
    alert->set_limit(2);
    alert->add_diagnosis("lower the rate");
    alert->set_acknowledged_by("anna");
    alert->mutable_acknowledge_time()->set_seconds(400);
    alert->set_acknowledge_comment("on it");
    alert->add_silenced_by("s1");
    return grpc::Status::OK;
  };
  io_.now = [] { return absl::FromUnixSeconds(1000); };
  const CliResult result = Cli("alerts get u/1/norm_spike/1");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, R"(alert         u/1/norm_spike/1
job           x
attempt       1
rule          norm_spike
severity      warning
state         firing
tensor        rnn0.weight_hh
first step    0
step          12
value         80
limit         2
summary       the norm is 40 times its median
diagnosis     lower the rate
time          -
acknowledged  by anna, 10 min ago: on it
silenced by   s1
)");
  EXPECT_THAT(Cli("alerts get u/1/norm_spike/1 -o json").out, HasSubstr(R"("acknowledged_by":"anna")"));
  EXPECT_EQ(Cli("alerts get u/1/r/2").exit_code, 5);
}

// Ids begin with a UUID, which nobody types.
TEST_F(AlertsTest, IdsAreListedWithTheirJobAndTakenSo) {
  const std::string uid = "3f2a8c1d-0000-4000-8000-000000000001";
  v1::Alert told = MakeAlert();
  told.set_alert_id(uid + "/1/norm_spike/2");
  server_.list_alerts = [&](const v1::ListAlertsRequest&, v1::ListAlertsResponse* response) {
    *response->add_alerts() = told;
    return grpc::Status::OK;
  };
  server_.get_job = [&](const v1::GetJobRequest& request, v1::Job* job) {
    if (request.job_id() != "x") return testing::NotFound("no job");
    job->set_uid(uid);
    return grpc::Status::OK;
  };
  std::vector<std::string> asked;
  server_.get_alert = [&](const v1::GetAlertRequest& request, v1::Alert* alert) {
    asked.push_back(request.alert_id());
    *alert = told;
    return grpc::Status::OK;
  };
  server_.acknowledge_alert = [&](const v1::AcknowledgeAlertRequest& request, v1::Alert* alert) {
    asked.push_back(request.alert_id());
    *alert = told;
    return grpc::Status::OK;
  };
  EXPECT_THAT(Cli("alerts list").out, HasSubstr("\nx/1/norm_spike/2  "));
  EXPECT_THAT(Cli("alerts list -o json").out, HasSubstr(told.alert_id()));
  for (const std::string& id : {std::string("x/1/norm_spike/2"), told.alert_id()}) {
    EXPECT_EQ(Cli("alerts get " + id).exit_code, 0);
    EXPECT_EQ(Cli("alerts ack " + id).exit_code, 0);
  }
  Cli("alerts get other/1/norm_spike/2");
  EXPECT_THAT(asked,
              ElementsAre(told.alert_id(), told.alert_id(), told.alert_id(), told.alert_id(), "other/1/norm_spike/2"));
}

// Uids have 36 characters.
TEST_F(AlertsTest, IdsOfJobsAreNotTakenForUids) {
  const std::string uid = "3f2a8c1d-0000-4000-8000-000000000001";
  std::string job_id;
  v1::Alert told = MakeAlert();
  told.set_alert_id(uid + "/1/norm_spike/2");
  server_.list_alerts = [&](const v1::ListAlertsRequest&, v1::ListAlertsResponse* response) {
    *response->add_alerts() = told;
    return grpc::Status::OK;
  };
  server_.get_job = [&](const v1::GetJobRequest& request, v1::Job* job) {
    if (request.job_id() != job_id) return testing::NotFound("no job");
    job->set_uid(uid);
    return grpc::Status::OK;
  };
  server_.get_alert = [&](const v1::GetAlertRequest& request, v1::Alert* alert) {
    if (request.alert_id() != told.alert_id()) return testing::NotFound("no alert");
    *alert = told;
    return grpc::Status::OK;
  };
  for (const char* id : {"transformer-of-the-night-2026-11-300", "9c1d0000-0000-4000-8000-000000000009"}) {
    job_id = id;
    ASSERT_EQ(job_id.size(), uid.size());
    told.set_job_id(job_id);
    const std::string listed = job_id + "/1/norm_spike/2";
    EXPECT_THAT(Cli("alerts list").out, HasSubstr("\n" + listed + "  "));
    EXPECT_EQ(Cli("alerts get " + listed).exit_code, 0) << listed;
    EXPECT_EQ(Cli("alerts get " + told.alert_id()).exit_code, 0);
  }
}

TEST_F(AlertsTest, AckSendsTheCommentAndARequestId) {
  server_.acknowledge_alert = [](const v1::AcknowledgeAlertRequest& request, v1::Alert* alert) {
    EXPECT_EQ(request.request_id().size(), 36u);
    if (request.alert_id() != "u/1/norm_spike/1") return testing::NotFound("no such alert");
    *alert = MakeAlert();
    alert->set_acknowledged_by("anna");
    alert->set_acknowledge_comment(request.comment());
    return grpc::Status::OK;
  };
  EXPECT_EQ(Cli("alerts ack u/1/norm_spike/1").out, "norm_spike of x (firing) acknowledged by anna\n");
  EXPECT_THAT(CliWords({"alerts", "ack", "u/1/norm_spike/1", "--comment", "on it", "-o", "json"}).out,
              HasSubstr(R"("acknowledge_comment":"on it")"));
  EXPECT_EQ(Cli("alerts ack other").exit_code, 5);
  EXPECT_EQ(Cli("alerts ack").exit_code, 2);
}

TEST_F(AlertsTest, WatchGoesOnWhenTheServerComesBackWithAnotherHistory) {
  std::atomic<int> streams = 0;
  std::atomic<int> hours = 0;  // that have passed
  io_.now = [&hours] { return absl::Now() + absl::Hours(hours.load()); };
  absl::Time first_deadline, last_deadline;
  server_.watch_alerts = [&](const v1::WatchAlertsRequest& request, grpc::ServerContext* context,
                             grpc::ServerWriter<v1::WatchAlertsResponse>* writer) {
    v1::WatchAlertsResponse response;
    last_deadline = absl::FromChrono(context->deadline());
    switch (++streams) {
      case 1:
        first_deadline = last_deadline;
        response.set_resume_token("old");
        writer->Write(response);
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
      case 2:
        EXPECT_EQ(request.resume_token(), "old");
        hours = 1;
        return gradwatch::testing::RichStatus(grpc::StatusCode::OUT_OF_RANGE, "another data folder",
                                              gradwatch::testing::Reason("HISTORY_REWOUND"));
      default:
        EXPECT_TRUE(request.from_beginning());
        response.set_resume_token("new");
        response.add_events()->mutable_alert_changed()->mutable_alert()->set_summary("first of the new ones");
        writer->Write(response);
        while (!context->IsCancelled()) std::this_thread::yield();
        return grpc::Status::OK;
    }
  };
  const CliResult result = CliUntil("first of the new ones", "alerts watch --timeout 7200");
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_EQ(result.err,
            "gradwatch: connection lost (going down); trying again\n"
            "gradwatch: the server has come back with another history; it is told from its beginning\n"
            "gradwatch: detached; again with: gradwatch alerts watch --resume new\n");
  EXPECT_LT(last_deadline, first_deadline + absl::Minutes(30)) << "the command's time is not renewed";
}

TEST_F(AlertsTest, ATokenOfAnotherHistoryIsToldWithTheWayOut) {
  server_.watch_alerts = [](const v1::WatchAlertsRequest&, grpc::ServerContext*,
                            grpc::ServerWriter<v1::WatchAlertsResponse>*) {
    return grpc::Status(grpc::StatusCode::OUT_OF_RANGE, "resume_token: it belongs to another data folder");
  };
  const CliResult result = Cli("alerts watch --resume old --job x");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err,
            "gradwatch: what is kept: gradwatch alerts watch --job x --from-beginning\n"
            "gradwatch: resume_token: it belongs to another data folder\n");
}

TEST_F(AlertsTest, NoServerIsOneLine) {
  server_.Stop();
  const CliResult result = Cli("alerts watch");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.err, "gradwatch: no server at " + server_.address() + " (connection refused)\n");
}

}  // namespace
}  // namespace gradwatch::cli
