// The tasks that are made at random, against their definitions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numbers>
#include <vector>

#include "core/data/data_source.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

v1::DataSpec WithBatch(int batch_size) {
  v1::DataSpec spec;
  spec.set_batch_size(batch_size);
  return spec;
}

TEST(AddingTest, TheTargetIsTheSumOfTheMarkedValues) {
  for (const int length : {2, 3, 10, 51}) {
    v1::DataSpec spec = WithBatch(64);
    spec.mutable_adding()->set_sequence_length(length);
    auto source = *OpenData(spec, 5, DataRoots());
    EXPECT_EQ(source->shape().input, (Shape{.steps = length, .features = 2}));
    EXPECT_EQ(source->shape().target, DataShape::Target::kValues);
    EXPECT_EQ(source->examples(), 0);
    const Batch batch = source->Fill(3);
    for (int b = 0; b < 64; ++b) {
      double sum = 0;
      int marks[2] = {0, 0};  // by half
      for (int t = 0; t < length; ++t) {
        const float value = batch.features[(t * 64 + b) * 2], mark = batch.features[(t * 64 + b) * 2 + 1];
        ASSERT_TRUE(mark == 0 || mark == 1);
        ASSERT_TRUE(value >= 0 && value <= 1);
        if (mark == 1) {
          ++marks[t >= length / 2];
          sum += value;
        }
      }
      EXPECT_EQ(marks[0], 1);
      EXPECT_EQ(marks[1], 1);
      EXPECT_NEAR(batch.values[b], sum, 1e-6);
    }
  }
}

// The constant guess 1 has the mean squared error 1/6 (algorithms reference, section 3.2).
TEST(AddingTest, AConstantGuessHasThePublishedError) {
  v1::DataSpec spec = WithBatch(100'000);
  spec.mutable_adding()->set_sequence_length(2);
  auto source = *OpenData(spec, 5, DataRoots());
  double error = 0;
  for (const float value : source->Fill(0).values) error += (value - 1) * (value - 1);
  EXPECT_NEAR(error / 100'000, 1.0 / 6, 5 * std::sqrt(7.0 / 180 / 100'000));
}

TEST(TemporalOrderTest, PositionsAndClassesAreThoseOfTheAuthorsProgram) {
  for (const int length : {10, 39, 50}) {
    v1::DataSpec spec = WithBatch(256);
    spec.mutable_temporal_order()->set_sequence_length(length);
    auto source = *OpenData(spec, 5, DataRoots());
    EXPECT_EQ(source->shape().input, (Shape{.steps = length, .features = 6}));
    EXPECT_EQ(source->shape().outputs, 4);
    const Batch batch = source->Fill(0);
    std::vector<int> classes(4, 0), distractors(6, 0);
    for (int b = 0; b < 256; ++b) {
      std::vector<std::pair<int, int>> named;  // step, symbol
      for (int t = 0; t < length; ++t) {
        int symbol = -1, ones = 0;
        for (int k = 0; k < 6; ++k) {
          const float value = batch.features[(t * 256 + b) * 6 + k];
          ASSERT_TRUE(value == 0 || value == 1);
          if (value == 1) symbol = k, ++ones;
        }
        ASSERT_EQ(ones, 1);
        ++distractors[symbol];
        if (symbol < 2) named.emplace_back(t, symbol);
      }
      ASSERT_EQ(named.size(), 2u);
      EXPECT_GE(named[0].first, length / 10);
      EXPECT_LT(named[0].first, 2 * (length / 10));
      EXPECT_GE(named[1].first, length / 2);
      EXPECT_LT(named[1].first, length / 2 + length / 10);
      EXPECT_EQ(batch.classes[b], named[0].second + 2 * named[1].second);
      ++classes[batch.classes[b]];
    }
    for (const int count : classes) EXPECT_NEAR(count, 64, 5 * std::sqrt(48));
    for (int k = 2; k < 6; ++k) EXPECT_GT(distractors[k], 0);
  }
}

