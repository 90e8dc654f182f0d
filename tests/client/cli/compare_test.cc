#include "client/cli/compare.h"

#include <limits>
#include <thread>

#include "tests/client/cli/cli_fixture.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::gradwatch::testing::ParseOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CompareParseTest, ReadsTheOptions) {
  const CompareOptions options = ParseOptions(AddCompare, "a b --plain --width 80 --height 20");
  EXPECT_THAT(options.job_ids, ElementsAre("a", "b"));
  EXPECT_TRUE(options.plain);
  EXPECT_EQ(options.width, 80);
  EXPECT_EQ(options.height, 20);
  EXPECT_THROW(ParseOptions(AddCompare, ""), CLI::ParseError);
  EXPECT_THROW(ParseOptions(AddCompare, "a --width 3"), CLI::ParseError);
}

// Jobs of four steps that go on: their streams do not end. "twice" has a second attempt from step 2.
class CompareTest : public CliTest {
 protected:
  CompareTest() {
    server_.get_job = [](const v1::GetJobRequest& request, v1::Job* job) {
      if (request.job_id() == "nobody") return testing::NotFound("no job \"nobody\"");
      job->add_tensors()->set_name("dense0.weight");
      return grpc::Status::OK;
    };
    server_.watch_job = [](const v1::WatchJobRequest& request, grpc::ServerContext* context,
                           grpc::ServerWriter<v1::WatchJobResponse>* writer) {
      EXPECT_TRUE(request.from_beginning());
      EXPECT_THAT(request.tensors(), ElementsAre("dense0.weight")) << "one is the least that can be asked for";
      const bool twice = request.job_id() == "twice";
      v1::WatchJobResponse response;
      v1::Job& job = *response.mutable_started()->mutable_job();
      job.set_attempt(twice ? 2 : 1);
      job.set_steps_done(request.job_id() == "new" ? 0 : 4);
      response.mutable_started()->set_last_event(request.job_id() == "new" ? 0 : 2);
      writer->Write(response);
      response.Clear();
      v1::Event* adjusted = response.add_events();
      adjusted->set_number(1);
      adjusted->mutable_adjusted()->mutable_adjustment()->set_effective_step(1);
      v1::Event* alert = response.add_events();
      alert->set_number(2);
      alert->mutable_alert_changed()->mutable_alert()->set_state(v1::ALERT_STATE_FIRING);
      alert->mutable_alert_changed()->mutable_alert()->set_step(3);
      if (request.job_id() == "seen") alert->mutable_alert_changed()->mutable_alert()->mutable_acknowledge_time();
      alert->mutable_alert_changed()->set_acknowledgement(request.job_id() == "acknowledged");
      writer->Write(response);
      for (int attempt = 1; attempt <= (twice ? 2 : 1); ++attempt) {
        for (int step = attempt == 1 ? 0 : 2; step < 4; ++step) {
          response.Clear();
          v1::StepReport* report = response.add_reports();
          report->set_attempt(attempt);
          report->set_step(step);
          report->set_loss(attempt == 2 ? 0.5 : step == 3 ? std::numeric_limits<double>::quiet_NaN() : 3 - step);
          if (step == 2 && request.job_id() == "judged") report->mutable_validation()->set_loss(7);
          writer->Write(response);
        }
      }
      while (!context->IsCancelled()) std::this_thread::yield();
      return grpc::Status::OK;
    };
  }
};

TEST_F(CompareTest, DrawsRunningJobsSideBySide) {
  const CliResult result = Cli("compare once twice --plain --width 78 --height 5");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("x loss not finite   ! alert fired   ^ controls changed"));
  EXPECT_THAT(result.out, HasSubstr("          once                                    twice\n"));
  EXPECT_THAT(result.out, HasSubstr("first 3  last NaN  best 1"));
  EXPECT_THAT(result.out, HasSubstr("first 3  last 0.5  best 0.5")) << "the later attempt counts";
}

TEST_F(CompareTest, TellsValidations) {
  const CliResult result = Cli("compare judged once --plain --width 78 --height 5");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("          validation first 7  last 7"));
  EXPECT_THAT(result.out, HasSubstr("          no validation\n"));
  EXPECT_THAT(Cli("compare once twice").out, ::testing::Not(HasSubstr("validation")));
  EXPECT_THAT(Cli("compare judged -o json").out,
              HasSubstr(R"("validation":{"times":1,"last_loss":7,"last_step":2,"best_loss":7,"best_step":2})"));
}

TEST_F(CompareTest, TellsWhatIsLost) {
  server_.watch_job = [](const v1::WatchJobRequest&, grpc::ServerContext* context,
                         grpc::ServerWriter<v1::WatchJobResponse>* writer) {
    v1::WatchJobResponse response;
    response.mutable_started()->mutable_job()->set_attempt(1);
    response.mutable_started()->mutable_job()->set_steps_done(4);
    response.mutable_started()->set_last_event(0);
    v1::StatisticsLost* lost = response.add_lost();
    lost->set_attempt(1);
    lost->set_last_step(3);
    writer->Write(response);
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::OK;
  };
  const CliResult result = Cli("compare damaged -o json");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "gradwatch: the statistics of 4 steps of damaged are lost\n");
  EXPECT_THAT(result.out, HasSubstr(R"("steps_lost":4)"));
}

TEST_F(CompareTest, PrintsNumbersInJson) {
  EXPECT_EQ(Cli("compare once -o json").out,
            "{\"jobs\":[{\"job\":\"once\",\"steps\":4,\"first_loss\":3,\"last_loss\":\"NaN\",\"best_loss\":1,"
            "\"best_step\":2,\"non_finite_losses\":1,\"alert_steps\":[3],\"control_steps\":[1],\"steps_lost\":0}]}\n");
}

TEST_F(CompareTest, MarksAlertsThatFiredAfterTheyWereAcknowledgedAndNoAcknowledgement) {
  EXPECT_THAT(Cli("compare seen -o json").out, HasSubstr(R"("alert_steps":[3])"));
  EXPECT_THAT(Cli("compare acknowledged -o json").out, HasSubstr(R"("alert_steps":[])"));
}

TEST_F(CompareTest, StandsAJobWithoutSteps) {
  const CliResult result = Cli("compare new");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("no steps yet"));
}

TEST_F(CompareTest, AMissingJobIsNotFound) {
  const CliResult result = Cli("compare once nobody");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(result.out, "");
}

}  // namespace
}  // namespace gradwatch::cli
