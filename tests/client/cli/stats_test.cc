#include "client/cli/stats.h"

#include <cmath>
#include <vector>

#include "tests/client/cli/cli_fixture.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::gradwatch::testing::JsonLines;
using ::gradwatch::testing::ParseOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(StatsParseTest, ReadsTheOptions) {
  const StatsOptions options = ParseOptions(
      AddStats, "job --series loss --series tensor/*/norm --attempt 2 --from-step 5 --to-step 100 --points 30");
  EXPECT_EQ(options.job_id, "job");
  EXPECT_THAT(options.series, ElementsAre("loss", "tensor/*/norm"));
  EXPECT_EQ(options.attempt, 2);
  EXPECT_EQ(options.from_step, 5);
  EXPECT_EQ(options.to_step, 100);
  EXPECT_EQ(options.points, 30);
  EXPECT_TRUE(ParseOptions(AddStats, "job --newest").newest);
  for (const char* arguments : {"", "x --points 0", "x --points 10001", "x --newest --points 3", "x --from-step -1",
                                "x --newest --histograms", "x --series"}) {
    EXPECT_THROW(ParseOptions(AddStats, arguments), CLI::ParseError) << arguments;
  }
}

class StatsTest : public CliTest {
 protected:
  StatsTest() {
    server_.query_statistics = [this](const v1::QueryStatisticsRequest& request,
                                      v1::QueryStatisticsResponse* response) {
      requests_.push_back(request);
      *response = answers_[std::min(requests_.size(), answers_.size()) - 1];
      return grpc::Status::OK;
    };
  }

  // Steps 0 to 15, then 16, on which the loss was not a number.
  static v1::QueryStatisticsResponse Answer() {
    v1::QueryStatisticsResponse answer;
    answer.set_attempt(1);
    for (const int64_t step : {0, 16}) answer.add_first_steps(step);
    for (const int64_t step : {15, 16}) answer.add_last_steps(step);
    AddSeries("loss", &answer);
    return answer;
  }
  static void AddSeries(const std::string& name, v1::QueryStatisticsResponse* answer) {
    v1::StatisticsSeries* const series = answer->add_series();
    series->set_name(name);
    for (const double value : {0.1, double{NAN}}) series->add_min(value);
    for (const double value : {1.5, double{NAN}}) series->add_mean(value);
    for (const double value : {1.0 / 3, double{NAN}}) series->add_max(value);
    for (const double value : {2.5, double{NAN}}) series->add_last(value);
    for (const int64_t count : {16, 0}) series->add_count(count);
    for (const int64_t count : {0, 1}) series->add_non_finite(count);
  }

  std::vector<v1::QueryStatisticsRequest> requests_;
  std::vector<v1::QueryStatisticsResponse> answers_ = {Answer()};
};

TEST_F(StatsTest, PrintsATableForPeople) {
  v1::StatisticsLost* const gap = answers_[0].add_gaps();
  gap->set_attempt(1);
  gap->set_first_step(3);
  gap->set_last_step(4);
  gap->set_reason("why");
  const CliResult result = Cli("stats x --series loss --from-step 0 --to-step 16");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "SERIES  FROM STEP  TO STEP  MIN  MEAN  MAX     LAST  NOT FINITE\n"
            "loss    0          15       0.1  1.5   0.3333  2.5   0\n"
            "loss    16         16       -    -     -       NaN   1\n");
  EXPECT_EQ(result.err, "gradwatch: statistics of attempt 1, steps 3 to 4 are lost: why\n");
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].job_id(), "x");
  EXPECT_EQ(requests_[0].max_points(), 20);
  EXPECT_EQ(requests_[0].last_step(), 16);
  EXPECT_THAT(requests_[0].series(), ElementsAre("loss"));
}

