// Questions about statistics, over a real job manager and store.
#include "server/api/statistics_answer.h"

#include <cmath>
#include <functional>

#include "core/base/error.h"
#include "tests/server/api/api_fixture.h"
#include "tests/server/store/store_testing.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Code = absl::StatusCode;
using Request = v1::QueryStatisticsRequest;
using Response = v1::QueryStatisticsResponse;

class StatisticsAnswerTest : public ApiTest {
 protected:
  static constexpr int64_t kSteps = 3'000, kSpike = 1'234, kBad = 2'345;

  // A job of kSteps with a spike and a bad step.
  void RunLongJob() {
    v1::CreateJobRequest request;
    *request.mutable_spec() = SmallSpec();
    request.mutable_spec()->set_steps(kSteps);
    request.set_job_id("job");
    ASSERT_THAT(Create(request), IsOk());
    Trainer trainer = AttachReady("job");
    for (int64_t step = 0; step < kSteps; step += 100) {
      v1::ReportBatch batch = Reports(step, step + 99);
      for (v1::StepReport& report : *batch.mutable_reports()) {
        report.set_loss(report.step() == kSpike ? 1e9 : report.step() == kBad ? NAN : 1);
        report.mutable_tensors(0)->set_l2_norm(static_cast<float>(report.step()));
        if (report.step() % 16 == 0) report.mutable_tensors(0)->mutable_histogram()->set_zero_count(report.step());
      }
      Report(trainer, std::move(batch));
    }
    SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  }

  absl::StatusOr<Response> Query(const std::function<void(Request&)>& change) {
    Request request;
    request.set_job_id("job");
    change(request);
    return Ask(&Api::QueryStatistics, request);
  }
  Response MustQuery(const std::function<void(Request&)>& change) {
    const auto response = Query(change);
    EXPECT_THAT(response, IsOk());
    return response.ok() ? *response : Response();
  }
  std::string TensorName() { return Get("job").tensors(0).name(); }
};

TEST_F(StatisticsAnswerTest, TheJobsOwnSeriesOverAllStepsInAtMostAThousandPoints) {
  RunLongJob();
  const Response answer = MustQuery([](Request&) {});
  EXPECT_EQ(answer.attempt(), 1);
  ASSERT_THAT(answer.series(), SizeIs(8));
  EXPECT_EQ(answer.series(0).name(), "loss");
  ASSERT_LE(answer.first_steps_size(), 1000);
  ASSERT_EQ(answer.last_steps_size(), answer.first_steps_size());
  EXPECT_EQ(answer.first_steps(0), 0);
  EXPECT_EQ(answer.last_steps(answer.last_steps_size() - 1), kSteps - 1);
  for (const v1::StatisticsSeries& series : answer.series()) {
    EXPECT_THAT(series.min(), SizeIs(answer.first_steps_size())) << series.name();
    EXPECT_THAT(series.max(), SizeIs(answer.first_steps_size())) << series.name();
    EXPECT_THAT(series.last(), SizeIs(answer.first_steps_size())) << series.name();
    EXPECT_THAT(series.mean(), IsEmpty()) << "nobody asked for it";
    EXPECT_THAT(series.count(), IsEmpty());
  }
  EXPECT_THAT(answer.series(2).non_finite(), IsEmpty()) << "grad_norm: all were finite";
  EXPECT_FALSE(answer.series(0).has_newest());
  EXPECT_THAT(answer.next_page_token(), IsEmpty());
  EXPECT_THAT(answer.gaps(), IsEmpty());
}

// The contract of thinning, at every resolution.
TEST_F(StatisticsAnswerTest, ASpikeAndANanAreInEveryAnswer) {
  RunLongJob();
  for (int points = 1; points <= 10'000; points = points * 3 + 1) {
    const Response answer = MustQuery([points](Request& request) {
      request.set_max_points(points);
      request.add_series("loss");
      for (const auto aggregate : {Request::AGGREGATE_MAX, Request::AGGREGATE_MEAN, Request::AGGREGATE_COUNT}) {
        request.add_aggregates(aggregate);
      }
    });
    ASSERT_THAT(answer.series(), SizeIs(1));
    const v1::StatisticsSeries& loss = answer.series(0);
    EXPECT_LE(answer.first_steps_size(), points);
    int64_t count = 0, bad = 0;
    for (int i = 0; i < answer.first_steps_size(); ++i) {
      const bool has_spike = answer.first_steps(i) <= kSpike && kSpike <= answer.last_steps(i);
      EXPECT_EQ(loss.max(i) == 1e9, has_spike) << points;
      const auto finite = static_cast<double>(loss.count(i));
      if (has_spike) {
        EXPECT_DOUBLE_EQ(loss.mean(i), (1e9 + finite - 1) / finite);
      }
      count += loss.count(i);
      bad += loss.non_finite(i);
    }
    EXPECT_EQ(count, kSteps - 1) << points;
    EXPECT_EQ(bad, 1) << points;
    EXPECT_THAT(loss.min(), IsEmpty());
  }
}

