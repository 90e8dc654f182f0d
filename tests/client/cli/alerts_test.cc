#include "client/cli/alerts.h"

#include <thread>

#include "tests/client/cli/cli_fixture.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::gradwatch::testing::ParseOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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
            "JOB  RULE        SEVERITY  STATE   STEP  TENSOR          SUMMARY\n"
            "x    norm_spike  warning   firing  12    rnn0.weight_hh  the norm is 40 times its median\n");
  EXPECT_THAT(Cli("alerts list --job x --min-severity info -o json").out, HasSubstr(R"("rule":"norm_spike")"));
}

TEST_F(AlertsTest, WatchPrintsChangesUntilTheTimeoutAndSaysHowToGoOn) {
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
  const CliResult text = Cli("alerts watch --min-severity info --resume before --timeout 0.3");
  EXPECT_EQ(text.exit_code, 124);
  EXPECT_EQ(
      text.out,
      "x  event 4  alert firing (warning): norm_spike at step 12, rnn0.weight_hh: the norm is 40 times its median\n");
  EXPECT_THAT(text.err, HasSubstr("again with: gradwatch alerts watch --min-severity info --resume after\n"));
  const CliResult json = Cli("alerts watch --resume before --timeout 0.3 -o jsonl");
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

TEST_F(AlertsTest, NoServerIsOneLine) {
  server_.Stop();
  const CliResult result = Cli("alerts watch");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.err, "gradwatch: no server at " + server_.address() + " (connection refused)\n");
}

}  // namespace
}  // namespace gradwatch::cli
