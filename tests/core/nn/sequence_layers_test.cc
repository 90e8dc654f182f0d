// What holds for every layer that goes over time.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/base/workers.h"
#include "core/nn/network.h"
#include "tests/support/layer_run.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::RandomBatch;
using ::gradwatch::testing::TestBatch;
using ::gradwatch::testing::ValueData;

constexpr int64_t kSteps = 70, kBatch = 5, kFeatures = 18;

// Where a NaN comes in, and in which example.
constexpr int64_t kNanStep = 66, kNanExample = 3;

struct LayerCase {
  std::string name;
  std::string layer;
  int64_t nan_from = kNanStep;  // the first step of its example that it breaks on the way forward
};

void PrintTo(const LayerCase& c, std::ostream* out) { *out << c.name; }

template <typename T>
std::unique_ptr<Network<T>> Make(const std::string& layer) {
  auto network = Network<T>::Create(ParseModel("layers { " + layer +
                                               " } layers { dense { units: 3 } }"
                                               " loss { function: LOSS_FUNCTION_SQUARED_ERROR }"),
                                    ValueData(kSteps, kFeatures, 3, true), kBatch);
  if (!network.ok()) std::abort();
  (*network)->Initialize(1);
  return *std::move(network);
}

TestBatch MakeBatch() { return RandomBatch(ValueData(kSteps, kFeatures, 3, true), kBatch, 1); }

template <typename T>
std::vector<T> Outputs(Network<T>* network, const TestBatch& batch) {
  network->Loss(batch.get());
  return {network->outputs().begin(), network->outputs().end()};
}

class SequenceLayersTest : public ::testing::TestWithParam<LayerCase> {};

TEST_P(SequenceLayersTest, TheFutureChangesNoBitOfThePast) {
  auto network = Make<float>(GetParam().layer);
  TestBatch batch = MakeBatch();
  const std::vector<float> before = Outputs(network.get(), batch);
  for (const int64_t changed : {69, 64, 63, 30, 1}) {
    for (int64_t i = changed * kBatch * kFeatures; i < (changed + 1) * kBatch * kFeatures; ++i) batch.features[i] += 1;
    const std::vector<float> after = Outputs(network.get(), batch);
    for (int64_t i = 0; i < changed * kBatch * 3; ++i) ASSERT_EQ(after[i], before[i]) << changed << " " << i;
    EXPECT_NE(after[changed * kBatch * 3], before[changed * kBatch * 3]);
    EXPECT_NE(after.back(), before.back());
  }
}

TEST_P(SequenceLayersTest, APermutedBatchPermutesTheOutputsAndKeepsTheGradients) {
  auto network = Make<double>(GetParam().layer);
  const TestBatch batch = MakeBatch();
  TestBatch permuted = batch;
  const auto from = [](int64_t b) { return (2 * b + 1) % kBatch; };
  for (int64_t t = 0; t < kSteps; ++t) {
    for (int64_t b = 0; b < kBatch; ++b) {
      const int64_t source = t * kBatch + from(b), target = t * kBatch + b;
      std::copy_n(batch.features.begin() + source * kFeatures, kFeatures,
                  permuted.features.begin() + target * kFeatures);
      std::copy_n(batch.values.begin() + source * 3, 3, permuted.values.begin() + target * 3);
    }
  }
  const double loss = network->LossAndGradients(batch.get());
  const std::vector<double> outputs(network->outputs().begin(), network->outputs().end());
  const std::vector<double> gradients(network->gradients().begin(), network->gradients().end());
  EXPECT_NEAR(network->LossAndGradients(permuted.get()), loss, 1e-14);
  for (int64_t r = 0; r < kSteps * kBatch; ++r) {
    const int64_t source = r / kBatch * kBatch + from(r % kBatch);
    for (int64_t j = 0; j < 3; ++j) ASSERT_NEAR(network->outputs()[r * 3 + j], outputs[source * 3 + j], 1e-13);
  }
  for (size_t i = 0; i < gradients.size(); ++i) ASSERT_NEAR(network->gradients()[i], gradients[i], 1e-13);
}

TEST_P(SequenceLayersTest, FloatFollowsDouble) {
  auto floats = Make<float>(GetParam().layer);
  auto doubles = Make<double>(GetParam().layer);
  const TestBatch batch = MakeBatch();
  EXPECT_NEAR(floats->LossAndGradients(batch.get()) / doubles->LossAndGradients(batch.get()), 1, 1e-6);
  double norm = 0, difference = 0;
  for (size_t i = 0; i < doubles->gradients().size(); ++i) {
    norm += std::pow(doubles->gradients()[i], 2);
    difference += std::pow(doubles->gradients()[i] - floats->gradients()[i], 2);
  }
  EXPECT_LT(std::sqrt(difference), 5e-6 * std::sqrt(norm));
}

