#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/nn/network.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::ClassData;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::RandomBatch;
using ::gradwatch::testing::TestBatch;
using ::gradwatch::testing::ValueData;

constexpr char kSquaredError[] = " loss { function: LOSS_FUNCTION_SQUARED_ERROR }";
constexpr char kNormOnly[] = "layers { batch_norm {} }";

template <typename T>
std::unique_ptr<Network<T>> Make(const std::string& model, const DataShape& data, int64_t batch_size) {
  auto network = Network<T>::Create(ParseModel(model + kSquaredError), data, batch_size);
  EXPECT_THAT(network, IsOk());
  (*network)->Initialize(1);
  return *std::move(network);
}

double Mean(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v;
  return sum / static_cast<double>(x.size());
}

double Variance(const std::vector<double>& x, int degrees_taken = 0) {
  double sum = 0;
  for (const double v : x) sum += (v - Mean(x)) * (v - Mean(x));
  return sum / static_cast<double>(x.size() - degrees_taken);
}

// Column c of rows of `columns`.
template <typename Numbers>
std::vector<double> Column(const Numbers& numbers, size_t columns, size_t c) {
  std::vector<double> column;
  for (size_t i = c; i < numbers.size(); i += columns) column.push_back(numbers[i]);
  return column;
}

// Where the running variances lie in the state, behind the means.
constexpr size_t kVariances = 16;

TEST(BatchNormTest, NormalizesEachFeatureOverRowsAndSteps) {
  auto network = Make<double>(kNormOnly, ValueData(3, 2, 2, true), 8);
  TestBatch batch = RandomBatch(ValueData(3, 2, 2, true), 8, 1);
  for (float& x : batch.features) x = 1000 + 3 * x;
  network->Loss(batch.get());
  for (const size_t c : {0, 1}) {
    const auto y = Column(network->outputs(), 2, c);
    EXPECT_NEAR(Mean(y), 0, 1e-12);
    EXPECT_NEAR(Variance(y), 1, 1e-5);
  }
}

TEST(BatchNormTest, NormalizesChannelsOfImages) {
  DataShape data = ValueData(0, 24, 24);
  data.input.channels = 2;
  data.input.height = 3;
  data.input.width = 4;
  auto network = Make<double>(kNormOnly, data, 5);
  const TestBatch batch = RandomBatch(data, 5, 1);
  network->Loss(batch.get());
  ASSERT_EQ(network->layout().parameter_count(), 4);
  for (const int64_t channel : {0, 1}) {
    std::vector<double> y;
    for (int64_t row = 0; row < 5; ++row) {
      for (int64_t i = 0; i < 12; ++i) y.push_back(network->outputs()[row * 24 + channel * 12 + i]);
    }
    EXPECT_NEAR(Mean(y), 0, 1e-12);
    EXPECT_NEAR(Variance(y), 1, 1e-4);
  }
}

TEST(BatchNormTest, RunningStatisticsFollowAndServeEvaluation) {
  const DataShape data = ValueData(0, 2, 2);
  auto network = Make<double>("layers { batch_norm { momentum: 0.25 } }", data, 6);
  double mean = 0, variance = 1;  // of feature 1
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const TestBatch batch = RandomBatch(data, 6, seed);
    network->LossAndGradients(batch.get());
    const auto x = Column(batch.features, 2, 1);
    mean = 0.75 * mean + 0.25 * Mean(x);
    variance = 0.75 * variance + 0.25 * Variance(x, 1);
  }
  EXPECT_NEAR(network->state()[1], mean, 1e-12);
  EXPECT_NEAR(network->state()[kVariances + 1], variance, 1e-12);

  const TestBatch batch = RandomBatch(data, 6, 9);
  const std::vector<double> before(network->state().begin(), network->state().end());
  network->Evaluate(batch.get());
  EXPECT_NEAR(network->outputs()[1], (batch.features[1] - mean) / std::sqrt(variance + 1e-5), 1e-12);
  EXPECT_THAT(network->state(), ::testing::ElementsAreArray(before));
}

