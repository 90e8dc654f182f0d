// What a GRU does exactly.
#include <gtest/gtest.h>

#include <cmath>
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

enum { kWeightIh, kWeightHh, kBiasIh, kBiasHh };
enum { kGateR, kGateZ, kGateN };

std::unique_ptr<Network<double>> Make(int units, const DataShape& data) {
  auto network = Network<double>::Create(ParseModel("layers { gru { units: " + std::to_string(units) +
                                                    " } } loss { function: LOSS_FUNCTION_SQUARED_ERROR }"),
                                         data, 1);
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

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// One example by the formulas; x is [steps, inputs], the result every h_t.
std::vector<double> ByHand(Network<double>* network, const std::vector<float>& x, int steps, int inputs, int units) {
  const auto w = Parameter(network, kWeightIh), u = Parameter(network, kWeightHh), b = Parameter(network, kBiasIh),
             b2 = Parameter(network, kBiasHh);
  std::vector<double> h(units), all;
  for (int t = 0; t < steps; ++t) {
    const std::vector<double> last = h;
    for (int j = 0; j < units; ++j) {
      double input[3], recurrent[3];
      for (int gate = 0; gate < 3; ++gate) {
        const int row = gate * units + j;
        input[gate] = b[row];
        recurrent[gate] = b2[row];
        for (int k = 0; k < inputs; ++k) input[gate] += w[row * inputs + k] * x[t * inputs + k];
        for (int k = 0; k < units; ++k) recurrent[gate] += u[row * units + k] * last[k];
      }
      const double r = Sigmoid(input[kGateR] + recurrent[kGateR]), z = Sigmoid(input[kGateZ] + recurrent[kGateZ]);
      const double n = std::tanh(input[kGateN] + r * recurrent[kGateN]);
      h[j] = (1 - z) * n + z * last[j];
    }
    all.insert(all.end(), h.begin(), h.end());
  }
  return all;
}

TEST(GruTest, FollowsTheFormulas) {
  for (const int steps : {1, 4}) {
    const DataShape data = ValueData(steps, 3, 19, true);
    auto network = Make(19, data);
    for (int i = 0; i < 3 * 19; ++i) {
      Parameter(network.get(), kBiasIh)[i] = std::cos(i);
      Parameter(network.get(), kBiasHh)[i] = std::sin(i);
    }
    const TestBatch batch = RandomBatch(data, 1, 1);
    network->Loss(batch.get());
    const std::vector<double> expected = ByHand(network.get(), batch.features, steps, 3, 19);
    ASSERT_EQ(network->outputs().size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(network->outputs()[i], expected[i], 1e-15);
  }
}

// One unit: (1) writes tanh(0.5) into the state, (0) keeps it.
TEST(GruTest, KeepsItsStateAndTheGradientWhileTheUpdateGateIsClosed) {
  std::vector<double> shown, gradients;
  for (const int steps : {2, 200}) {
    const DataShape data = ValueData(steps, 1, 1, true);
    auto network = Make(1, data);
    std::fill(network->parameters().begin(), network->parameters().end(), 0);
    Parameter(network.get(), kWeightIh)[kGateZ] = -2e4;
    Parameter(network.get(), kBiasIh)[kGateZ] = 1e4;
    Parameter(network.get(), kBiasIh)[kGateN] = 0.5;
    TestBatch batch{.size = 1, .features = std::vector<float>(steps), .values = std::vector<float>(steps)};
    batch.features[0] = 1;
    network->Loss(batch.get());
    // All but the last step are on target, to rounding.
    for (int t = 0; t + 1 < steps; ++t) batch.values[t] = static_cast<float>(network->outputs()[t]);
    network->LossAndGradients(batch.get());
    for (int t = 0; t < steps; ++t) EXPECT_EQ(network->outputs()[t], network->outputs()[0]) << t;
    shown.push_back(network->outputs().back());
    gradients.push_back(Gradient(network.get(), kBiasIh)[kGateN] * steps);
  }
  EXPECT_NEAR(shown[0], std::tanh(0.5), 1e-15);
  EXPECT_EQ(shown[1], shown[0]);
  EXPECT_NEAR(gradients[0], 2 * shown[0] * (1 - shown[0] * shown[0]), 1e-7);
  EXPECT_NEAR(gradients[1], gradients[0], 1e-5);
}

TEST(GruTest, StartsWithinItsBound) {
  auto network = Make(64, ValueData(3, 5, 64, true));
  for (const int weight : {kWeightIh, kWeightHh}) {
    double largest = 0;
    for (const double w : Parameter(network.get(), weight)) largest = std::max(largest, std::abs(w));
    EXPECT_LE(largest, 1.0 / 8);
    EXPECT_GT(largest, 0.99 / 8);
  }
  for (const int bias : {kBiasIh, kBiasHh}) {
    for (const double b : Parameter(network.get(), bias)) ASSERT_EQ(b, 0);
  }
}

}  // namespace
}  // namespace gradwatch::core
