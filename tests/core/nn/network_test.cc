// A network as a whole: names, memory, determinism, and properties that hold exactly.
#include "core/nn/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "tests/support/allocation_count.h"
#include "tests/support/model_cases.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::AllocationCount;
using ::gradwatch::testing::ClassData;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::ModelCase;
using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::RandomBatch;
using ::gradwatch::testing::TestBatch;
using ::gradwatch::testing::ValueData;

const char* const kCrossEntropy = " loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }";
const char* const kSquaredError = " loss { function: LOSS_FUNCTION_SQUARED_ERROR }";
const char* const kTanh = "layers { activation { function: ACTIVATION_FUNCTION_TANH } }";
const char* const kRelu = "layers { activation { function: ACTIVATION_FUNCTION_RELU } }";
const char* const kMixed =
    "layers { dense { units: 90 } } layers { activation { function: ACTIVATION_FUNCTION_RELU } }"
    "layers { residual { layers { dense { units: 90 } } layers { activation { function: ACTIVATION_FUNCTION_SIGMOID } }"
    " layers { dense { units: 90 } } } }"
    "layers { rnn { units: 40 } } layers { last_step {} } layers { dense { units: 4 } }";

template <typename T>
std::unique_ptr<Network<T>> Make(const std::string& model, const DataShape& data, int64_t batch, uint64_t seed = 1) {
  auto network = Network<T>::Create(ParseModel(model), data, batch);
  EXPECT_THAT(network, IsOk());
  if (!network.ok()) std::abort();
  (*network)->Initialize(seed);
  return *std::move(network);
}

template <typename T>
std::span<T> Tensor(Network<T>* network, std::span<T> arena, const std::string& name) {
  for (const ParameterSegment& segment : network->layout().segments()) {
    if (segment.name == name) return arena.subspan(segment.offset, segment.size);
  }
  ADD_FAILURE() << "no tensor " << name;
  std::abort();
}

std::span<double> Parameter(Network<double>* network, const std::string& name) {
  return Tensor(network, network->parameters(), name);
}
std::span<double> Gradient(Network<double>* network, const std::string& name) {
  return Tensor(network, network->gradients(), name);
}

std::vector<double> Gradients(Network<double>* network, const TestBatch& batch) {
  network->LossAndGradients(batch.get());
  return {network->gradients().begin(), network->gradients().end()};
}

TEST(NetworkTest, NamesAndDepthsFollowTheLayers) {
  const auto network = Network<float>::Create(
      ParseModel(std::string("layers { name: 'in' dense { units: 6 } }"
                             "layers { residual { layers { dense { units: 6 bias: false } } } } ") +
                 kTanh + "layers { rnn { units: 5 } } layers { last_step {} } layers { dense { units: 4 } }" +
                 kCrossEntropy),
      ClassData(9, 7, 4), 2);
  ASSERT_THAT(network, IsOk());
  std::vector<std::string> lines;
  for (const ParameterSegment& s : (*network)->layout().segments()) {
    std::string line = s.name + " " + std::to_string(s.depth);
    for (const int64_t extent : s.shape) line += " " + std::to_string(extent);
    lines.push_back(line);
  }
  EXPECT_THAT(lines, ::testing::ElementsAre("in.weight 0 6 7", "in.bias 0 6", "residual1.dense0.weight 1 6 6",
                                            "rnn3.weight_ih 3 5 6", "rnn3.weight_hh 3 5 5", "rnn3.bias_ih 3 5",
                                            "rnn3.bias_hh 3 5", "dense5.weight 5 4 5", "dense5.bias 5 4"));
  EXPECT_EQ((*network)->layout().segments()[0].initializer.method(), v1::INITIALIZER_METHOD_XAVIER);
  EXPECT_EQ((*network)->layout().segments()[4].initializer.method(), v1::INITIALIZER_METHOD_ORTHOGONAL);
  EXPECT_EQ((*network)->layout().parameter_count(), 48 + 36 + 30 + 25 + 10 + 24);
}

