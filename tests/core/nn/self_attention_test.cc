// What self-attention does exactly.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/nn/network.h"
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

}  // namespace
}  // namespace gradwatch::core
