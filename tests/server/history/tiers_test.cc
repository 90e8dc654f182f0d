#include "server/history/tiers.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace gradwatch::server {
namespace {

using Random = std::mt19937_64;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

float AnyFloat(Random& random) {
  if (random() % 50 == 0) return random() % 2 == 0 ? std::numeric_limits<float>::quiet_NaN() : -INFINITY;
  return std::ldexp(static_cast<float>(random() % 1000) - 500, static_cast<int>(random() % 40) - 20);
}

v1::StepReport AnyReport(Random& random, int64_t step) {
  v1::StepReport report;
  report.set_step(step);
  report.set_loss(AnyFloat(random));
  if (random() % 5 != 0) report.set_grad_norm(std::abs(AnyFloat(random)));
  if (random() % 9 == 0) report.set_nan_count(2);
  report.set_learning_rate(0.1);
  report.set_step_seconds(1e-3 * static_cast<double>(random() % 100));
  if (random() % 3 == 0) report.mutable_clip()->set_threshold(1);
  if (random() % 3 == 0) report.mutable_clip()->set_norm_after(AnyFloat(random));
  if (random() % 20 == 0) report.mutable_validation()->set_loss(AnyFloat(random));
  if (random() % 7 == 0) return report;  // not all steps have tensors
  for (int i = 0; i < 3; ++i) {
    v1::TensorStats* tensor = report.add_tensors();
    tensor->set_tensor(2 * i);
    if (random() % 5 != 0) tensor->set_l2_norm(AnyFloat(random));
    if (random() % 5 != 0) tensor->set_max_abs(AnyFloat(random));
    if (random() % 9 == 0) tensor->set_pos_inf_count(1);
    if (random() % 5 != 0) tensor->set_mean(AnyFloat(random));
    if (random() % 5 != 0) tensor->set_update_norm(AnyFloat(random));
    tensor->set_weight_norm(3);
  }
  v1::LayerStats* layer = report.add_layers();
  if (random() % 2 == 0) layer->set_saturated(0.25f);
  layer->set_backward_norm(AnyFloat(random));
  return report;
}

// What a report says of a series, written down once more.
struct Said {
  bool has = false;
  double value = 0;
  bool bad = false;
};

Said SaidOf(const v1::StepReport& report, TierGroup group, size_t series) {
  if (group == TierGroup::kJob) {
    switch (static_cast<JobSeries>(series)) {
      case JobSeries::kLoss:
        return {true, report.loss()};
      case JobSeries::kValidationLoss:
        return {report.has_validation(), report.validation().loss()};
      case JobSeries::kGradNorm:
        return {report.has_grad_norm(), report.grad_norm(), report.nan_count() > 0};
      case JobSeries::kNormAfter:
        return {report.clip().has_norm_after(), report.clip().norm_after()};
      case JobSeries::kLearningRate:
        return {true, report.learning_rate()};
      case JobSeries::kThreshold:
        return {report.clip().has_threshold(), report.clip().threshold()};
      case JobSeries::kStepSeconds:
        return {true, report.step_seconds()};
      case JobSeries::kNonFinite:
        return {true, static_cast<double>(report.nan_count()), report.nan_count() > 0 || !std::isfinite(report.loss())};
    }
  }
  if (group == TierGroup::kLayerSaturated && report.layers_size() > 0) {
    return {report.layers(0).has_saturated(), report.layers(0).saturated()};
  }
  if (group == TierGroup::kLayerBackwardNorm && report.layers_size() > 0)
    return {true, report.layers(0).backward_norm()};
  for (const v1::TensorStats& tensor : report.tensors()) {
    if (static_cast<size_t>(tensor.tensor()) != series) continue;
    const bool bad = tensor.pos_inf_count() > 0;
    if (group == TierGroup::kTensorNorm) return {tensor.has_l2_norm(), tensor.l2_norm(), bad};
    if (group == TierGroup::kTensorMaxAbs) return {tensor.has_max_abs(), tensor.max_abs(), bad};
    if (group == TierGroup::kTensorMean) return {tensor.has_mean(), tensor.mean(), bad};
    if (group == TierGroup::kTensorUpdateRatio) {
      return {tensor.has_update_norm(), static_cast<float>(tensor.update_norm() / (3 + 1e-12))};
    }
  }
  return {};
}

uint64_t Bits(double value) { return std::bit_cast<uint64_t>(std::isnan(value) ? kNan : value); }

void ExpectAsReported(const Bucket& bucket, const std::vector<v1::StepReport>& reports, int64_t first, int64_t last,
                      TierGroup group, size_t series) {
  int64_t count = 0, bad = 0;
  double min = kInf, max = -kInf, sum = 0, magnitude = 0, newest = kNan;
  for (const v1::StepReport& report : reports) {
    if (report.step() < first || report.step() > last) continue;
    const Said said = SaidOf(report, group, series);
    if (said.bad || (said.has && !std::isfinite(said.value))) ++bad;
    if (said.has) newest = said.value;
    if (!said.has && said.bad) newest = kNan;
    if (!said.has || !std::isfinite(said.value)) continue;
    ++count;
    min = std::min(min, said.value);
    max = std::max(max, said.value);
    sum += said.value;
    magnitude += std::abs(said.value);
  }
  EXPECT_EQ(bucket.count, count);
  EXPECT_EQ(bucket.non_finite, bad);
  EXPECT_EQ(Bits(bucket.min), Bits(count > 0 ? min : kNan));
  EXPECT_EQ(Bits(bucket.max), Bits(count > 0 ? max : kNan));
  EXPECT_EQ(Bits(bucket.last), Bits(newest));
  EXPECT_NEAR(bucket.sum, sum, 1e-6 * magnitude);
}

// The lowest tiers of blocks, by group.
std::map<TierGroup, std::vector<Tier>> TiersOf(const std::vector<v1::StepReport>& reports, int64_t blocks) {
  std::map<TierGroup, std::vector<Tier>> tiers;
  for (int64_t block = 0; block < blocks; ++block) {
    TierBuilder builder(block * kBlockSteps);
    for (const v1::StepReport& report : reports) {
      if (report.step() / kBlockSteps == block) builder.Add(report);
    }
    for (Tier& tier : builder.Tiers()) tiers[tier.group].push_back(std::move(tier));
  }
  return tiers;
}

void ExpectTier(const Tier& tier, int64_t steps, const std::vector<v1::StepReport>& reports) {
  for (size_t series = 0; series < tier.series; ++series) {
    for (size_t bucket = 0; bucket < tier.buckets; ++bucket) {
      const int64_t first = static_cast<int64_t>(bucket) * steps;
      ExpectAsReported(tier.At(series, bucket), reports, first, first + steps - 1, tier.group, series);
      if (::testing::Test::HasFailure()) {
        FAIL() << "group " << static_cast<int>(tier.group) << ", series " << series << ", bucket " << bucket << " of "
               << steps << " steps";
      }
    }
  }
}

TEST(TiersTest, EveryLevelSaysWhatTheReportsSay) {
  Random random(1);
  std::vector<v1::StepReport> reports;
  for (int64_t step = 0; step < 16 * kBlockSteps; ++step) {
    if (random() % 10 != 0) reports.push_back(AnyReport(random, step));  // some are lost
  }
  const auto tiers = TiersOf(reports, 16);
  EXPECT_EQ(tiers.size(), 7u);
  for (const auto& [group, blocks] : tiers) {
    const Tier lowest = Join(blocks);
    ASSERT_EQ(lowest.buckets, 256u);
    ExpectTier(lowest, 16, reports);
    const Tier middle = Coarser(lowest);
    ASSERT_EQ(middle.buckets, 16u);
    ExpectTier(middle, 256, reports);
    ExpectTier(Coarser(middle), 4096, reports);
  }
}

TEST(TiersTest, BlockByBlockOrTogetherGivesTheSameBits) {
  Random random(2);
  std::vector<v1::StepReport> reports;
  for (int64_t step = 0; step < 16 * kBlockSteps; ++step) reports.push_back(AnyReport(random, step));
  for (const auto& [group, blocks] : TiersOf(reports, 16)) {
    std::vector<Tier> middles;
    for (const Tier& block : blocks) middles.push_back(*DecodeTier(EncodeTier(Coarser(block))));
    EXPECT_EQ(EncodeTier(Coarser(Join(middles))), EncodeTier(Coarser(Coarser(Join(blocks)))));
  }
}

TEST(TiersTest, OneSpikeAndOneNanAreInEveryLevel) {
  std::vector<v1::StepReport> reports;
  for (int64_t step = 0; step < 16 * kBlockSteps; ++step) {
    v1::StepReport& report = reports.emplace_back();
    report.set_step(step);
    report.set_loss(step == 1234 ? 1e9 : step == 3210 ? kNan : 1);
  }
  const Tier top = Coarser(Coarser(Join(TiersOf(reports, 16)[TierGroup::kJob])));
  const Bucket& loss = top.At(static_cast<size_t>(JobSeries::kLoss), 0);
  EXPECT_EQ(loss.max, 1e9);
  EXPECT_EQ(loss.min, 1);
  EXPECT_EQ(loss.non_finite, 1);
  EXPECT_EQ(loss.count, 16 * kBlockSteps - 1);
}

// Of columns of several pieces, and of series that the tier does not have.
TEST(TiersTest, FewSeriesAndAggregatesAreThoseOfTheWholeTier) {
  Random random(4);
  Tier tier{.group = TierGroup::kTensorNorm, .series = 100, .buckets = 256, .cells = {}};
  tier.cells.resize(tier.series * tier.buckets);
  for (Bucket& bucket : tier.cells) {
    for (int i = 0; i < 3; ++i) bucket.Add(AnyFloat(random), random() % 100 == 0);
    bucket.sum = static_cast<float>(bucket.sum);
  }
  const std::string bytes = EncodeTier(tier);
  for (int round = 0; round < 50; ++round) {
    std::vector<uint32_t> series;
    for (uint32_t i = 0; i < 120; ++i) {
      if (random() % (1 + round) == 0) series.push_back(i);
    }
    const auto aggregates = static_cast<AggregateMask>(random() % 64);
    const absl::StatusOr<Tier> chosen = DecodeTier(bytes, aggregates, &series);
    ASSERT_TRUE(chosen.ok()) << chosen.status();
    ASSERT_EQ(chosen->series, series.size());
    const auto expect = [&](Aggregate aggregate, double got, double wanted) {
      ASSERT_EQ(Bits(got), Bits((aggregates & MaskOf(aggregate)) != 0 ? wanted
                                : aggregate == Aggregate::kSum        ? 0
                                                                      : kNan));
    };
    for (size_t i = 0; i < series.size(); ++i) {
      for (size_t j = 0; j < tier.buckets; ++j) {
        const Bucket& got = chosen->At(i, j);
        const Bucket wanted = series[i] < tier.series ? tier.At(series[i], j) : Bucket();
        ASSERT_EQ(got.count, wanted.count);
        ASSERT_EQ(got.non_finite, wanted.non_finite);
        expect(Aggregate::kMin, got.min, wanted.min);
        expect(Aggregate::kMax, got.max, wanted.max);
        expect(Aggregate::kLast, got.last, wanted.last);
        expect(Aggregate::kSum, got.sum, wanted.sum);
      }
    }
  }
}

// Whoever makes a checksum that fits gets an error or another tier, never a crash.
TEST(TiersTest, NoBytesHurt) {
  Random random(6);
  Tier tier{.group = TierGroup::kLayerDead, .series = 5, .buckets = 16, .cells = std::vector<Bucket>(80)};
  for (Bucket& bucket : tier.cells) bucket.Add(AnyFloat(random), false);
  const std::string whole = EncodeTier(tier);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = whole;
    for (size_t i = 1 + random() % 3; i > 0; --i) bytes[random() % bytes.size()] = static_cast<char>(random());
    const size_t size = bytes.size() - 4;
    const auto checksum = static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), size));
    for (size_t i = 0; i < 4; ++i) bytes[size + i] = static_cast<char>(checksum >> 8 * i);
    const std::vector<uint32_t> series = {1, 3, 40};
    for (const auto& tier_or : {DecodeTier(bytes), DecodeTier(bytes, MaskOf(Aggregate::kMax), &series)}) {
      ASSERT_TRUE(tier_or.ok() || absl::IsDataLoss(tier_or.status())) << tier_or.status();
    }
  }
}

TEST(TiersTest, ComeBackAsTheyWereOrNotAtAll) {
  Random random(3);
  std::vector<v1::StepReport> reports;
  for (int64_t step = 0; step < kBlockSteps; ++step) reports.push_back(AnyReport(random, step));
  for (const auto& [group, blocks] : TiersOf(reports, 1)) {
    const std::string bytes = EncodeTier(blocks[0]);
    const absl::StatusOr<Tier> tier = DecodeTier(bytes);
    ASSERT_TRUE(tier.ok()) << tier.status();
    ASSERT_EQ(tier->group, group);
    ExpectTier(*tier, 16, reports);
    EXPECT_EQ(EncodeTier(*tier), bytes);
    for (size_t i = 0; i < bytes.size(); ++i) {
      std::string flipped = bytes;
      flipped[i] = static_cast<char>(flipped[i] ^ 1 << random() % 8);
      EXPECT_EQ(DecodeTier(flipped).status().code(), absl::StatusCode::kDataLoss);
      EXPECT_EQ(DecodeTier(bytes.substr(0, i)).status().code(), absl::StatusCode::kDataLoss);
    }
  }
}

}  // namespace
}  // namespace gradwatch::server