TEST(NetworkTest, StartsAsAFunctionOfTheSeedAloneAndAlikeInBothTypes) {
  const DataShape data = ClassData(9, 7, 4);
  auto a = Make<double>(std::string(kMixed) + kCrossEntropy, data, 2, 5);
  auto b = Make<double>(std::string(kMixed) + kCrossEntropy, data, 3, 5);
  auto other = Make<double>(std::string(kMixed) + kCrossEntropy, data, 2, 6);
  auto floats = Make<float>(std::string(kMixed) + kCrossEntropy, data, 2, 5);
  EXPECT_TRUE(std::ranges::equal(a->parameters(), b->parameters()));
  EXPECT_FALSE(std::ranges::equal(a->parameters(), other->parameters()));
  for (size_t i = 0; i < a->parameters().size(); ++i) {
    ASSERT_EQ(static_cast<float>(a->parameters()[i]), floats->parameters()[i]);
  }
  for (const double g : a->gradients()) ASSERT_EQ(g, 0);
}

TEST(NetworkTest, GradientsAreOverwrittenAndLossLeavesThemAlone) {
  const DataShape data = ClassData(9, 7, 4);
  auto network = Make<double>(std::string(kMixed) + kCrossEntropy, data, 3);
  const TestBatch batch = RandomBatch(data, 3, 1), other = RandomBatch(data, 3, 2);
  const std::vector<double> first = Gradients(network.get(), batch);
  const double loss = network->LossAndGradients(batch.get());
  EXPECT_EQ(network->Loss(batch.get()), loss);
  network->Loss(other.get());
  EXPECT_TRUE(std::ranges::equal(first, network->gradients()));
  Gradients(network.get(), other);
  EXPECT_EQ(Gradients(network.get(), batch), first);
}

TEST(NetworkTest, PaddingStaysZero) {
  const DataShape data = ClassData(9, 7, 4);
  auto network = Make<double>(std::string(kMixed) + kCrossEntropy, data, 3);
  network->LossAndGradients(RandomBatch(data, 3, 1).get());
  std::vector<bool> used(network->layout().arena_size());
  for (const auto& s : network->layout().segments()) std::fill_n(used.begin() + s.offset, s.size, true);
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    ASSERT_EQ(network->gradients()[i], 0);
    ASSERT_EQ(network->parameters()[i], 0);
  }
}

template <typename T>
void ExpectNoAllocation(const std::string& model, const DataShape& data, int64_t size) {
  auto network = Make<T>(model, data, size);
  const TestBatch owner = RandomBatch(data, size, 1);
  const Batch batch = owner.get();
  const int64_t before = AllocationCount();
  network->LossAndGradients(batch);
  network->Loss(batch);
  EXPECT_EQ(AllocationCount() - before, 0);
}

TEST(NetworkTest, NeverAllocatesAfterInitialize) {
  if (!gradwatch::testing::CountsAllocations()) GTEST_SKIP() << "not counted under a sanitizer";
  const int64_t before = AllocationCount();
  ::operator delete(::operator new(1));  // a new expression could be left out by the compiler
  ASSERT_EQ(AllocationCount() - before, 1) << "the counter does not count";

  DataShape tokens = ClassData(12, 50, 50, true);
  tokens.tokens = true;
  const std::string large = "layers { dense { units: 700 } }" + std::string(kRelu) + "layers { dense { units: 600 } }" +
                            kTanh + "layers { dense { units: 5 } }";
  const std::string text = "layers { rnn { units: 200 } } layers { dense { units: 50 } }";
  ExpectNoAllocation<float>(std::string(kMixed) + kCrossEntropy, ClassData(20, 30, 4), 32);
  ExpectNoAllocation<double>(std::string(kMixed) + kCrossEntropy, ClassData(20, 30, 4), 32);
  ExpectNoAllocation<float>(large + kSquaredError, ValueData(0, 784, 5), 128);
  ExpectNoAllocation<double>(large + kSquaredError, ValueData(0, 784, 5), 128);
  ExpectNoAllocation<float>(text + kCrossEntropy, tokens, 32);
  for (const ModelCase& c : gradwatch::testing::AllModelCases()) {
    SCOPED_TRACE(c.name);
    ExpectNoAllocation<float>(c.model, c.data, 5);
  }
}

