// What self-attention does exactly, and what is measured of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/nn/network.h"
#include "tests/support/allocation_count.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::RandomBatch;
using ::gradwatch::testing::TestBatch;
using ::gradwatch::testing::ValueData;

constexpr int64_t kFeatures = 6;
enum { kInWeight, kInBias, kOutWeight, kOutBias };

std::unique_ptr<Network<double>> Make(int heads, int64_t steps, int64_t batch) {
  auto network = Network<double>::Create(ParseModel("layers { self_attention { heads: " + std::to_string(heads) +
                                                    " } } loss { function: LOSS_FUNCTION_SQUARED_ERROR }"),
                                         ValueData(steps, kFeatures, kFeatures, true), batch);
  if (!network.ok()) std::abort();
  (*network)->Initialize(1);
  return *std::move(network);
}

std::span<double> Parameter(Network<double>* network, int segment) {
  const ParameterSegment& s = network->layout().segments()[segment];
  return network->parameters().subspan(s.offset, s.size);
}
std::span<double> Gradient(Network<double>* network, int segment) {
  const ParameterSegment& s = network->layout().segments()[segment];
  return network->gradients().subspan(s.offset, s.size);
}

// Values are the inputs, outputs the attended values; queries and keys are zero but for their biases.
void PassValuesThrough(Network<double>* network) {
  std::fill(network->parameters().begin(), network->parameters().end(), 0);
  for (int64_t j = 0; j < kFeatures; ++j) {
    Parameter(network, kInWeight)[(2 * kFeatures + j) * kFeatures + j] = 1;
    Parameter(network, kOutWeight)[j * kFeatures + j] = 1;
  }
}

// Through several tiles, the last of them not full.
TEST(SelfAttentionTest, WithoutQueriesAndKeysItIsTheRunningMean) {
  constexpr int64_t kSteps = 150, kBatch = 3;
  for (const int heads : {1, 2, 3, 6}) {
    auto network = Make(heads, kSteps, kBatch);
    PassValuesThrough(network.get());
    const TestBatch batch = RandomBatch(ValueData(kSteps, kFeatures, kFeatures, true), kBatch, 1);
    network->Loss(batch.get());
    std::vector<double> sum(kBatch * kFeatures);
    for (int64_t t = 0; t < kSteps; ++t) {
      for (int64_t i = 0; i < kBatch * kFeatures; ++i) {
        sum[i] += batch.features[t * kBatch * kFeatures + i];
        ASSERT_NEAR(network->outputs()[t * kBatch * kFeatures + i], sum[i] / (t + 1), 1e-14) << t;
      }
    }
  }
}

// Keys that grow with time: the last step draws all attention, also where exp alone would overflow.
TEST(SelfAttentionTest, TheLargestScoreDrawsAllAttention) {
  constexpr int64_t kSteps = 70;
  auto network = Make(1, kSteps, 1);
  PassValuesThrough(network.get());
  Parameter(network.get(), kInBias)[0] = 1;                                // every query is (1, 0, ...)
  Parameter(network.get(), kInWeight)[kFeatures * kFeatures + 0] = 1'000;  // every key 1000 times the first feature
  TestBatch batch = RandomBatch(ValueData(kSteps, kFeatures, kFeatures, true), 1, 1);
  for (int64_t t = 0; t < kSteps; ++t) batch.features[t * kFeatures] = static_cast<float>(t);
  network->Loss(batch.get());
  for (size_t i = 0; i < network->outputs().size(); ++i) EXPECT_NEAR(network->outputs()[i], batch.features[i], 1e-13);
}

// A single step attends to itself alone: y = W_out (W_v x + b_v) + b_out, whatever queries and keys are.
TEST(SelfAttentionTest, OneStepIsTwoLinearLayers) {
  auto network = Make(2, 1, 1);
  for (int64_t i = 0; i < 3 * kFeatures; ++i) Parameter(network.get(), kInBias)[i] = std::sin(i);
  const TestBatch batch = RandomBatch(ValueData(1, kFeatures, kFeatures, true), 1, 1);
  network->LossAndGradients(batch.get());
  const auto in = Parameter(network.get(), kInWeight), out = Parameter(network.get(), kOutWeight);
  for (int64_t i = 0; i < kFeatures; ++i) {
    double y = Parameter(network.get(), kOutBias)[i];
    for (int64_t j = 0; j < kFeatures; ++j) {
      double v = Parameter(network.get(), kInBias)[2 * kFeatures + j];
      for (int64_t k = 0; k < kFeatures; ++k) v += in[(2 * kFeatures + j) * kFeatures + k] * batch.features[k];
      y += out[i * kFeatures + j] * v;
    }
    EXPECT_NEAR(network->outputs()[i], y, 1e-15);
  }
  for (int64_t i = 0; i < 2 * kFeatures * kFeatures; ++i) EXPECT_EQ(Gradient(network.get(), kInWeight)[i], 0);
}