TEST_F(StatsTest, AGlobThatMatchesNoSeriesIsToldWithTheOneThatWasMeant) {
  server_.get_job = [](const v1::GetJobRequest&, v1::Job* job) {
    job->add_tensors()->set_name("dense0.weight");
    return grpc::Status::OK;
  };
  answers_ = {{}};
  const struct {
    const char* series;
    const char* note;
  } cases[] = {
      {"los", "gradwatch: no series of x matches --series los; did you mean loss?\n"},
      {"tensor/dense.weight/norm",
       "gradwatch: no series of x matches --series tensor/dense.weight/norm; did you mean "
       "tensor/dense0.weight/norm?\n"},
      {"lo*", ""},
      {"validation_loss", ""},  // there may be none yet
      {"tensor/*/norm", ""},
      {"zzzzzz", "gradwatch: no series of x matches --series zzzzzz\n"},
  };
  for (const auto& c : cases) {
    const CliResult result = CliWords({"stats", "x", "--series", c.series});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.err, c.note) << c.series;
  }
}

TEST_F(StatsTest, StepsThatContradictEachOtherAreToldAsFlags) {
  const CliResult result = Cli("stats x --from-step 400 --to-step 30");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err, "gradwatch: --to-step 30: lies before --from-step 400\n");
  EXPECT_EQ(Cli("stats x --from-step 30 --to-step 30").exit_code, 0);
}

TEST_F(StatsTest, PrintsCsvInFullDigits) {
  answers_[0].mutable_series(0)->set_name("tensor/a,\"b\"\n/norm");
  const CliResult result = Cli("stats x -o csv");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "series,first_step,last_step,min,mean,max,last,non_finite\n"
            "\"tensor/a,\"\"b\"\"\\n/norm\",0,15,0.1,1.5,0.3333333333333333,2.5,0\n"
            "\"tensor/a,\"\"b\"\"\\n/norm\",16,16,,,,NaN,1\n");
  EXPECT_EQ(requests_[0].max_points(), 1000);
  answers_ = {{}};
  EXPECT_EQ(Cli("stats x -o csv").out, "series,first_step,last_step,min,mean,max,last,non_finite\n");
}

TEST_F(StatsTest, OtherCommandsHaveNoCsv) {
  const CliResult result = Cli("job list -o csv");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("only stats prints csv"));
}

TEST_F(StatsTest, PutsPagesTogether) {
  answers_[0].set_next_page_token("second");
  answers_.push_back(Answer());
  answers_[1].mutable_series(0)->set_name("grad_norm");
  const CliResult result = Cli("stats x -o json");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto objects = JsonLines(result.out);
  ASSERT_EQ(objects.size(), 1u);
  EXPECT_EQ(objects[0].fields().at("series").list_value().values_size(), 2);
  EXPECT_EQ(objects[0].fields().at("first_steps").list_value().values_size(), 2);
  ASSERT_EQ(requests_.size(), 2u);
  EXPECT_EQ(requests_[1].page_token(), "second");
}

// Damage is told by the page that comes across it.
TEST_F(StatsTest, TellsTheGapsOfAllPagesOnce) {
  const auto add = [](int64_t first, const char* reason, v1::QueryStatisticsResponse* answer) {
    v1::StatisticsLost* const gap = answer->add_gaps();
    gap->set_attempt(1);
    gap->set_first_step(first);
    gap->set_last_step(first);
    gap->set_reason(reason);
  };
  answers_[0].set_next_page_token("second");
  add(9, "away", &answers_[0]);
  answers_.push_back(Answer());
  add(9, "away", &answers_[1]);
  add(3, "damaged", &answers_[1]);
  EXPECT_EQ(Cli("stats x").err,
            "gradwatch: statistics of attempt 1, steps 3 to 3 are lost: damaged\n"
            "gradwatch: statistics of attempt 1, steps 9 to 9 are lost: away\n");
}

TEST_F(StatsTest, BeginsAnewWherePointsChangeBetweenPages) {
  answers_[0].set_next_page_token("second");
  answers_.push_back(Answer());
  answers_[1].set_last_steps(1, 17);
  answers_.push_back(Answer());
  EXPECT_EQ(Cli("stats x").exit_code, 0);
  EXPECT_EQ(requests_.size(), 3u);
  EXPECT_EQ(requests_[2].page_token(), "");
}