// No bit of another example may differ from what it is without the NaN, nor of an earlier step.
TEST_P(SequenceLayersTest, NanStaysInItsExampleAndComesOutOfAllItsLaterSteps) {
  auto network = Make<float>(GetParam().layer);
  TestBatch batch = MakeBatch();
  const std::vector<float> clean = Outputs(network.get(), batch);
  batch.features[(kNanStep * kBatch + kNanExample) * kFeatures + 7] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> outputs = Outputs(network.get(), batch);
  for (int64_t i = 0; i < kSteps * kBatch * 3; ++i) {
    const int64_t row = i / 3;
    if (row % kBatch == kNanExample && row / kBatch >= GetParam().nan_from) {
      ASSERT_TRUE(std::isnan(outputs[i])) << i;
    } else {
      ASSERT_EQ(outputs[i], clean[i]) << i;
    }
  }
}

TEST_P(SequenceLayersTest, NanComesBackToItsExampleOnly) {
  testing::LayerRun<float> layer(GetParam().layer, ValueData(kSteps, kFeatures, 1, true).input, kBatch);
  Random random(1, RandomStream::kSyntheticData, 0);
  for (int p = 0; p < layer.parameters(); ++p) {
    for (float& value : layer.parameter(p)) value = static_cast<float>(0.2 * random.NextNormal());
  }
  std::vector<float> x = MakeBatch().features;
  std::vector<float> dy(static_cast<size_t>(kSteps * kBatch * layer.output().features));
  for (float& value : dy) value = static_cast<float>(random.NextNormal());
  layer.Forward(x);
  const std::vector<float> clean = layer.Backward(x, dy);
  x[(kNanStep * kBatch + kNanExample) * kFeatures + 7] = std::numeric_limits<float>::quiet_NaN();
  layer.Forward(x);
  const std::vector<float> dx = layer.Backward(x, dy);
  for (int64_t i = 0; i < kSteps * kBatch * kFeatures; ++i) {
    ASSERT_TRUE(std::isfinite(clean[i])) << i;
    if (i / kFeatures % kBatch == kNanExample) {
      ASSERT_TRUE(std::isnan(dx[i])) << "step " << i / kFeatures / kBatch;
    } else {
      ASSERT_EQ(dx[i], clean[i]) << "step " << i / kFeatures / kBatch;
    }
  }
  EXPECT_TRUE(std::isnan(layer.gradient(0)[0])) << "weights are of all examples";
}

// Threads share a batch, and neither outputs nor gradients tell how many they are.
TEST_P(SequenceLayersTest, ThreadsChangeNoBit) {
  constexpr int64_t kLargeBatch = 13;
  const DataShape data = ValueData(kSteps, kFeatures, 3, true);
  const TestBatch batch = RandomBatch(data, kLargeBatch, 1);
  const std::string model = "layers { " + GetParam().layer +
                            " } layers { dense { units: 3 } } loss { function: LOSS_FUNCTION_SQUARED_ERROR }";
  std::vector<float> expected;
  for (const int threads : {1, 2, 3}) {
    Workers workers(threads);
    auto network = Network<float>::Create(ParseModel(model), data, kLargeBatch, threads);
    ASSERT_TRUE(network.ok());
    (*network)->Initialize(1, &workers);
    (*network)->LossAndGradients(batch.get());
    std::vector<float> numbers((*network)->outputs().begin(), (*network)->outputs().end());
    numbers.insert(numbers.end(), (*network)->gradients().begin(), (*network)->gradients().end());
    if (threads == 1) expected = numbers;
    EXPECT_EQ(numbers, expected) << threads;
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, SequenceLayersTest,
                         ::testing::Values(LayerCase{"rnn", "rnn { units: 37 }"},
                                           LayerCase{"lstm", "lstm { units: 37 }"},
                                           LayerCase{"gru", "gru { units: 37 }"},
                                           // The tile of 64 steps is multiplied as a whole.
                                           LayerCase{"self_attention", "self_attention { heads: 3 }", 64},
                                           LayerCase{"rnn_with_penalty", "rnn { units: 37 vanishing_penalty: 2 }"}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gradwatch::core