// Scores do not change when all keys are moved alike, so the keys' bias has no gradient.
TEST(SelfAttentionTest, TheKeysBiasHasNoGradient) {
  auto network = Make(3, 80, 2);
  network->LossAndGradients(RandomBatch(ValueData(80, kFeatures, kFeatures, true), 2, 1).get());
  double norm = 0;
  for (const double g : Gradient(network.get(), kInBias)) norm += g * g;
  for (int64_t j = 0; j < kFeatures; ++j) {
    EXPECT_LT(std::abs(Gradient(network.get(), kInBias)[kFeatures + j]), 1e-15 * std::sqrt(norm));
  }
}

TEST(SelfAttentionTest, NanComesOutOfItsExampleAlone) {
  constexpr int64_t kSteps = 10;
  auto network = Make(2, kSteps, 2);
  TestBatch batch = RandomBatch(ValueData(kSteps, kFeatures, kFeatures, true), 2, 1);
  batch.features[(4 * 2 + 1) * kFeatures] = std::numeric_limits<float>::quiet_NaN();  // step 4 of example 1
  EXPECT_TRUE(std::isnan(network->LossAndGradients(batch.get())));
  for (int64_t t = 0; t < kSteps; ++t) {
    EXPECT_FALSE(std::isnan(network->outputs()[t * 2 * kFeatures])) << t;
  }
  for (int64_t t = 4; t < kSteps; ++t) {
    EXPECT_TRUE(std::isnan(network->outputs()[(t * 2 + 1) * kFeatures])) << t;
  }
  for (const double g : Gradient(network.get(), kOutWeight)) EXPECT_TRUE(std::isnan(g));
}

struct Attended {
  double largest_logit = -std::numeric_limits<double>::infinity();
  double entropy = 0;
};

// One number of the queries (`part` 0) or keys (1) of an example, x_t W^T + b.
double Projected(Network<double>* network, const TestBatch& batch, int64_t t, int64_t example, int64_t part,
                 int64_t feature) {
  const int64_t row = part * kFeatures + feature;
  double sum = Parameter(network, kInBias)[row];
  for (int64_t j = 0; j < kFeatures; ++j) {
    sum +=
        Parameter(network, kInWeight)[row * kFeatures + j] * batch.features[(t * batch.size + example) * kFeatures + j];
  }
  return sum;
}

// From the definitions, one query after the other, each with the keys that are not after it.
Attended Expected(Network<double>* network, const TestBatch& batch, int heads, int64_t steps) {
  const int64_t width = kFeatures / heads;
  Attended result;
  int64_t queries = 0;
  for (int64_t example = 0; example < batch.size; ++example) {
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t t = 0; t < steps; ++t) {
        std::vector<double> weights;
        for (int64_t s = 0; s <= t; ++s) {
          double logit = 0;
          for (int64_t j = head * width; j < (head + 1) * width; ++j) {
            logit += Projected(network, batch, t, example, 0, j) * Projected(network, batch, s, example, 1, j);
          }
          logit /= std::sqrt(static_cast<double>(width));
          result.largest_logit = std::max(result.largest_logit, logit);
          weights.push_back(std::exp(logit));
        }
        double sum = 0, entropy = 0;
        for (const double weight : weights) sum += weight;
        for (const double weight : weights) entropy -= weight / sum * std::log(weight / sum);
        if (t > 0) result.entropy += entropy / std::log(t + 1.0);
        queries += t > 0 ? 1 : 0;
      }
    }
  }
  result.entropy /= static_cast<double>(queries);
  return result;
}

