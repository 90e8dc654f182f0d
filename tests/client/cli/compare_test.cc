#include "client/cli/compare.h"

#include <cmath>
#include <thread>
#include <utility>
#include <vector>

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
      job->set_attempt(request.job_id() == "new" ? 0 : request.job_id() == "twice" ? 2 : 1);
      return grpc::Status::OK;
    };
    server_.query_statistics = [](const v1::QueryStatisticsRequest& request, v1::QueryStatisticsResponse* response) {
      Answer(request, response);
      return grpc::Status::OK;
    };
    server_.watch_job = [](const v1::WatchJobRequest& request, grpc::ServerContext* context,
                           grpc::ServerWriter<v1::WatchJobResponse>* writer) {
      EXPECT_TRUE(request.from_beginning());
      EXPECT_TRUE(request.events_only());
      v1::WatchJobResponse response;
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
      if (request.job_id() == "seen") *response.add_events() = *alert;  // it became more severe
      writer->Write(response);
      while (!context->IsCancelled()) std::this_thread::yield();
      return grpc::Status::OK;
    };
  }

  // Every step that there is, as it was.
  static void Answer(const v1::QueryStatisticsRequest& request, v1::QueryStatisticsResponse* response) {
    const bool is_loss = request.series(0) == "loss";
    v1::StatisticsSeries* const series = response->add_series();
    series->set_name(request.series(0));
    for (int64_t step = request.attempt() == 1 ? 0 : 2; step < 4; ++step) {
      if (step < request.first_step() || (request.has_last_step() && step > request.last_step())) continue;
      if (!is_loss && (step != 2 || request.job_id() != "judged")) continue;
      const double loss = request.attempt() == 2 ? 0.5 : step == 3 ? NAN : static_cast<double>(3 - step);
      response->add_first_steps(step);
      response->add_last_steps(step);
      AddValue(is_loss ? loss : 7, series);
    }
  }
  static void AddValue(double value, v1::StatisticsSeries* series) {
    const bool is_finite = std::isfinite(value);
    series->add_min(is_finite ? value : NAN);
    series->add_max(is_finite ? value : NAN);
    series->add_last(value);
    series->add_count(is_finite ? 1 : 0);
    series->add_non_finite(is_finite ? 0 : 1);
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
  server_.query_statistics = [](const v1::QueryStatisticsRequest&, v1::QueryStatisticsResponse* response) {
    response->add_series();
    v1::StatisticsLost* const gap = response->add_gaps();
    gap->set_attempt(1);
    gap->set_last_step(3);
    return grpc::Status::OK;
  };
  const CliResult result = Cli("compare damaged -o json");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "gradwatch: the statistics of 4 steps of damaged are lost\n");
  EXPECT_THAT(result.out, HasSubstr(R"("steps_lost":4)"));
}

// A million steps in points of 500: the first, the best and the last are asked for step by step, a spike is drawn where
// it was, and what was not finite is counted.
TEST_F(CompareTest, ReadsALongJobInPoints) {
  std::vector<std::pair<int64_t, int64_t>> asked;
  server_.query_statistics = [&asked](const v1::QueryStatisticsRequest& request,
                                      v1::QueryStatisticsResponse* response) {
    v1::StatisticsSeries* const series = response->add_series();
    if (request.series(0) != "loss") return grpc::Status::OK;
    const int64_t last_step = request.has_last_step() ? request.last_step() : 1'499;
    asked.emplace_back(request.first_step(), last_step);
    for (int64_t first = request.first_step(); first <= last_step; first += request.has_last_step() ? 1 : 500) {
      const int64_t last = request.has_last_step() ? first : first + 499;
      response->add_first_steps(first);
      response->add_last_steps(last);
      const bool has_best = first <= 700 && 700 <= last;
      series->add_min(has_best ? 0.25 : 1);
      series->add_max(first <= 900 && 900 <= last ? 1000 : has_best && first == last ? 0.25 : 2);
      series->add_last(has_best && first == last ? 0.25 : 2);
      series->add_count(last - first + 1);
      series->add_non_finite(0);
    }
    return grpc::Status::OK;
  };
  const CliResult result = Cli("compare long -o json");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(asked, ElementsAre(std::pair(0, 1'499), std::pair(1'000, 1'499), std::pair(500, 999), std::pair(0, 499)));
  EXPECT_THAT(result.out, HasSubstr(R"("steps":1500,"first_loss":2,"last_loss":2,"best_loss":0.25,"best_step":700)"));
}

// Steps 0 to 999 in points of 100; the second attempt did those from 450 to 619 again.
TEST_F(CompareTest, NoStepIsMissingWhereAttemptsMeet) {
  for (const bool is_kept : {true, false}) {
    server_.query_statistics = [is_kept](const v1::QueryStatisticsRequest& request,
                                         v1::QueryStatisticsResponse* response) {
      v1::StatisticsSeries* const series = response->add_series();
      if (request.series(0) != "loss") return grpc::Status::OK;
      const int64_t begin = request.attempt() == 1 ? 0 : 450, end = request.attempt() == 1 ? 1'000 : 620;
      const int64_t first_step = std::max(begin, request.first_step());
      const int64_t last_step = request.has_last_step() ? request.last_step() : end - 1;
      const int64_t width = request.attempt() == 2 || (request.has_last_step() && is_kept) ? 1 : 100;
      for (int64_t first = first_step / width * width; first <= last_step; first += width) {
        response->add_first_steps(first);
        response->add_last_steps(first + width - 1);
        for (auto* const list : {series->mutable_min(), series->mutable_max(), series->mutable_last()}) list->Add(1);
        series->add_count(width);
        series->add_non_finite(0);
      }
      return grpc::Status::OK;
    };
    const CliResult result = Cli("compare twice -o json");
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr(R"("steps":1000,)")) << is_kept;
  }
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