TEST(NetworkTest, FloatFollowsDouble) {
  const DataShape data = ClassData(30, 7, 4);
  auto doubles = Make<double>(std::string(kMixed) + kCrossEntropy, data, 8);
  auto floats = Make<float>(std::string(kMixed) + kCrossEntropy, data, 8);
  const TestBatch batch = RandomBatch(data, 8, 1);
  EXPECT_NEAR(floats->LossAndGradients(batch.get()), doubles->LossAndGradients(batch.get()), 1e-5);
  double norm = 0, difference = 0;
  for (size_t i = 0; i < doubles->gradients().size(); ++i) {
    norm += std::pow(doubles->gradients()[i], 2);
    difference += std::pow(doubles->gradients()[i] - floats->gradients()[i], 2);
  }
  EXPECT_LT(std::sqrt(difference), 2e-5 * std::sqrt(norm));
}

TEST(NetworkTest, OutputsAreTheLogits) {
  const DataShape data = ClassData(0, 2, 2);
  auto network = Make<double>(std::string("layers { dense { units: 2 } }") + kCrossEntropy, data, 1);
  std::ranges::copy(std::vector<double>{1, 2, 3, 4}, Parameter(network.get(), "dense0.weight").begin());
  std::ranges::copy(std::vector<double>{0.5, -0.5}, Parameter(network.get(), "dense0.bias").begin());
  const TestBatch batch{.size = 1, .features = {10, 1}, .classes = {0}};
  const double loss = network->Loss(batch.get());
  EXPECT_THAT(network->outputs(), ::testing::ElementsAre(12.5, 33.5));
  EXPECT_NEAR(loss, 21 + std::log1p(std::exp(-21.0)), 1e-14);
}

TEST(NetworkTest, LossAtZeroLogitsIsLogOfTheClasses) {
  const DataShape data = ClassData(0, 7, 10);
  const std::string zero = "layers { dense { units: 10 weight_init { method: INITIALIZER_METHOD_ZERO } } }";
  auto network = Make<double>(zero + kCrossEntropy, data, 4);
  EXPECT_NEAR(network->Loss(RandomBatch(data, 4, 1).get()), std::log(10.0), 1e-15);
}

// The sum over the classes of each row's derivative is zero, and with it the sum of the last bias's gradient.
TEST(NetworkTest, CrossEntropyDerivativesSumToZero) {
  const DataShape data = ClassData(0, 7, 10);
  auto network = Make<double>(std::string("layers { dense { units: 10 } }") + kCrossEntropy, data, 4);
  Gradients(network.get(), RandomBatch(data, 4, 1));
  const auto bias = Gradient(network.get(), "dense0.bias");
  EXPECT_NEAR(std::accumulate(bias.begin(), bias.end(), 0.0), 0, 1e-16);
}

TEST(NetworkTest, CrossEntropyOfHugeLogitsIsExact) {
  const DataShape data = ClassData(0, 1, 2);
  auto network = Make<float>(std::string("layers { dense { units: 2 bias: false } }") + kCrossEntropy, data, 1);
  network->parameters()[0] = 1e30f;
  network->parameters()[1] = -1e30f;
  const TestBatch right{.size = 1, .features = {1}, .classes = {0}}, wrong{.size = 1, .features = {1}, .classes = {1}};
  EXPECT_EQ(network->LossAndGradients(right.get()), 0);
  EXPECT_NEAR(network->LossAndGradients(wrong.get()) / 2e30, 1, 1e-6);
  EXPECT_EQ(network->gradients()[0], 1);
  EXPECT_EQ(network->gradients()[1], -1);
}

TEST(NetworkTest, PermutingTheBatchChangesNothing) {
  constexpr int64_t kBatch = 6, kSteps = 5, kFeatures = 7;
  const DataShape data = ClassData(kSteps, kFeatures, 4);
  auto network = Make<double>(std::string(kMixed) + kCrossEntropy, data, kBatch);
  const TestBatch batch = RandomBatch(data, kBatch, 1);
  TestBatch reversed = batch;
  for (int64_t b = 0; b < kBatch; ++b) {
    reversed.classes[b] = batch.classes[kBatch - 1 - b];
    for (int64_t t = 0; t < kSteps; ++t) {
      std::copy_n(batch.features.begin() + (t * kBatch + kBatch - 1 - b) * kFeatures, kFeatures,
                  reversed.features.begin() + (t * kBatch + b) * kFeatures);
    }
  }
  const std::vector<double> a = Gradients(network.get(), batch), b = Gradients(network.get(), reversed);
  EXPECT_NEAR(network->Loss(batch.get()), network->Loss(reversed.get()), 1e-13);
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-13);
}