TEST(SpiralsTest, PointsWithoutNoiseLieOnTheirArm) {
  v1::DataSpec spec = WithBatch(500);
  spec.mutable_spirals()->set_arms(3);
  spec.mutable_spirals()->set_noise(0);
  auto source = *OpenData(spec, 5, DataRoots());
  EXPECT_EQ(source->shape().input, (Shape{.features = 2}));
  EXPECT_EQ(source->shape().outputs, 3);
  const Batch batch = source->Fill(0);
  std::vector<int> classes(3, 0);
  for (int b = 0; b < 500; ++b) {
    const double x = batch.features[2 * b], y = batch.features[2 * b + 1], radius = std::hypot(x, y);
    EXPECT_LE(radius, 1.0 + 1e-6);
    const double angle = 2 * std::numbers::pi * (batch.classes[b] / 3.0 + 1.5 * radius);
    EXPECT_NEAR(x, radius * std::cos(angle), 1e-5);
    EXPECT_NEAR(y, radius * std::sin(angle), 1e-5);
    ++classes[batch.classes[b]];
  }
  for (const int count : classes) EXPECT_GT(count, 100);
}

TEST(GaussianClustersTest, PointsHaveUnitVarianceAroundTheirCentre) {
  v1::DataSpec spec = WithBatch(20'000);
  spec.mutable_gaussian_clusters()->set_classes(2);
  spec.mutable_gaussian_clusters()->set_features(3);
  spec.mutable_gaussian_clusters()->set_spread(5);
  auto source = *OpenData(spec, 5, DataRoots());
  EXPECT_EQ(source->shape().input, (Shape{.features = 3}));
  EXPECT_EQ(source->bytes(), 4 * (2 * 3 + 20'000 * 3 + 20'000));
  const Batch batch = source->Fill(0);
  double sum[2][3] = {}, squares[2][3] = {}, count[2] = {};
  for (int b = 0; b < 20'000; ++b) {
    const int c = batch.classes[b];
    ++count[c];
    for (int k = 0; k < 3; ++k) {
      sum[c][k] += batch.features[b * 3 + k];
      squares[c][k] += std::pow(batch.features[b * 3 + k], 2);
    }
  }
  double distance = 0;
  for (int k = 0; k < 3; ++k) {
    for (int c = 0; c < 2; ++c) {
      const double mean = sum[c][k] / count[c];
      EXPECT_NEAR(squares[c][k] / count[c] - mean * mean, 1, 5 * std::sqrt(2.0 / count[c]));
    }
    distance += std::pow(sum[0][k] / count[0] - sum[1][k] / count[1], 2);
  }
  EXPECT_GT(std::sqrt(distance), 1) << "two centres of spread 5";
}

TEST(GaussianClustersTest, AFiniteNumberOfPointsIsWalkedInEpochs) {
  v1::DataSpec spec = WithBatch(4);
  spec.mutable_gaussian_clusters()->set_classes(3);
  spec.mutable_gaussian_clusters()->set_features(2);
  spec.mutable_gaussian_clusters()->set_examples(8);
  auto source = *OpenData(spec, 5, DataRoots(), 4);
  EXPECT_EQ(source->examples(), 8);
  std::map<float, int> seen;  // by the first coordinate
  for (int step = 0; step < 6; ++step) {
    const Batch batch = source->Fill(step);
    for (int b = 0; b < 4; ++b) ++seen[batch.features[b * 2]];
  }
  EXPECT_EQ(seen.size(), 8u);
  for (const auto& [coordinate, count] : seen) EXPECT_EQ(count, 3) << coordinate;
  const Batch held_out = source->FillHeldOut(0);
  for (int b = 0; b < 4; ++b) EXPECT_FALSE(seen.contains(held_out.features[b * 2]));
}

TEST(SyntheticTest, OnlyTheSeedAndTheStepMatter) {
  std::vector<v1::DataSpec> specs(4, WithBatch(8));
  specs[0].mutable_adding()->set_sequence_length(5);
  specs[1].mutable_temporal_order()->set_sequence_length(20);
  specs[2].mutable_spirals();
  specs[3].mutable_gaussian_clusters()->set_classes(3);
  specs[3].mutable_gaussian_clusters()->set_features(4);
  for (const v1::DataSpec& spec : specs) {
    auto a = *OpenData(spec, 5, DataRoots()), b = *OpenData(spec, 5, DataRoots()), c = *OpenData(spec, 6, DataRoots());
    const auto features = [](DataSource& source, int64_t step) {
      const Batch batch = source.Fill(step);
      return std::vector<float>(batch.features.begin(), batch.features.end());
    };
    for (int64_t step = 0; step < 10; ++step) features(*a, step);
    EXPECT_EQ(features(*a, 4), features(*b, 4)) << spec.ShortDebugString();
    EXPECT_NE(features(*a, 4), features(*a, 5)) << spec.ShortDebugString();
    EXPECT_NE(features(*a, 4), features(*c, 4)) << spec.ShortDebugString();
    EXPECT_EQ(features(*a, 1'000'000'000'000), features(*b, 1'000'000'000'000)) << spec.ShortDebugString();
  }
}

// Full-batch descent costs no copying, wherever it begins.
TEST(SyntheticTest, ASetAsLargeAsABatchIsTheSameOnEveryStep) {
  v1::DataSpec spec = WithBatch(8);
  spec.mutable_gaussian_clusters()->set_classes(3);
  spec.mutable_gaussian_clusters()->set_features(2);
  spec.mutable_gaussian_clusters()->set_examples(8);
  auto source = *OpenData(spec, 5, DataRoots(), 8), late = *OpenData(spec, 5, DataRoots(), 8);
  const Batch batch = source->Fill(0);
  const std::vector<float> features(batch.features.begin(), batch.features.end());
  const std::vector<int32_t> classes(batch.classes.begin(), batch.classes.end());
  const auto expect_same = [&](const Batch& other) {
    EXPECT_TRUE(std::equal(features.begin(), features.end(), other.features.begin(), other.features.end()));
    EXPECT_TRUE(std::equal(classes.begin(), classes.end(), other.classes.begin(), other.classes.end()));
  };
  expect_same(source->Fill(1));
  expect_same(late->Fill(17));
  EXPECT_NE(source->FillHeldOut(0).features[0], features[0]);
  expect_same(source->Fill(2));
}

TEST(SyntheticTest, SteadyBatchesAreTheSameMemory) {
  v1::DataSpec spec = WithBatch(8);
  spec.mutable_adding()->set_sequence_length(5);
  auto source = *OpenData(spec, 5, DataRoots());
  const Batch first = source->Fill(0), second = source->Fill(1);
  EXPECT_EQ(first.features.data(), second.features.data());
  EXPECT_EQ(first.values.data(), second.values.data());
}

TEST(OpenDataTest, RefusesFieldsOutOfRange) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  struct Case {
    std::function<void(v1::DataSpec*)> fill;
    const char* message;
  };
  const std::vector<Case> cases = {
      {[](auto*) {}, "source: required: one of idx, csv, text"},
      {[](auto* d) { d->mutable_spirals(), d->set_batch_size(0); }, "batch_size: must be from 1 to 1048576; got 0"},
      {[](auto* d) { d->mutable_spirals(), d->set_batch_size(1'048'577); }, "batch_size"},
      {[](auto* d) { d->mutable_adding(); }, "adding.sequence_length: must be from 2 to 65536; got 0"},
      {[](auto* d) { d->mutable_adding()->set_sequence_length(65'537); }, "adding.sequence_length"},
      {[](auto* d) { d->mutable_temporal_order()->set_sequence_length(9); }, "temporal_order.sequence_length"},
      {[](auto* d) { d->mutable_spirals()->set_arms(1); }, "spirals.arms: must be from 2 to 64; got 1"},
      {[](auto* d) { d->mutable_spirals()->set_noise(-1); }, "spirals.noise"},
      {[=](auto* d) { d->mutable_spirals()->set_noise(nan); },
       "spirals.noise: must be a number from 0 to 1e+06; got nan"},
      {[](auto* d) { d->mutable_gaussian_clusters()->set_classes(1); }, "gaussian_clusters.classes"},
      {[](auto* d) { d->mutable_gaussian_clusters()->set_classes(2); }, "gaussian_clusters.features"},
      {[](auto* d) { d->mutable_gaussian_clusters()->set_spread(0); }, "gaussian_clusters.spread"},
      {[=](auto* d) { d->mutable_gaussian_clusters()->set_spread(infinity); }, "got inf"},
  };
  for (const Case& c : cases) {
    v1::DataSpec spec = WithBatch(8);
    c.fill(&spec);
    EXPECT_THAT(OpenData(spec, 0, DataRoots()), StatusIs(kInvalid, HasSubstr(c.message)));
  }
}

// A spec may ask for more memory than there is; opening it must not take it, so that it can be refused.
TEST(OpenDataTest, TakesNoMemoryForWhatIsNotInAFile) {
  v1::DataSpec spec = WithBatch(1'048'576);
  spec.mutable_gaussian_clusters()->set_classes(65'536);
  spec.mutable_gaussian_clusters()->set_features(65'536);
  auto source = OpenData(spec, 0, DataRoots());
  ASSERT_THAT(source, IsOk());
  EXPECT_GT((*source)->bytes(), int64_t{1} << 37);
}

}  // namespace
}  // namespace gradwatch::core