TEST_F(StatsTest, TellsTheNewestLargestFirst) {
  answers_ = {{}};
  for (const double value : {1.0, double{NAN}, 3.0}) {
    v1::StatisticsSeries* const series = answers_[0].add_series();
    series->set_name(absl::StrCat("s", answers_[0].series_size()));
    series->set_newest(value);
  }
  answers_[0].add_series()->set_name("never measured");
  const CliResult result = Cli("stats x --newest");
  EXPECT_EQ(result.out, "SERIES  NEWEST\ns2      NaN\ns3      3\ns1      1\n");
  EXPECT_TRUE(requests_[0].newest());
  EXPECT_EQ(requests_[0].max_points(), 0);
}

TEST_F(StatsTest, TellsHistogramsByBuckets) {
  server_.get_job = [](const v1::GetJobRequest&, v1::Job* job) {
    job->add_tensors()->set_name("dense0.weight");
    return grpc::Status::OK;
  };
  answers_ = {{}};
  v1::StepHistogram* const told = answers_[0].add_histograms();
  told->set_step(32);
  told->mutable_histogram()->set_zero_count(5);
  told->mutable_histogram()->set_positive_offset(-1);
  for (const int64_t count : {7, 0, 2}) told->mutable_histogram()->add_positive_counts(count);
  told->mutable_histogram()->set_sample_stride(4);
  EXPECT_EQ(Cli("stats x --histograms -o csv").out,
            "step,tensor,sign,from,below,elements\n"
            "32,dense0.weight,zero,0,0,5\n"
            "32,dense0.weight,positive,0.5,1,28\n"
            "32,dense0.weight,positive,2,4,8\n");
}

TEST_F(StatsTest, HistogramsOfAllTensorsAreAskedForWhereNoneIsNamed) {
  bool has_tensors = false;
  server_.get_job = [&has_tensors](const v1::GetJobRequest&, v1::Job* job) {
    if (has_tensors) job->add_tensors()->set_name("dense0.weight");
    return grpc::Status::OK;
  };
  answers_ = {{}};
  EXPECT_EQ(Cli("stats x --histograms").exit_code, 0);
  EXPECT_THAT(requests_.back().series(), ElementsAre()) << "nothing would match";
  has_tensors = true;
  EXPECT_EQ(Cli("stats x --histograms").exit_code, 0);
  EXPECT_THAT(requests_.back().series(), ElementsAre("tensor/*/norm"));
  EXPECT_EQ(Cli("stats x --histograms --series tensor/a*/mean").exit_code, 0);
  EXPECT_THAT(requests_.back().series(), ElementsAre("tensor/a*/mean"));
}

TEST_F(StatsTest, ReadsSoManyHistogramsAtMost) {
  server_.get_job = [](const v1::GetJobRequest&, v1::Job*) { return grpc::Status::OK; };
  answers_ = {{}, {}, {}};
  for (int page = 0; page < 3; ++page) {
    for (int i = 0; i < 6'000; ++i) answers_[static_cast<size_t>(page)].add_histograms()->set_step(page * 6'000 + i);
    answers_[static_cast<size_t>(page)].set_next_page_token("more");
  }
  const CliResult result = Cli("stats x --histograms");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "gradwatch: there are more histograms: --from-step 12000\n");
  EXPECT_EQ(requests_.size(), 2u);
}

TEST_F(StatsTest, SaysThatThereIsNothing) {
  answers_ = {{}};
  EXPECT_EQ(Cli("stats x").out, "no statistics of these steps\n");
  server_.query_statistics = [](const auto&, auto*) { return testing::NotFound("no job"); };
  EXPECT_EQ(Cli("stats x").exit_code, 5);
}

}  // namespace
}  // namespace gradwatch::cli