// Of the only layer, on one batch of training.
template <typename T>
LayerStatistics Measure(Network<T>* network, const TestBatch& batch) {
  std::vector<LayerStatistics> layers(1);
  network->MeasureLayers(layers);
  network->LossAndGradients(batch.get());
  network->MeasureLayers({});
  return layers[0];
}

// One tile and several, the last of them full or not; attention that looks everywhere and at nearly one key alone.
TEST(AttentionStatisticsTest, AreThoseOfTheDefinitions) {
  for (const int heads : {1, 2, 3, 6}) {
    for (const int64_t steps : {2, 5, 64, 65, 130}) {
      for (const double gain : {0.3, 1.0, 4.0}) {
        auto network = Make(heads, steps, 3);
        for (double& x : Parameter(network.get(), kInWeight)) x *= gain;
        for (int64_t i = 0; i < 3 * kFeatures; ++i) Parameter(network.get(), kInBias)[i] = 0.3 * std::sin(i);
        const TestBatch batch = RandomBatch(ValueData(steps, kFeatures, kFeatures, true), 3, 1);
        const Attended expected = Expected(network.get(), batch, heads, steps);
        const LayerStatistics measured = Measure(network.get(), batch);
        EXPECT_TRUE(measured.has_attention);
        EXPECT_NEAR(measured.largest_logit, expected.largest_logit, 1e-12 * std::abs(expected.largest_logit));
        EXPECT_NEAR(measured.attention_entropy, expected.entropy, 1e-12);
        EXPECT_GT(expected.entropy, 1e-6) << "it tells something";
        EXPECT_LT(expected.entropy, 0.99995);
      }
    }
  }
}

// Six heads of one feature each, of which the first asks; a product with a key to come is the largest there is.
TEST(AttentionStatisticsTest, KeysToComeDoNotCount) {
  auto network = Make(6, 3, 1);
  std::fill(network->parameters().begin(), network->parameters().end(), 0);
  Parameter(network.get(), kInWeight)[0] = 1;                          // the query is the first feature,
  Parameter(network.get(), kInWeight)[kFeatures * kFeatures + 1] = 1;  // the key the second
  TestBatch batch = RandomBatch(ValueData(3, kFeatures, kFeatures, true), 1, 1);
  const double queries[] = {8, 1, 2}, keys[] = {-1, 2, 3};
  for (int64_t t = 0; t < 3; ++t) {
    batch.features[t * kFeatures] = static_cast<float>(queries[t]);
    batch.features[t * kFeatures + 1] = static_cast<float>(keys[t]);
  }
  EXPECT_EQ(Measure(network.get(), batch).largest_logit, 6);
}

TEST(AttentionStatisticsTest, KeysThatAreAllEqualHaveTheLargestEntropy) {
  constexpr int64_t kSteps = 100;
  const TestBatch batch = RandomBatch(ValueData(kSteps, kFeatures, kFeatures, true), 2, 1);
  auto network = Make(2, kSteps, 2);
  PassValuesThrough(network.get());
  std::fill_n(Parameter(network.get(), kInBias).begin(), 2 * kFeatures, -3);
  const LayerStatistics measured = Measure(network.get(), batch);
  EXPECT_NEAR(measured.largest_logit, 3 * 9 / std::sqrt(3), 1e-13);
  EXPECT_NEAR(measured.attention_entropy, 1, 1e-13);
}

// Weights of float do not add up to 1 exactly.
TEST(AttentionStatisticsTest, AShareIsNeverAboveOne) {
  for (const int64_t steps : {3, 7, 50, 150}) {
    auto network = Network<float>::Create(
        ParseModel("layers { self_attention { heads: 1 } } loss { function: LOSS_FUNCTION_SQUARED_ERROR }"),
        ValueData(steps, kFeatures, kFeatures, true), 1);
    ASSERT_TRUE(network.ok());
    (*network)->Initialize(1);
    std::fill((*network)->parameters().begin(), (*network)->parameters().end(), 0);
    const double entropy =
        Measure(network->get(), RandomBatch(ValueData(steps, kFeatures, kFeatures, true), 1, 1)).attention_entropy;
    EXPECT_LE(entropy, 1);
    EXPECT_NEAR(entropy, 1, 1e-6);
  }
}

