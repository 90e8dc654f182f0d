#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/nn/network.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::RandomBatch;
using ::gradwatch::testing::TestBatch;
using ::gradwatch::testing::ValueData;

constexpr int64_t kUnits = 2003, kBatch = 50;

std::string Drop(double probability) { return absl::StrCat("layers { dropout { probability: ", probability, " } }"); }

// A network whose outputs are `layers` of ones.
template <typename T>
std::unique_ptr<Network<T>> OnOnes(const std::string& layers, uint64_t seed = 1) {
  auto network = Network<T>::Create(ParseModel(absl::StrCat("layers { dense { units: ", kUnits, " } }", layers,
                                                            "loss { function: LOSS_FUNCTION_SQUARED_ERROR }")),
                                    ValueData(0, 1, kUnits), kBatch);
  EXPECT_THAT(network, IsOk());
  (*network)->Initialize(seed);
  const auto& segments = (*network)->layout().segments();
  for (int64_t i = 0; i < kUnits; ++i) {
    (*network)->parameters()[segments[0].offset + i] = 0;
    (*network)->parameters()[segments[1].offset + i] = 1;
  }
  return *std::move(network);
}

const TestBatch& AnyBatch() {
  static const TestBatch batch = RandomBatch(ValueData(0, 1, kUnits), kBatch, 1);
  return batch;
}

template <typename T>
std::vector<double> Outputs(Network<T>& network, int64_t batch_number) {
  network.Loss(AnyBatch().get(), batch_number);
  return {network.outputs().begin(), network.outputs().end()};
}

// Of 100,150 numbers: 4 standard errors.
TEST(DropoutTest, DropsAtItsRateAndScalesTheRest) {
  for (const double p : {0.1, 0.5, 0.9}) {
    SCOPED_TRACE(p);
    auto network = OnOnes<double>(Drop(p));
    const std::vector<double> y = Outputs(*network, 0);
    double dropped = 0;
    for (const double v : y) {
      ASSERT_TRUE(v == 0 || v == 1 / (1 - p)) << v;
      dropped += v == 0 ? 1 : 0;
    }
    const double n = static_cast<double>(y.size());
    EXPECT_NEAR(dropped / n, p, 4 * std::sqrt(p * (1 - p) / n));
  }
}

// If masks were not independent, both would be kept more or less often than (1 - p)^2.
TEST(DropoutTest, NeighboursBatchesAndLayersAreIndependent) {
  auto network = OnOnes<double>(Drop(0.5));
  auto deeper = OnOnes<double>("layers { flatten {} }" + Drop(0.5));
  const std::vector<double> y = Outputs(*network, 0), next = Outputs(*network, 1), deep = Outputs(*deeper, 0);
  double neighbours = 0, batches = 0, layers = 0, rows = 0;
  const double n = static_cast<double>(y.size());
  for (size_t i = 0; i < y.size(); ++i) {
    neighbours += y[i] * y[(i + 1) % y.size()] / 4;
    rows += y[i] * y[(i + kUnits) % y.size()] / 4;
    batches += y[i] * next[i] / 4;
    layers += y[i] * deep[i] / 4;
  }
  for (const double both : {neighbours, rows, batches, layers}) {
    EXPECT_NEAR(both / n, 0.25, 4 * std::sqrt(0.25 * 0.75 / n));
  }
}

TEST(DropoutTest, MaskIsAPureFunctionOfSeedAndBatchNumber) {
  auto network = OnOnes<double>(Drop(0.5)), again = OnOnes<double>(Drop(0.5)), other = OnOnes<double>(Drop(0.5), 2);
  auto floats = OnOnes<float>(Drop(0.5));
  const std::vector<double> y = Outputs(*network, 7);
  EXPECT_NE(Outputs(*network, 8), y);
  EXPECT_EQ(Outputs(*network, 7), y);
  EXPECT_EQ(Outputs(*again, 7), y);
  EXPECT_EQ(Outputs(*floats, 7), y);
  EXPECT_NE(Outputs(*other, 7), y);
  // Batches far into a long run too.
  EXPECT_NE(Outputs(*network, int64_t{1} << 33), Outputs(*network, 0));
}

TEST(DropoutTest, KeepsEverythingInEvaluationAndAtProbabilityZero) {
  auto network = OnOnes<float>(Drop(0.5)), nothing = OnOnes<float>(Drop(0));
  network->Evaluate(AnyBatch().get());
  nothing->Loss(AnyBatch().get());
  EXPECT_THAT(network->outputs(), ::testing::Each(1));
  EXPECT_THAT(nothing->outputs(), ::testing::Each(1));
  EXPECT_LT(nothing->activation_bytes(), network->activation_bytes());
}

TEST(DropoutTest, NeverHidesNan) {
  auto network = OnOnes<float>(Drop(0.9));
  network->parameters()[network->layout().segments()[1].offset + 5] = std::numeric_limits<float>::quiet_NaN();
  network->Loss(AnyBatch().get());
  for (int64_t row = 0; row < kBatch; ++row) EXPECT_TRUE(std::isnan(network->outputs()[row * kUnits + 5]));
}

// What was dropped gets no gradient, what was kept the scaled one.
TEST(DropoutTest, GradientsGoThroughTheSameMask) {
  auto network = OnOnes<double>("layers { dropout {} }");
  network->LossAndGradients(AnyBatch().get(), 3);
  const auto y = network->outputs();
  const int64_t bias = network->layout().segments()[1].offset;
  for (int64_t unit = 0; unit < kUnits; ++unit) {
    double expected = 0;
    for (int64_t row = 0; row < kBatch; ++row) {
      const int64_t i = row * kUnits + unit;
      if (y[i] != 0) expected += 2 * (y[i] - AnyBatch().values[i]) * 2 / (kBatch * kUnits);
    }
    ASSERT_NEAR(network->gradients()[bias + unit], expected, 1e-15);
  }
}

}  // namespace
}  // namespace gradwatch::core