TEST(NetworkTest, HalvesOfABatchAddUpToTheWhole) {
  const DataShape data = ClassData(0, 7, 4);
  const std::string model = "layers { dense { units: 30 } }" + std::string(kTanh) + "layers { dense { units: 4 } }";
  auto whole = Make<double>(model + kCrossEntropy, data, 8), half = Make<double>(model + kCrossEntropy, data, 4);
  const TestBatch batch = RandomBatch(data, 8, 1);
  std::vector<double> sum(half->gradients().size());
  for (const int64_t start : {0, 4}) {
    TestBatch part{.size = 4};
    part.features.assign(batch.features.begin() + start * 7, batch.features.begin() + (start + 4) * 7);
    part.classes.assign(batch.classes.begin() + start, batch.classes.begin() + start + 4);
    const std::vector<double> gradients = Gradients(half.get(), part);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += gradients[i] / 2;
  }
  const std::vector<double> gradients = Gradients(whole.get(), batch);
  for (size_t i = 0; i < sum.size(); ++i) ASSERT_NEAR(sum[i], gradients[i], 1e-12);
}

TEST(NetworkTest, LinearNetworkIsTheProductOfItsMatrices) {
  const DataShape data = ValueData(0, 3, 2);
  auto network =
      Make<double>(std::string("layers { dense { units: 4 bias: false } } layers { dense { units: 2 bias: false } }") +
                       kSquaredError,
                   data, 1);
  const auto first = Parameter(network.get(), "dense0.weight"), second = Parameter(network.get(), "dense1.weight");
  const TestBatch batch = RandomBatch(data, 1, 1);
  network->Loss(batch.get());
  for (int o = 0; o < 2; ++o) {
    double sum = 0;
    for (int h = 0; h < 4; ++h) {
      for (int i = 0; i < 3; ++i) sum += second[o * 4 + h] * first[h * 3 + i] * batch.features[i];
    }
    EXPECT_NEAR(network->outputs()[o], sum, 1e-14);
  }
}

// Scaling the first layer by a and the second by 1/a leaves the function alone and scales the gradients the other way.
TEST(NetworkTest, ReluNetworksArePositivelyHomogeneous) {
  const DataShape data = ClassData(0, 7, 4);
  auto network = Make<double>("layers { dense { units: 9 bias: false } }" + std::string(kRelu) +
                                  "layers { dense { units: 4 bias: false } }" + kCrossEntropy,
                              data, 5);
  const TestBatch batch = RandomBatch(data, 5, 1);
  const double loss = network->Loss(batch.get());
  const std::vector<double> before = Gradients(network.get(), batch);
  for (double& w : Parameter(network.get(), "dense0.weight")) w *= 8;
  for (double& w : Parameter(network.get(), "dense2.weight")) w /= 8;
  EXPECT_NEAR(network->LossAndGradients(batch.get()), loss, 1e-14);
  const auto first = Gradient(network.get(), "dense0.weight"), second = Gradient(network.get(), "dense2.weight");
  const int64_t offset = network->layout().segments()[1].offset;
  for (size_t i = 0; i < first.size(); ++i) EXPECT_NEAR(first[i] * 8, before[i], 1e-13);
  for (size_t i = 0; i < second.size(); ++i) EXPECT_NEAR(second[i] / 8, before[offset + i], 1e-13);
}