TEST(AttentionStatisticsTest, AttentionToOneKeyAloneHasNoEntropy) {
  constexpr int64_t kSteps = 70;
  auto network = Make(1, kSteps, 1);
  PassValuesThrough(network.get());
  Parameter(network.get(), kInBias)[0] = 1;
  Parameter(network.get(), kInWeight)[kFeatures * kFeatures + 0] = 1'000;
  TestBatch batch = RandomBatch(ValueData(kSteps, kFeatures, kFeatures, true), 1, 1);
  for (int64_t t = 0; t < kSteps; ++t) batch.features[t * kFeatures] = static_cast<float>(t);
  const LayerStatistics measured = Measure(network.get(), batch);
  EXPECT_NEAR(measured.largest_logit, 1'000 * (kSteps - 1) / std::sqrt(6), 1e-9);
  EXPECT_NEAR(measured.attention_entropy, 0, 1e-15);
}

TEST(AttentionStatisticsTest, ASingleStepHasALogitAndNoEntropy) {
  auto network = Make(1, 1, 2);
  PassValuesThrough(network.get());
  Parameter(network.get(), kInBias)[0] = 2;
  Parameter(network.get(), kInBias)[kFeatures] = -5;
  const LayerStatistics measured = Measure(network.get(), RandomBatch(ValueData(1, kFeatures, kFeatures, true), 2, 1));
  EXPECT_TRUE(measured.has_attention);
  EXPECT_NEAR(measured.largest_logit, -10 / std::sqrt(6), 1e-14) << "one below 0 is told as well";
  EXPECT_TRUE(std::isnan(measured.attention_entropy));
}

TEST(AttentionStatisticsTest, WhatIsNotFiniteIsToldAndGoesWithItsStep) {
  constexpr int64_t kSteps = 70;
  const TestBatch batch = RandomBatch(ValueData(kSteps, kFeatures, kFeatures, true), 2, 1);
  TestBatch broken = batch;
  broken.features[(66 * 2 + 1) * kFeatures] = std::numeric_limits<float>::quiet_NaN();
  auto network = Make(2, kSteps, 2);
  const LayerStatistics before = Measure(network.get(), batch);
  const LayerStatistics nan = Measure(network.get(), broken);
  EXPECT_TRUE(nan.has_attention);
  EXPECT_TRUE(std::isnan(nan.largest_logit));
  EXPECT_TRUE(std::isnan(nan.attention_entropy));
  const LayerStatistics after = Measure(network.get(), batch);
  EXPECT_EQ(after.largest_logit, before.largest_logit);
  EXPECT_EQ(after.attention_entropy, before.attention_entropy);
  for (const double sign : {1, -1}) {
    PassValuesThrough(network.get());
    for (int64_t j = 0; j < kFeatures; ++j) {
      Parameter(network.get(), kInBias)[j] = 1e200;
      Parameter(network.get(), kInBias)[kFeatures + j] = sign * 1e200;
    }
    const LayerStatistics infinite = Measure(network.get(), batch);
    EXPECT_EQ(infinite.largest_logit, sign * std::numeric_limits<double>::infinity());
    EXPECT_TRUE(std::isnan(infinite.attention_entropy)) << "no weight is finite";
  }
}

TEST(AttentionStatisticsTest, MeasuringChangesNothingTakesNoMemoryAndEndsWhenItIsToEnd) {
  const TestBatch batch = RandomBatch(ValueData(80, kFeatures, kFeatures, true), 2, 1);
  auto network = Make(3, 80, 2);
  std::vector<LayerStatistics> layers(1);
  network->MeasureLayers(layers);
  network->LossAndGradients(batch.get());
  const std::vector<double> watched(network->gradients().begin(), network->gradients().end());
  const double entropy = layers[0].attention_entropy;
  const int64_t before = testing::AllocationCount();
  network->LossAndGradients(batch.get());
  if (testing::CountsAllocations()) {
    EXPECT_EQ(testing::AllocationCount(), before);
  }
  EXPECT_EQ(layers[0].attention_entropy, entropy);
  layers[0] = LayerStatistics();
  network->Evaluate(batch.get());
  EXPECT_FALSE(layers[0].has_attention) << "only batches that are learnt from are measured";
  network->MeasureLayers({});
  network->LossAndGradients(batch.get());
  EXPECT_FALSE(layers[0].has_attention);
  EXPECT_EQ(watched, std::vector<double>(network->gradients().begin(), network->gradients().end()));
}

}  // namespace
}  // namespace gradwatch::core
