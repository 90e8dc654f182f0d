#include "server/history/statistics_query.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "server/history/conflated_ranges.h"
#include "server/history/encoded_report.h"
#include "tests/server/history/memory_history.h"

namespace gradwatch::server {
namespace {

using Random = std::mt19937_64;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kSteps = 100'000;
constexpr int64_t kSpike = 31'415, kBad = 77'777;  // steps
constexpr float kSpikeNorm = 1e9f;
constexpr StepRange kLostSteps = {.first = 40'000, .last = 40'499};

uint64_t Bits(double value) { return std::bit_cast<uint64_t>(std::isnan(value) ? kNan : value); }

// Of the series of this test.
v1::StepReport ReportAt(Random& random, int64_t step) {
  const auto any = [&random] { return static_cast<float>(random() % 100'000) * 1e-3f; };
  v1::StepReport report;
  report.set_attempt(1);
  report.set_step(step);
  report.set_loss(random() % 5000 == 0 ? INFINITY : any());
  if (random() % 50 != 0) report.set_grad_norm(any());
  if (random() % 3000 == 0) report.set_nan_count(3);
  report.set_learning_rate(0.1);
  if (step % 100 == 0) report.mutable_validation()->set_loss(any());
  if (step > 20'000 && random() % 2 == 0) report.mutable_clip()->set_threshold(any());
  if (step % 3 == 1 && step != kSpike && step != kBad) return report;  // not all have tensors
  for (int i = 0; i < 3; ++i) {
    v1::TensorStats* const tensor = report.add_tensors();
    tensor->set_tensor(i);
    tensor->set_l2_norm(step == kSpike && i == 1 ? kSpikeNorm : step == kBad && i == 1 ? NAN : any());
    if (i != 2) tensor->set_max_abs(any());
    if (random() % 2000 == 0) tensor->set_pos_inf_count(1);
    if (step % 16 != 0) continue;
    tensor->mutable_histogram()->set_zero_count(step);
    tensor->mutable_histogram()->add_positive_counts(i);
  }
  v1::LayerStats* const layer = report.add_layers();
  layer->set_name("relu0");
  if (random() % 4 != 0) layer->set_dead(any());
  return report;
}

const SeriesNames& Names() {
  static const auto& names = *new SeriesNames{.tensors = {"w0", "w1", "w2"}, .layers = {"relu0"}};
  return names;
}

// A series step by step: the oracle.
struct Said {
  bool has = false, bad = false;
  double value = 0;
};
using Told = std::map<std::string, std::vector<Said>>;

void Tell(const v1::StepReport& report, Told* told) {
  const auto say = [&](const std::string& name, bool has, double value, bool bad = false) {
    std::vector<Said>& steps = (*told)[name];
    steps.resize(kSteps);
    steps[static_cast<size_t>(report.step())] = {.has = has, .bad = bad, .value = has ? value : 0};
  };
  const bool bad = report.nan_count() > 0;
  say("loss", true, report.loss());
  say("grad_norm", report.has_grad_norm(), report.grad_norm(), bad);
  say("validation_loss", report.has_validation(), report.validation().loss());
  say("threshold", report.clip().has_threshold(), report.clip().threshold());
  say("learning_rate", true, report.learning_rate());
  say("step_seconds", true, 0);
  say("norm_after", false, 0);
  say("non_finite", true, static_cast<double>(report.nan_count()), bad || !std::isfinite(report.loss()));
  for (const v1::TensorStats& tensor : report.tensors()) {
    const std::string name = absl::StrCat("tensor/w", tensor.tensor(), "/");
    say(name + "norm", tensor.has_l2_norm(), tensor.l2_norm(), tensor.pos_inf_count() > 0);
    say(name + "max_abs", tensor.has_max_abs(), tensor.max_abs(), tensor.pos_inf_count() > 0);
    say(name + "mean", false, 0, tensor.pos_inf_count() > 0);
  }
  for (const v1::LayerStats& layer : report.layers()) say("layer/relu0/dead", layer.has_dead(), layer.dead());
}

Bucket BucketOf(const std::vector<Said>& steps, const StepRange& range) {
  Bucket bucket;
  for (int64_t i = range.first; i <= std::min(range.last, kSteps - 1); ++i) {
    const Said& said = steps[static_cast<size_t>(i)];
    bucket.Add(said.has ? std::optional<double>(said.value) : std::nullopt, said.bad);
  }
  return bucket;
}

void ExpectSame(const Bucket& got, const Bucket& wanted) {
  EXPECT_EQ(got.count, wanted.count);
  EXPECT_EQ(got.non_finite, wanted.non_finite);
  EXPECT_EQ(Bits(got.min), Bits(wanted.min));
  EXPECT_EQ(Bits(got.max), Bits(wanted.max));
  EXPECT_EQ(Bits(got.last), Bits(wanted.last));
  EXPECT_NEAR(got.sum, wanted.sum, 1e-6 * std::abs(wanted.sum) + 1e-6);
}

// 100,000 steps, of which 500 are lost; made once, copied where something is to be missing.
class StatisticsQueryTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    Random random(1);
    told_ = new Told;
    full_ = new MemoryHistory;
    figures_ = new std::vector<StepFigures>;
    for (int64_t step = 0; step < kSteps; ++step) {
      if (kLostSteps.Has(step)) continue;
      const v1::StepReport report = ReportAt(random, step);
      Tell(report, told_);
      full_->Add(report);
      figures_->push_back(FiguresOf(report));
    }
    full_->Lose(kLostSteps, "the trainer could not keep them");
  }
  void TearDown() override { full_->Restore(); }
  static void TearDownTestSuite() {
    delete told_;
    delete full_;
    delete figures_;
  }

  static StatisticsAnswer Ask(const StatisticsQuestion& question, MemoryHistory* history) {
    const auto answer = AnswerQuestion(question, Names(), history);
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? *answer : StatisticsAnswer();
  }

  // Points are disjoint, rise, and have every step of the range that is kept anywhere.
  static void ExpectPointsCover(const StatisticsAnswer& answer, const StatisticsQuestion& question,
                                const MemoryHistory& history) {
    ASSERT_LE(static_cast<int64_t>(answer.points.size()), question.max_points);
    for (size_t i = 0; i < answer.points.size(); ++i) {
      ASSERT_FALSE(answer.points[i].empty());
      ASSERT_TRUE(i == 0 || answer.points[i - 1].last < answer.points[i].first);
    }
    StepRanges kept;
    for (const int64_t level : kLevels) {
      for (const StepRange& range : Common(history.Kept(level), question.steps)) kept.push_back(range);
    }
    EXPECT_TRUE(Without(Together(kept), answer.points).empty());
  }

  static void ExpectAsTold(const StatisticsAnswer& answer) {
    for (const SeriesAnswer& series : answer.series) {
      const auto told = told_->find(series.series.name);
      ASSERT_EQ(series.points.size(), answer.points.size());
      for (size_t i = 0; i < answer.points.size(); ++i) {
        ExpectSame(series.points[i], told == told_->end() ? Bucket() : BucketOf(told->second, answer.points[i]));
        if (HasFailure()) FAIL() << series.series.name << ", " << answer.points[i].first;
      }
    }
  }

  // Rows and batches by the number of points, never by that of steps.
  static void ExpectCostOfAnswer(const StatisticsQuestion& question, const MemoryHistory& history) {
    const int64_t buckets = 8 * question.max_points + 2;
    EXPECT_LE(history.batches_read, buckets / kBlockSteps + 3);
    // Of up to eight groups; and what is not yet merged of each level.
    EXPECT_LE(history.rows_read, 8 * (buckets / 256 + 2 + 3 * 16));
  }

  // `questions` of random series, ranges and numbers of points.
  static void ExpectAnswers(uint64_t seed, int questions, MemoryHistory* history) {
    Random random(seed);
    const std::vector<std::string> globs = {
        "loss",          "grad_norm",         "*_loss",  "non_finite", "tensor/w1/norm",
        "tensor/*/norm", "tensor/w?/max_abs", "layer/*", "threshold"};
    for (int i = 0; i < questions; ++i) {
      StatisticsQuestion question;
      question.series = {globs[random() % globs.size()], globs[random() % globs.size()]};
      const auto steps = static_cast<int64_t>(std::exp2(std::uniform_real_distribution<>(0, 17)(random)));
      question.steps.first = static_cast<int64_t>(random() % kSteps);
      question.steps.last = question.steps.first + steps - 1;
      question.max_points = static_cast<int64_t>(std::exp2(std::uniform_real_distribution<>(0, 10)(random)));
      history->rows_read = history->batches_read = 0;
      const StatisticsAnswer answer = Ask(question, history);
      ExpectPointsCover(answer, question, *history);
      ExpectAsTold(answer);
      ExpectCostOfAnswer(question, *history);
      ASSERT_FALSE(answer.next.has_value());
      if (HasFailure()) {
        FAIL() << "question " << i << ": " << question.steps.first << " to " << question.steps.last << ", "
               << question.max_points << " points of " << question.series[0] << " and " << question.series[1];
      }
    }
  }

  static Told* told_;
  static MemoryHistory* full_;
  static std::vector<StepFigures>* figures_;
};
Told* StatisticsQueryTest::told_ = nullptr;
MemoryHistory* StatisticsQueryTest::full_ = nullptr;
std::vector<StepFigures>* StatisticsQueryTest::figures_ = nullptr;

TEST_F(StatisticsQueryTest, AnyQuestionIsAnsweredAsTheReportsSay) { ExpectAnswers(2, 10'000, full_); }

TEST_F(StatisticsQueryTest, CoarserLevelsAnswerWhereRetentionWas) {
  // Reports but the newest, and those around an alert; then the lowest tiers of half the steps.
  full_->Drop(1, {.first = 0, .last = 20'479});
  full_->Drop(1, {.first = 21'248, .last = 89'855});
  ExpectAnswers(3, 1000, full_);
  full_->Drop(16, {.first = 0, .last = 49'151});
  ExpectAnswers(4, 1000, full_);
  StatisticsQuestion question;
  question.steps = {.first = 20'300, .last = 20'600};
  const StatisticsAnswer answer = Ask(question, full_);
  ASSERT_EQ(answer.parts.size(), 2u);
  EXPECT_EQ(answer.parts[0].level, 256);
  EXPECT_EQ(answer.parts[0].steps, (StepRange{20'224, 20'479}));
  EXPECT_EQ(answer.parts[1].level, 1);
  EXPECT_EQ(answer.points[0], answer.parts[0].steps);  // rounded outwards, and told
}

TEST_F(StatisticsQueryTest, OneSpikeAndOneNanAreInEveryAnswer) {
  for (const bool dropped : {false, true}) {
    if (dropped) full_->Drop(1, {.first = 0, .last = 99'839});
    for (int64_t points = 1; points <= 10'000; points = points * 3 / 2 + 1) {
      StatisticsQuestion question;
      question.series = {"tensor/w1/norm"};
      question.max_points = points;
      const StatisticsAnswer answer = Ask(question, full_);
      int spikes = 0, bad = 0;
      for (size_t i = 0; i < answer.points.size(); ++i) {
        const Bucket& bucket = answer.series[0].points[i];
        if (answer.points[i].Has(kSpike)) spikes += bucket.max == kSpikeNorm ? 1 : 0;
        if (answer.points[i].Has(kBad)) bad += bucket.non_finite > 0 ? 1 : 0;
      }
      EXPECT_EQ(spikes, 1) << points;
      EXPECT_EQ(bad, 1) << points;
    }
  }
}

TEST_F(StatisticsQueryTest, TakesTheCoarsestLevelThatGivesThePoints) {
  const auto level_of = [](int64_t steps, int64_t points) {
    StatisticsQuestion question;
    question.steps = {.first = 0, .last = steps - 1};
    question.max_points = points;
    return Ask(question, full_).level;
  };
  EXPECT_EQ(level_of(1000, 1000), 1);
  EXPECT_EQ(level_of(8000, 1000), 1);
  EXPECT_EQ(level_of(9000, 1000), 16);
  EXPECT_EQ(level_of(100'000, 1000), 16);
  EXPECT_EQ(level_of(100'000, 500), 256);
  EXPECT_EQ(level_of(100'000, 10), 4096);
}

TEST_F(StatisticsQueryTest, NoPageReadsTheReportsOfManyBlocks) {
  StatisticsQuestion question;
  question.series = {"loss"};
  question.max_points = 10'000;
  for (const int64_t steps : {16'384, 16'385, 80'000}) {
    question.steps = {.first = 0, .last = steps - 1};
    full_->rows_read = full_->batches_read = 0;
    EXPECT_EQ(Ask(question, full_).level, steps <= 16'384 ? 1 : 16);
    EXPECT_LE(full_->batches_read, 64) << steps;
  }
}

TEST_F(StatisticsQueryTest, PointsStayWhereTheyAreWhenTheRangeMoves) {
  StatisticsQuestion question;
  question.max_points = 100;
  question.steps = {.first = 50'000, .last = 59'999};
  const std::vector<StepRange> before = Ask(question, full_).points;
  question.steps = {.first = 50'050, .last = 60'049};
  const std::vector<StepRange> after = Ask(question, full_).points;
  for (size_t i = 1; i + 2 < before.size(); ++i) {
    EXPECT_NE(std::find(after.begin(), after.end(), before[i]), after.end());
  }
}

TEST_F(StatisticsQueryTest, OnlyChosenAggregatesAreRead) {
  StatisticsQuestion question;
  question.series = {"tensor/*/norm"};
  question.max_points = 300;
  const StatisticsAnswer all = Ask(question, full_);
  question.aggregates = MaskOf(Aggregate::kMax);
  const StatisticsAnswer max = Ask(question, full_);
  for (size_t i = 0; i < all.series.size(); ++i) {
    for (size_t j = 0; j < all.points.size(); ++j) {
      const Bucket &whole = all.series[i].points[j], &part = max.series[i].points[j];
      ASSERT_EQ(Bits(part.max), Bits(whole.max));
      ASSERT_EQ(part.count, whole.count);
      ASSERT_EQ(part.non_finite, whole.non_finite);
      ASSERT_TRUE(std::isnan(part.min) && std::isnan(part.last));
      ASSERT_EQ(part.sum, 0);
    }
  }
}

TEST_F(StatisticsQueryTest, PagesTogetherAreTheAnswer) {
  StatisticsQuestion question;
  question.series = {"tensor/*", "loss"};
  question.max_points = 200;
  const StatisticsAnswer whole = Ask(question, full_);
  question.page_bytes = 10'000;
  std::vector<SeriesAnswer> series;
  int pages = 0;
  for (bool more = true; more; ++pages) {
    StatisticsAnswer page = Ask(question, full_);
    EXPECT_EQ(page.points, whole.points);
    for (SeriesAnswer& one : page.series) series.push_back(std::move(one));
    more = page.next.has_value();
    if (more) question.page = *page.next;
  }
  EXPECT_GT(pages, 3);
  ASSERT_EQ(series.size(), whole.series.size());
  for (size_t i = 0; i < series.size(); ++i) {
    EXPECT_EQ(series[i].series.name, whole.series[i].series.name);
    for (size_t j = 0; j < whole.points.size(); ++j) ExpectSame(series[i].points[j], whole.series[i].points[j]);
  }
  question.page.series = 1000;
  EXPECT_EQ(AnswerQuestion(question, Names(), full_).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(StatisticsQueryTest, TheNewestValuesCostAFewRows) {
  StatisticsQuestion question;
  question.series = {"tensor/*/norm", "validation_loss", "norm_after"};
  question.max_points = 0;
  question.newest = true;
  full_->rows_read = full_->batches_read = 0;
  const StatisticsAnswer answer = Ask(question, full_);
  EXPECT_LE(full_->rows_read, 2 * 50);
  EXPECT_LE(full_->batches_read, 1);
  EXPECT_TRUE(answer.points.empty());
  ASSERT_EQ(answer.series.size(), 5u);
  for (const SeriesAnswer& series : answer.series) {
    const Bucket told = BucketOf((*told_)[series.series.name], {.first = kSteps - kNewestSteps, .last = kSteps - 1});
    ASSERT_EQ(series.newest.has_value(), !told.empty()) << series.series.name;
    EXPECT_EQ(Bits(series.newest.value_or(kNan)), Bits(told.last)) << series.series.name;
  }
}

TEST_F(StatisticsQueryTest, HistogramsByStepComeInPages) {
  StatisticsQuestion question;
  question.series = {"tensor/w0/norm", "tensor/w2/norm"};
  question.steps = {.first = 96'100, .last = kSteps};
  question.max_points = 0;
  question.histograms = true;
  question.page_bytes = 500;
  std::vector<HistogramAt> histograms;
  int pages = 0;
  for (bool more = true; more; ++pages) {
    const StatisticsAnswer page = Ask(question, full_);
    histograms.insert(histograms.end(), page.histograms.begin(), page.histograms.end());
    more = page.next.has_value();
    if (more) question.page = *page.next;
  }
  EXPECT_GT(pages, 5);
  size_t at = 0;
  for (int64_t step = 96'112; step < kSteps; step += 16) {
    if (step % 3 == 1) continue;
    for (const int32_t tensor : {0, 2}) {
      ASSERT_LT(at, histograms.size());
      EXPECT_EQ(histograms[at].step, step);
      EXPECT_EQ(histograms[at].tensor, tensor);
      EXPECT_EQ(histograms[at].histogram.zero_count(), step);
      EXPECT_EQ(histograms[at++].histogram.positive_counts(0), tensor);
    }
  }
  EXPECT_EQ(at, histograms.size());
}

TEST_F(StatisticsQueryTest, WhatIsDamagedIsToldAndAnsweredFromAnotherLevel) {
  full_->Damage(1, {.first = 50'176, .last = 50'431});
  full_->Damage(16, {.first = 61'440, .last = 65'535});
  ExpectAnswers(5, 500, full_);
  StatisticsQuestion question;
  question.steps = {.first = 50'000, .last = 50'999};
  const StatisticsAnswer reports = Ask(question, full_);
  ASSERT_EQ(reports.gaps.size(), 1u);
  EXPECT_EQ(reports.gaps[0].steps, (StepRange{50'176, 50'431}));
  EXPECT_EQ(reports.parts[1].level, 16);
  full_->Damage(16, {.first = 49'152, .last = 53'247});
  full_->Damage(256, {.first = 0, .last = kSteps});
  full_->Damage(4096, {.first = 0, .last = kSteps});
  const StatisticsAnswer nothing = Ask(question, full_);
  ExpectAsTold(nothing);
  EXPECT_EQ(nothing.points.size(), 1000u - 256u);
  ASSERT_EQ(nothing.gaps.size(), 1u);
  EXPECT_TRUE(nothing.gaps[0].steps.Has(50'300));
}

// Rows are of one group of series: a page that has none of it does not know of the damage.
TEST_F(StatisticsQueryTest, PointsAreTheSameOnAllPagesWhateverIsDamaged) {
  const auto read = [](std::vector<std::string> series, size_t page_bytes, std::vector<LostSteps>* gaps) {
    StatisticsQuestion question;
    question.series = std::move(series);
    question.steps = {.first = 50'000, .last = 69'999};
    question.max_points = 200;
    question.page_bytes = page_bytes;
    StatisticsAnswer all = Ask(question, full_);
    *gaps = all.gaps;
    for (auto next = all.next; next.has_value();) {
      question.page = *next;
      StatisticsAnswer page = Ask(question, full_);
      EXPECT_EQ(page.points, all.points);
      for (SeriesAnswer& one : page.series) all.series.push_back(std::move(one));
      gaps->insert(gaps->end(), page.gaps.begin(), page.gaps.end());
      next = page.next;
    }
    return all;
  };
  full_->Damage(16, {.first = 61'440, .last = 65'535}, TierGroup::kTensorMaxAbs);
  std::vector<LostSteps> gaps;
  ExpectAsTold(read({"loss", "tensor/*"}, 10'000, &gaps));
  EXPECT_TRUE(gaps.empty()) << "the reports are kept";
  full_->Drop(1, {.first = 0, .last = 99'839});
  const StatisticsAnswer answer = read({"loss", "tensor/*"}, 10'000, &gaps);
  ASSERT_FALSE(gaps.empty());
  for (const LostSteps& gap : gaps) {
    EXPECT_EQ(gap.steps, (StepRange{61'440, 65'535}));
    EXPECT_EQ(gap.reason, kDamagedReason);
  }
  for (const SeriesAnswer& series : answer.series) {
    if (series.series.group == TierGroup::kTensorMaxAbs) continue;
    for (size_t i = 0; i < answer.points.size(); ++i) {
      ExpectSame(series.points[i], told_->contains(series.series.name)
                                       ? BucketOf((*told_)[series.series.name], answer.points[i])
                                       : Bucket());
    }
  }
}

TEST_F(StatisticsQueryTest, WhatWasSentAgainCountsOnce) {
  MemoryHistory history;
  for (int64_t step = 0; step < 2 * kBlockSteps + 10; ++step) {
    v1::StepReport report;
    report.set_step(step);
    report.set_loss(static_cast<double>(step));
    if (step != 70) history.Add(report);  // it was on its way for long
    report.set_loss(-1);
    if (step == 70 || step == 255 || step == 300) history.AddAgain(report);
  }
  StatisticsQuestion question;
  question.series = {"loss"};
  const StatisticsAnswer answer = Ask(question, &history);
  ASSERT_EQ(answer.points.size(), 2u * kBlockSteps + 10);
  for (int64_t step = 0; step < 2 * kBlockSteps + 10; ++step) {
    const Bucket& loss = answer.series[0].points[static_cast<size_t>(step)];
    EXPECT_EQ(loss.count, 1);
    EXPECT_EQ(loss.last, step == 70 || step == 255 || step == 300 ? -1 : static_cast<double>(step));
  }
}

TEST_F(StatisticsQueryTest, WhatTheTrainerLostIsAGap) {
  StatisticsQuestion question;
  question.steps = {.first = 40'100, .last = 60'000};
  const StatisticsAnswer answer = Ask(question, full_);
  ASSERT_EQ(answer.gaps.size(), 1u);
  EXPECT_EQ(answer.gaps[0].steps, (StepRange{40'100, 40'499}));
  EXPECT_EQ(answer.gaps[0].reason, "the trainer could not keep them");
}

TEST_F(StatisticsQueryTest, ReadsSomeReportsAndEachBlockOnce) {
  ReportChoice choice = ReportChoice::Nothing();
  choice.report |= ReportField("loss");
  const auto read = [&](std::vector<int64_t> steps) {
    std::vector<int64_t> found;
    full_->batches_read = 0;
    EXPECT_TRUE(ReadReports(steps, choice, full_, [&found](const v1::StepReport& report) {
                  found.push_back(report.step());
                  EXPECT_EQ(Bits(report.loss()), Bits((*told_)["loss"][static_cast<size_t>(report.step())].value));
                  EXPECT_EQ(report.tensors_size(), 0);
                }).ok());
    return found;
  };
  const std::vector<int64_t> wanted = {0, 1, 5, 255, 256, kSpike, kSpike + 1, kSteps - 1};
  EXPECT_EQ(read(wanted), wanted);
  EXPECT_EQ(full_->batches_read, 3) << "the last step is in no batch yet";
  EXPECT_EQ(read({kLostSteps.first, kLostSteps.last + 1, 2 * kSteps}), std::vector<int64_t>{kLostSteps.last + 1});
  EXPECT_TRUE(read({}).empty());
  full_->Drop(1, {.first = 0, .last = 255});
  EXPECT_EQ(read({3, 300}), std::vector<int64_t>{300});
  full_->Damage(1, {.first = 256, .last = 511});
  EXPECT_EQ(read({300, 600}), std::vector<int64_t>{600});
}

TEST_F(StatisticsQueryTest, NothingKeptIsNoAnswerAndNoError) {
  StatisticsQuestion question;
  question.steps = {.first = 2 * kSteps, .last = 3 * kSteps};
  EXPECT_TRUE(Ask(question, full_).points.empty());
  MemoryHistory empty;
  question.steps = {.first = 0, .last = std::numeric_limits<int64_t>::max()};
  question.newest = question.histograms = true;
  EXPECT_TRUE(Ask(question, &empty).points.empty());
}

TEST_F(StatisticsQueryTest, AGlobThatMatchesNothingIsRefused) {
  StatisticsQuestion question;
  question.series = {"loss", "tensor/w9/*"};
  const absl::Status status = AnswerQuestion(question, Names(), full_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(core::GetFieldViolations(status).at(0).field, "series[1]");
  EXPECT_EQ(Ask({}, full_).series.size(), kJobSeries);
}

// What comes between two pages is not in the second, though the newest block is closed meanwhile, and has tiers.
TEST_F(StatisticsQueryTest, PointsAreTheSameOnAllPagesWhileReportsCome) {
  Random random(11);
  MemoryHistory history;
  int64_t step = 0;
  const auto add_up_to = [&](int64_t last) {
    while (step <= last) history.Add(ReportAt(random, step++));
  };
  add_up_to(5'100);
  StatisticsQuestion question;
  question.series = {"tensor/*", "loss"};
  question.max_points = 200;
  const StatisticsAnswer whole = Ask(question, &history);
  question.page_bytes = 10'000;
  std::vector<SeriesAnswer> series;
  for (bool more = true; more; add_up_to(step + 300)) {
    StatisticsAnswer page = Ask(question, &history);
    EXPECT_EQ(page.points, whole.points);
    for (SeriesAnswer& one : page.series) series.push_back(std::move(one));
    more = page.next.has_value();
    if (more) question.page = *page.next;
  }
  ASSERT_EQ(series.size(), whole.series.size());
  for (size_t i = 0; i < series.size(); ++i) {
    for (size_t j = 0; j < whole.points.size(); ++j) ExpectSame(series[i].points[j], whole.series[i].points[j]);
  }
}

// Wherever a client's ranges come from, they are made of the same numbers, and none has a step of another.
TEST_F(StatisticsQueryTest, ConflatedRangesHideNothing) {
  Random random(7);
  for (int round = 0; round < 500; ++round) {
    const auto first = static_cast<size_t>(random() % figures_->size());
    const auto size = static_cast<size_t>(std::exp2(std::uniform_real_distribution<>(0, 14)(random)));
    const auto ring = std::span(*figures_).subspan(first, std::min(size, figures_->size() - first));
    const auto ranges = static_cast<int64_t>(1 + random() % 64);
    const StepRange steps = {.first = ring.front().step, .last = ring.back().step};
    const auto stored = ConflateStored(steps, ranges, full_);
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_EQ(stored->last_step, steps.last);
    for (const auto& conflated : {Conflate(ring, ranges), stored->ranges}) {
      EXPECT_LE(conflated.size(), static_cast<size_t>(ranges));
      int64_t at = steps.first;
      for (const ConflatedRange& range : conflated) {
        // Nothing between two of them but what is lost.
        ASSERT_GE(range.steps.first, at);
        for (; at < range.steps.first; ++at) ASSERT_TRUE(kLostSteps.Has(at));
        at = range.steps.last + 1;
        Bucket loss = BucketOf((*told_)["loss"], range.steps), norm = BucketOf((*told_)["grad_norm"], range.steps);
        loss.sum = range.loss.sum;  // not asked for
        norm.sum = range.grad_norm.sum;
        ExpectSame(range.loss, loss);
        ExpectSame(range.grad_norm, norm);
        EXPECT_EQ(range.non_finite_steps, BucketOf((*told_)["non_finite"], range.steps).non_finite);
      }
      EXPECT_EQ(at, steps.last + 1);
      ASSERT_FALSE(HasFailure()) << steps.first << " to " << steps.last << ", " << ranges;
    }
  }
}

TEST_F(StatisticsQueryTest, ConflatedRangesAreCutAtMultiplesOfAUnit) {
  for (const int64_t unit : {1, 7, 100}) {
    for (const ConflatedRange& range : Conflate(std::span(*figures_).subspan(1'000, 5'000), 64, unit)) {
      EXPECT_TRUE(range.steps.first == 1'000 || range.steps.first % unit == 0);
      EXPECT_TRUE(range.steps.last == 5'999 || (range.steps.last + 1) % unit == 0);
    }
  }
}

// Also where the unit is no multiple of the buckets that are stored, and where it is far wider than they are.
TEST_F(StatisticsQueryTest, StoredRangesAreCutAtMultiplesOfAUnit) {
  for (const int64_t unit : {2, 7, 48, 100, 1'001, 5'000, 1'000'000}) {
    for (const StepRange steps : {StepRange{1'000, 5'999}, StepRange{1'003, 1'042}, StepRange{12'345, 98'765}}) {
      const auto stored = ConflateStored(steps, 64, full_, unit);
      ASSERT_TRUE(stored.ok());
      EXPECT_LE(stored->ranges.size(), 64u);
      EXPECT_GE(stored->ranges.size(), std::min<size_t>(30, static_cast<size_t>(steps.steps() / unit))) << unit;
      for (const ConflatedRange& range : stored->ranges) {
        EXPECT_TRUE(range.steps.first == steps.first || range.steps.first % unit == 0) << unit;
        EXPECT_TRUE(range.steps.last == steps.last || (range.steps.last + 1) % unit == 0) << unit;
        Bucket loss = BucketOf((*told_)["loss"], range.steps);
        loss.sum = range.loss.sum;  // not asked for
        ExpectSame(range.loss, loss);
      }
      EXPECT_EQ(stored->ranges.front().steps.first, steps.first);
      EXPECT_EQ(stored->ranges.back().steps.last, steps.last);
    }
  }
}

// Where the reports are gone ranges reach over the ends: nothing in them is hidden.
TEST_F(StatisticsQueryTest, ConflatedRangesReachOutWhereReportsAreGone) {
  full_->Drop(1, {.first = 0, .last = 99'839});
  const auto stored = ConflateStored({.first = kSpike - 3, .last = kSpike + 5'000}, 64, full_);
  ASSERT_TRUE(stored.ok());
  const StepRange& first = stored->ranges.front().steps;
  EXPECT_LE(first.first, kSpike - 3);
  ExpectSame(stored->ranges.front().loss, [&] {
    Bucket loss = BucketOf((*told_)["loss"], first);
    loss.sum = stored->ranges.front().loss.sum;
    return loss;
  }());
}

TEST_F(StatisticsQueryTest, ConflatingWhatIsNotThere) {
  const auto lost = ConflateStored(kLostSteps, 64, full_);
  ASSERT_TRUE(lost.ok());
  EXPECT_TRUE(lost->ranges.empty());
  EXPECT_EQ(lost->last_step, kLostSteps.last);
  ASSERT_EQ(lost->lost.size(), 1u);
  EXPECT_EQ(lost->lost[0].steps, kLostSteps);
  EXPECT_EQ(ConflateStored({.first = 2 * kSteps, .last = 3 * kSteps}, 64, full_)->last_step, 2 * kSteps - 1);
  EXPECT_EQ(ConflateStored({.first = 99'000, .last = 3 * kSteps}, 64, full_)->last_step, kSteps - 1);
}

// What went to keep a budget is no loss to who reads ranges, as long as the ranges have it.
TEST(ConflatedRangesTest, ReportsThatWereDroppedAreNoLossWhereTiersAnswer) {
  MemoryHistory history;
  for (int64_t step = 0; step < 3 * 4096; ++step) {
    v1::StepReport report;
    report.set_step(step);
    report.set_loss(static_cast<double>(step));
    history.Add(report);
  }
  history.Drop(1, {.first = 0, .last = 8191});
  history.Lose({.first = 0, .last = 8191}, kDroppedReason);
  history.Lose({.first = 9000, .last = 9001}, "away");
  const StepRange steps = {.first = 100, .last = 3 * 4096 - 1};
  auto stored = ConflateStored(steps, 64, &history);
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(stored->lost, (std::vector<LostSteps>{{{9000, 9001}, "away"}}));
  for (const int64_t level : {16, 256, 4096}) history.Drop(level, {.first = 0, .last = 4095});
  stored = ConflateStored(steps, 64, &history);
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(stored->lost, (std::vector<LostSteps>{{{100, 4095}, kDroppedReason}, {{9000, 9001}, "away"}}));
  EXPECT_EQ(stored->last_step, steps.last);
  for (const int64_t unit : {1, 1000, 10'000}) {
    stored = ConflateStored(steps, 64, &history, unit, /*max_lost=*/1);
    ASSERT_TRUE(stored.ok());
    EXPECT_EQ(stored->lost.size(), 1u);
    EXPECT_EQ(stored->last_step, 8999) << "the last one before it";
  }
  stored = ConflateStored(steps, 64, &history, 800, /*max_lost=*/1);
  EXPECT_EQ(stored->last_step, 8799) << "the last multiple before it";
}

// Where kept and dropped blocks alternate at random, at all levels: no step counts twice, none is passed over.
TEST(QueryPlanTest, AnyRetentionGivesPointsOfWholeBuckets) {
  Random random(8);
  for (int round = 0; round < 20'000; ++round) {
    std::array<StepRanges, kLevels.size()> kept;
    const int64_t end = 65'536 * 3;
    for (size_t level = 0; level < kLevels.size(); ++level) {
      const int64_t unit = level < 2 ? 256 : kLevels[level];
      for (int64_t at = 0; at < end;) {
        const int64_t steps = unit * static_cast<int64_t>(1 + random() % 40);
        if (random() % 3 != 0) kept[level].push_back({.first = at, .last = std::min(end, at + steps) - 1});
        at += steps;
      }
      kept[level] = Together(kept[level]);
    }
    StepRange asked;
    asked.first = static_cast<int64_t>(random() % end);
    asked.last = asked.first + static_cast<int64_t>(std::exp2(std::uniform_real_distribution<>(0, 17)(random)));
    const auto max_points = static_cast<int64_t>(std::exp2(std::uniform_real_distribution<>(0, 11)(random)));
    const QueryPlan plan = PlanQuery(asked, max_points, kept);
    ASSERT_LE(static_cast<int64_t>(plan.points.size()), max_points);
    StepRanges any, parts;
    for (const StepRanges& ranges : kept) {
      for (const StepRange& range : Common(ranges, asked)) any.push_back(range);
    }
    int64_t last = -1;
    for (const LevelRange& part : plan.parts) {
      ASSERT_GT(part.steps.first, last);
      last = part.steps.last;
      ASSERT_EQ(part.steps.first % part.level, 0);
      ASSERT_EQ((part.steps.last + 1) % part.level, 0);
      parts.push_back(part.steps);
      // A bucket lies in one point.
      for (int64_t at = part.steps.first; at <= part.steps.last; at += part.level) {
        const StepRange bucket = {.first = at, .last = at + part.level - 1};
        const auto point = std::find_if(plan.points.begin(), plan.points.end(),
                                        [at](const StepRange& range) { return range.last >= at; });
        ASSERT_NE(point, plan.points.end());
        ASSERT_EQ(Common(*point, bucket), bucket);
        if (part.level == 1) at += static_cast<int64_t>(random() % 64);
      }
    }
    ASSERT_TRUE(Without(Together(any), Together(parts)).empty());
    ASSERT_TRUE(Without(Together(any), plan.points).empty());
  }
}

}  // namespace
}  // namespace gradwatch::server