// Pascanu, Mikolov and Bengio 2013, figure 6: x_t = w sigmoid(x_{t-1}) + b from x_0 = 0.5, E = (sigmoid(x_50) - 0.7)^2.
// The values were computed apart from this code, in double.
TEST(NetworkTest, MatchesTheCliff) {
  std::string model;
  for (int t = 0; t < 50; ++t) {
    model += "layers { activation { function: ACTIVATION_FUNCTION_SIGMOID } } layers { dense { units: 1 } }";
  }
  model += "layers { activation { function: ACTIVATION_FUNCTION_SIGMOID } } layers { dense { units: 1 } }";
  auto network = Make<double>(model + kSquaredError, ValueData(0, 1, 1), 1);
  const auto& segments = network->layout().segments();
  struct Point {
    double w, b, loss, dw, db;
  };
  for (const Point& p : {Point{5, -2, .0555854941195942, .0379183435045635, .0405211913918642},
                         Point{6, -3, .0525692350888775, .0462363954023661, .0497550839810036}}) {
    for (size_t s = 0; s < segments.size(); s += 2) {
      const bool last = s + 2 == segments.size();  // subtracts 0.7, which as a target would be rounded to float
      network->parameters()[segments[s].offset] = last ? 1 : p.w;
      network->parameters()[segments[s + 1].offset] = last ? -0.7 : p.b;
    }
    const TestBatch batch{.size = 1, .features = {0.5}, .values = {0}};
    EXPECT_NEAR(network->LossAndGradients(batch.get()), p.loss, 1e-12);
    double dw = 0, db = 0;
    for (size_t s = 0; s + 2 < segments.size(); s += 2) {
      dw += network->gradients()[segments[s].offset];
      db += network->gradients()[segments[s + 1].offset];
    }
    EXPECT_NEAR(dw, p.dw, 1e-12);
    EXPECT_NEAR(db, p.db, 1e-12);
  }
}

TEST(NetworkTest, NanReachesLossAndGradients) {
  const DataShape data = ClassData(0, 3, 2);
  for (const char* function : {"SIGMOID", "TANH", "RELU"}) {
    SCOPED_TRACE(function);
    auto network = Make<float>("layers { dense { units: 4 } } layers { activation { function: ACTIVATION_FUNCTION_" +
                                   std::string(function) + " } } layers { dense { units: 2 } }" + kCrossEntropy,
                               data, 3);
    TestBatch batch = RandomBatch(data, 3, 1);
    batch.features[4] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(network->Loss(batch.get())));
    EXPECT_TRUE(std::isnan(network->LossAndGradients(batch.get())));
    for (const ParameterSegment& segment : network->layout().segments()) {
      const auto gradient = network->gradients().subspan(segment.offset, segment.size);
      EXPECT_TRUE(std::ranges::any_of(gradient, [](float g) { return std::isnan(g); })) << segment.name;
    }
  }
}

TEST(NetworkTest, InfiniteErrorIsInfinite) {
  const DataShape data = ValueData(0, 1, 1);
  auto network = Make<float>(std::string("layers { dense { units: 1 } }") + kSquaredError, data, 1);
  network->parameters()[0] = std::numeric_limits<float>::infinity();
  const TestBatch batch{.size = 1, .features = {1}, .values = {0}};
  EXPECT_EQ(network->LossAndGradients(batch.get()), std::numeric_limits<double>::infinity());
  EXPECT_EQ(network->gradients()[0], std::numeric_limits<float>::infinity());
}

// Each tensor is ready once, those of the last layer first, and is then as it is at the end.
TEST(NetworkTest, TellsWhichGradientsAreReady) {
  const auto network = Make<double>(std::string(kMixed) + kCrossEntropy, ClassData(6, 5, 4), 3);
  const TestBatch batch = RandomBatch(ClassData(6, 5, 4), 3, 1);
  network->LossAndGradients(batch.get());
  const std::vector<double> expected(network->gradients().begin(), network->gradients().end());
  std::ranges::fill(network->gradients(), std::numeric_limits<double>::quiet_NaN());
  size_t next = network->layout().segments().size();
  const auto check = [&](size_t first, size_t end) {
    EXPECT_LT(first, end);
    EXPECT_EQ(end, next);
    next = first;
    for (size_t i = first; i < end; ++i) {
      const ParameterSegment& segment = network->layout().segments()[i];
      const auto gradient = network->gradients().subspan(segment.offset, segment.size);
      EXPECT_TRUE(std::ranges::equal(gradient, std::span(expected).subspan(segment.offset, segment.size)))
          << segment.name;
    }
  };
  const GradientsReady ready(check);
  network->LossAndGradients(batch.get(), 0, &ready);
  EXPECT_EQ(next, 0u);
  network->LossAndGradients(batch.get());  // nobody is told any more
}

}  // namespace
}  // namespace gradwatch::core