TEST_F(StatisticsAnswerTest, SmallRangesAreTheReportsThemselves) {
  RunLongJob();
  const Response answer = MustQuery([this](Request& request) {
    request.set_first_step(100);
    request.set_last_step(109);
    request.add_series(absl::StrCat("tensor/", TensorName(), "/norm"));
  });
  EXPECT_THAT(answer.first_steps(), ElementsAre(100, 101, 102, 103, 104, 105, 106, 107, 108, 109));
  ASSERT_THAT(answer.parts(), SizeIs(1));
  EXPECT_EQ(answer.parts(0).stored_steps(), 1);
  ASSERT_THAT(answer.series(), SizeIs(1));
  EXPECT_THAT(answer.series(0).last(), ElementsAre(100, 101, 102, 103, 104, 105, 106, 107, 108, 109));
}

TEST_F(StatisticsAnswerTest, NewestValuesAndHistogramsNeedNoPoints) {
  RunLongJob();
  const Response newest = MustQuery([](Request& request) {
    request.set_newest(true);
    request.add_series("tensor/*/norm");
    request.add_series("loss");
  });
  EXPECT_THAT(newest.first_steps(), IsEmpty());
  EXPECT_EQ(newest.series(0).newest(), 1);
  EXPECT_EQ(newest.series(1).newest(), kSteps - 1);
  const Response histograms = MustQuery([](Request& request) {
    request.set_histograms(true);
    request.set_first_step(10);
    request.set_last_step(40);
    request.add_series("tensor/*/norm");
  });
  ASSERT_THAT(histograms.histograms(), SizeIs(2));
  EXPECT_EQ(histograms.histograms(0).step(), 16);
  EXPECT_EQ(histograms.histograms(1).histogram().zero_count(), 32);
}