// One bad batch gives a bad loss, but the next one and evaluation know nothing of it.
TEST(BatchNormTest, RunningStatisticsNeverBecomeNonFinite) {
  const DataShape data = ValueData(0, 2, 2);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(), 3e38f}) {
    SCOPED_TRACE(bad);
    auto network = Make<float>(kNormOnly, data, 4), clean = Make<float>(kNormOnly, data, 4);
    TestBatch batch = RandomBatch(data, 4, 1);
    clean->Loss(batch.get());
    batch.features[4] = bad;  // of feature 0
    const double loss = network->Loss(batch.get());
    EXPECT_EQ(std::isfinite(loss), std::isfinite(bad));
    EXPECT_EQ(network->state()[0], 0);
    EXPECT_EQ(network->state()[kVariances], 1);
    EXPECT_EQ(network->state()[1], clean->state()[1]);
    EXPECT_EQ(network->state()[kVariances + 1], clean->state()[kVariances + 1]);
    EXPECT_TRUE(std::isfinite(network->Evaluate(RandomBatch(data, 4, 2).get()).loss));
  }
}

// A step that is not taken is taken back, with all of its batches; also of layers within blocks.
TEST(BatchNormTest, RunningStatisticsAreTakenBack) {
  const DataShape data = ValueData(0, 2, 2);
  const std::string block = "layers { residual { layers { batch_norm {} } layers { batch_norm {} } } }";
  auto network = Make<float>(kNormOnly + block, data, 6);
  network->Loss(RandomBatch(data, 6, 1).get());
  const std::vector<float> before(network->state().begin(), network->state().end());
  const double loss = network->Evaluate(RandomBatch(data, 6, 9).get()).loss;
  network->SaveState();
  for (const uint64_t seed : {2, 3}) {
    network->LossAndGradients(RandomBatch(data, 6, seed).get());
    EXPECT_THAT(network->state(), ::testing::Not(::testing::ElementsAreArray(before)));
    network->Evaluate(RandomBatch(data, 6, 9).get());
  }
  network->RestoreState();
  EXPECT_THAT(network->state(), ::testing::ElementsAreArray(before));
  EXPECT_EQ(network->Evaluate(RandomBatch(data, 6, 9).get()).loss, loss);
}

// Neither the scale nor the bias of what comes in matters: the weight's gradient is orthogonal to the weight, and the
// bias's is zero.
TEST(BatchNormTest, WhatComesBeforeMayBeScaledAndShifted) {
  const DataShape data = ValueData(0, 7, 3);
  auto network = Make<double>(
      "layers { dense { units: 5 } } layers { batch_norm { epsilon: 1e-30 } }"
      "layers { activation { function: ACTIVATION_FUNCTION_TANH } } layers { dense { units: 3 } }",
      data, 9);
  const TestBatch batch = RandomBatch(data, 9, 1);
  const double loss = network->LossAndGradients(batch.get());
  double along = 0, norm = 0, bias = 0;
  for (int64_t i = 0; i < 35; ++i) along += network->parameters()[i] * network->gradients()[i];
  for (const double g : network->gradients()) norm += g * g;
  const int64_t bias_offset = network->layout().segments()[1].offset;
  for (int64_t i = 0; i < 5; ++i) bias = std::max(bias, std::abs(network->gradients()[bias_offset + i]));
  EXPECT_GT(norm, 1e-4);
  EXPECT_LT(std::abs(along), 1e-14 * std::sqrt(norm));
  EXPECT_LT(bias, 1e-14 * std::sqrt(norm));
  for (int64_t i = 0; i < 35; ++i) network->parameters()[i] *= 1024;
  EXPECT_NEAR(network->Loss(batch.get()), loss, 1e-13);
}

TEST(BatchNormTest, NeedsMoreThanOneNumber) {
  const v1::ModelSpec model = ParseModel(std::string("layers { dense { units: 2 } }") + kNormOnly + kSquaredError);
  EXPECT_THAT(Network<float>::Create(model, ValueData(0, 2, 2), 1).status().message(),
              ::testing::HasSubstr("layers[1].batch_norm: needs a batch of at least 2"));
  EXPECT_THAT(Network<float>::Create(model, ValueData(2, 2, 2, true), 1), IsOk());
}

}  // namespace
}  // namespace gradwatch::core
