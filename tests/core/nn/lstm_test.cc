// What an LSTM does exactly.
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
enum { kGateI, kGateF, kGateG, kGateO };

std::unique_ptr<Network<double>> Make(const std::string& layers, const DataShape& data, int64_t batch) {
  auto network =
      Network<double>::Create(ParseModel(layers + " loss { function: LOSS_FUNCTION_SQUARED_ERROR }"), data, batch);
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
  std::vector<double> c(units), h(units), all;
  for (int t = 0; t < steps; ++t) {
    const std::vector<double> last = h;
    for (int j = 0; j < units; ++j) {
      double a[4];
      for (int gate = 0; gate < 4; ++gate) {
        const int row = gate * units + j;
        a[gate] = b[row] + b2[row];
        for (int k = 0; k < inputs; ++k) a[gate] += w[row * inputs + k] * x[t * inputs + k];
        for (int k = 0; k < units; ++k) a[gate] += u[row * units + k] * last[k];
      }
      c[j] = Sigmoid(a[kGateF]) * c[j] + Sigmoid(a[kGateI]) * std::tanh(a[kGateG]);
      h[j] = Sigmoid(a[kGateO]) * std::tanh(c[j]);
    }
    all.insert(all.end(), h.begin(), h.end());
  }
  return all;
}

TEST(LstmTest, FollowsTheFormulas) {
  for (const int steps : {1, 4}) {
    const DataShape data = ValueData(steps, 3, 19, true);
    auto network = Make("layers { lstm { units: 19 } }", data, 1);
    for (int i = 0; i < 4 * 19; ++i) Parameter(network.get(), kBiasHh)[i] = std::sin(i);
    const TestBatch batch = RandomBatch(data, 1, 1);
    network->Loss(batch.get());
    const std::vector<double> expected = ByHand(network.get(), batch.features, steps, 3, 19);
    ASSERT_EQ(network->outputs().size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(network->outputs()[i], expected[i], 1e-15);
  }
}

// One unit with all gates driven by the input: (1, 0) writes tanh(0.5) into the cell, (0, 0) keeps it, (0, 1) shows it.
struct Latch {
  explicit Latch(int steps)
      : data(ValueData(steps, 2, 1, true)), network(Make("layers { lstm { units: 1 } }", data, 1)) {
    constexpr double kOpen = 1e4;
    auto* const n = network.get();
    std::fill(n->parameters().begin(), n->parameters().end(), 0);
    Parameter(n, kWeightIh)[kGateI * 2 + 0] = 2 * kOpen;
    Parameter(n, kWeightIh)[kGateO * 2 + 1] = 2 * kOpen;
    Parameter(n, kBiasIh)[kGateI] = -kOpen;
    Parameter(n, kBiasIh)[kGateF] = kOpen;
    Parameter(n, kBiasIh)[kGateG] = 0.5;
    Parameter(n, kBiasIh)[kGateO] = -kOpen;
    batch = {.size = 1, .features = std::vector<float>(2 * steps), .values = std::vector<float>(steps)};
    batch.features.front() = 1;
    batch.features.back() = 1;
    n->LossAndGradients(batch.get());
  }

  DataShape data;
  std::unique_ptr<Network<double>> network;
  TestBatch batch;
};

TEST(LstmTest, KeepsItsCellExactlyWhileTheForgetGateIsOpen) {
  Latch brief(2), lasting(200);
  const double shown = brief.network->outputs().back();
  EXPECT_NEAR(shown, std::tanh(std::tanh(0.5)), 1e-15);
  EXPECT_EQ(lasting.network->outputs().back(), shown);
  for (int t = 0; t + 1 < 200; ++t) EXPECT_LT(std::abs(lasting.network->outputs()[t]), 1e-300) << t;
}

TEST(LstmTest, CarriesTheGradientUnchangedWhileTheForgetGateIsOpen) {
  Latch brief(2), lasting(200);
  // The loss is a mean over the steps.
  const double g = Gradient(brief.network.get(), kBiasIh)[kGateG] * 2;
  const double cell = std::tanh(0.5), shown = std::tanh(cell);
  EXPECT_NEAR(g, 2 * shown * (1 - shown * shown) * (1 - cell * cell), 1e-15);
  EXPECT_NEAR(Gradient(lasting.network.get(), kBiasIh)[kGateG] * 200, g, 1e-14);
}

TEST(LstmTest, StartsWithinItsBoundAndWithAnOpenForgetGate) {
  const struct {
    const char* fields;
    double forget_bias;
  } cases[] = {{"", 1}, {"forget_bias: -2.5", -2.5}, {"forget_bias: 0", 0}};
  for (const auto& c : cases) {
    auto network = Make(std::string("layers { dense { units: 64 } } layers { residual { layers { lstm { units: 64 ") +
                            c.fields + " } } } } layers { last_step {} } layers { dense { units: 4 } }",
                        ValueData(3, 5, 4), 2);
    for (const int weight : {2 + kWeightIh, 2 + kWeightHh}) {
      double largest = 0;
      for (const double w : Parameter(network.get(), weight)) largest = std::max(largest, std::abs(w));
      EXPECT_LE(largest, 1.0 / 8);
      EXPECT_GT(largest, 0.99 / 8);
    }
    for (int i = 0; i < 4 * 64; ++i) {
      ASSERT_EQ(Parameter(network.get(), 2 + kBiasIh)[i], i / 64 == kGateF ? c.forget_bias : 0) << i;
      ASSERT_EQ(Parameter(network.get(), 2 + kBiasHh)[i], 0) << i;
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