// All series of the job in as many points as may be are several pages.
TEST_F(StatisticsAnswerTest, PagesGoOnWhereTheyStoppedAndBelongToTheirQuestion) {
  RunLongJob();
  Request request;
  request.set_job_id("job");
  request.set_max_points(10'000);
  request.add_series("*");
  std::vector<std::string> names;
  Response page;
  int pages = 0;
  do {
    request.set_page_token(page.next_page_token());
    const auto answer = Ask(&Api::QueryStatistics, request);
    ASSERT_THAT(answer, IsOk());
    if (pages > 0) {
      EXPECT_EQ(answer->first_steps_size(), page.first_steps_size());
    }
    page = *answer;
    EXPECT_LE(page.ByteSizeLong(), size_t{5} << 18) << "about a mebibyte";
    for (const v1::StatisticsSeries& series : page.series()) names.push_back(series.name());
    ++pages;
  } while (!page.next_page_token().empty());
  EXPECT_GT(pages, 1);
  std::sort(names.begin(), names.end());
  EXPECT_TRUE(std::adjacent_find(names.begin(), names.end()) == names.end());
  ASSERT_FALSE(request.page_token().empty());
  request.set_first_step(1);
  const auto other = Ask(&Api::QueryStatistics, request);
  EXPECT_THAT(other, StatusIs(Code::kInvalidArgument, HasSubstr("page_token")));
  EXPECT_EQ(core::GetReason(other.status()), "BAD_PAGE_TOKEN");
}

TEST_F(StatisticsAnswerTest, WhatIsWrongIsNamed) {
  RunLongJob();
  const auto refuses = [this](const std::function<void(Request&)>& change, const std::string& field) {
    const auto answer = Query(change);
    EXPECT_THAT(answer, StatusIs(Code::kInvalidArgument, HasSubstr(field)));
    EXPECT_EQ(core::GetReason(answer.status()), "FIELD_VIOLATION") << field;
  };
  refuses([](Request& r) { r.set_attempt(-1); }, "attempt: -1");
  refuses([](Request& r) { r.set_first_step(-1); }, "first_step: -1");
  refuses([](Request& r) { r.set_first_step(5), r.set_last_step(4); }, "last_step: 4");
  refuses([](Request& r) { r.set_max_points(-1); }, "max_points: -1");
  refuses([](Request& r) { r.set_max_points(10'001); }, "max_points: 10001");
  refuses([](Request& r) { r.add_series(""); }, "series[0]");
  refuses([](Request& r) { r.add_series(std::string(257, 'x')); }, "series[0]");
  refuses(
      [](Request& r) {
        while (r.series_size() < 33) r.add_series("loss");
      },
      "series: 33");
  refuses([](Request& r) { r.add_series("loss"), r.add_series("tensor/nosuch/*"); }, "series[1]");
  refuses([](Request& r) { r.add_aggregates(Request::AGGREGATE_UNSPECIFIED); }, "aggregates[0]");
  refuses([](Request& r) { r.add_aggregates(static_cast<Request::Aggregate>(77)); }, "aggregates[0]");
  EXPECT_THAT(Query([](Request& r) { r.set_job_id("nobody"); }), StatusIs(Code::kNotFound, _));
  const auto attempt = Query([](Request& r) { r.set_attempt(2); });
  EXPECT_THAT(attempt, StatusIs(Code::kNotFound, HasSubstr("no attempt 2")));
  EXPECT_EQ(core::GetReason(attempt.status()), "ATTEMPT_NOT_FOUND");
}

TEST_F(StatisticsAnswerTest, AJobThatHasNotBegunHasNothing) {
  ASSERT_THAT(Create("job"), IsOk());
  const Response answer = MustQuery([](Request&) {});
  EXPECT_EQ(answer.attempt(), Get("job").attempt());
  EXPECT_THAT(answer.first_steps(), IsEmpty());
}

TEST_F(StatisticsAnswerTest, WhatTheTrainerLostIsAGap) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  Report(trainer, 0, 9);
  v1::ReportBatch batch = Reports(20, 29);
  v1::StepRange* const lost = batch.add_lost();
  lost->set_first_step(10);
  lost->set_last_step(19);
  Report(trainer, std::move(batch));
  const Response answer = MustQuery([](Request& request) { request.set_last_step(14); });
  ASSERT_THAT(answer.gaps(), SizeIs(1));
  EXPECT_EQ(answer.gaps(0).attempt(), 1);
  EXPECT_EQ(answer.gaps(0).first_step(), 10);
  EXPECT_EQ(answer.gaps(0).last_step(), 14);
  EXPECT_FALSE(answer.gaps(0).reason().empty());
}

TEST_F(StatisticsAnswerTest, AQuestionThatNobodyWaitsForEnds) {
  RunLongJob();
  Request request;
  request.set_max_points(10'000);
  int asked = 0;
  const auto wanted = [&asked] { return ++asked < 5 ? absl::OkStatus() : absl::CancelledError("gone"); };
  EXPECT_THAT(QueryStatistics(statistics_.get(), Get("job"), request, wanted), StatusIs(Code::kCancelled, "gone"));
  EXPECT_EQ(asked, 5);
}

TEST_F(StatisticsAnswerTest, QuestionsHoldNoQuickCallsUp) {
  RunLongJob();
  absl::Notification go_on, answered;
  questions_.Run([&go_on] { go_on.WaitForNotification(); });
  Request request;
  request.set_job_id("job");
  api_->QueryStatistics(request, {.name = "tester"}, [&answered](const absl::StatusOr<Response>& answer) {
    EXPECT_THAT(answer, IsOk());
    answered.Notify();
  });
  v1::GetJobRequest quick;
  quick.set_job_id("job");
  for (int i = 0; i < 4; ++i) EXPECT_THAT(Ask(&Api::GetJob, quick), IsOk());
  EXPECT_FALSE(answered.HasBeenNotified());
  go_on.Notify();
  answered.WaitForNotification();
}

TEST_F(StatisticsAnswerTest, ManyGapsHideNoDamage) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  Report(trainer, 0, 0);
  std::vector<EncodedReport> entries;
  for (int64_t step = 1; step < 6'000; step += 2) {
    entries.push_back(EncodeLost(1, step, step, step > 4'000 ? kDamagedReason : "away"));
    entries.push_back(MakeReport(1, step + 1));
  }
  ASSERT_THAT(AppendAndWait(*statistics_, Get("job").uid(), std::move(entries)), IsOk());
  const Response answer = MustQuery([](Request&) {});
  ASSERT_THAT(answer.gaps(), SizeIs(1'000));
  EXPECT_THAT(answer.gaps(499).reason(), "some of these steps, in 1501 ranges");
  EXPECT_EQ(answer.gaps(499).last_step(), 3'999);
  EXPECT_EQ(answer.gaps(500).first_step(), 4'001);
  EXPECT_EQ(answer.gaps(500).reason(), kDamagedReason);
  EXPECT_EQ(answer.gaps(999).reason(), "what was stored is damaged: some of these steps, in 501 ranges");
  EXPECT_EQ(answer.gaps(999).last_step(), 5'999);
  Settle();
  EXPECT_THAT(Log("job"), Contains(HasSubstr(kDamagedReason))) << "an event says so, too";
}

}  // namespace
}  // namespace gradwatch::server
