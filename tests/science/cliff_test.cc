// The cliff in the error of the smallest recurrent network, x_t = w sigmoid(x_{t-1}) + b from x_0 = 0.5 with the error
// (sigmoid(x_50) - 0.7)^2 (Pascanu, Mikolov, Bengio 2013, figure 6), and the explosion of the linear one. Unrolled by
// hand: fifty dense layers of one weight, whose gradients are added up.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "core/nn/network.h"
#include "tests/science/layer_signals.h"
#include "tests/science/science_table.h"
#include "tests/support/test_batch.h"

namespace gradwatch::science {
namespace {

constexpr int kSteps = 50;
constexpr char kExperiment[] = "Pascanu et al. 2013, cliff";

// A chain of layers with one unit each, in double, on the single example x_0 = 0.5 with target 0.
class Chain {
 public:
  explicit Chain(const std::string& layers) {
    const core::DataShape data = testing::ValueData(0, 1, 1);
    network_ = *core::Network<double>::Create(
        testing::ParseModel(layers + " loss { function: LOSS_FUNCTION_SQUARED_ERROR }"), data, 1);
    network_->Initialize(1);
    batch_.size = 1;
    batch_.features = {0.5f};
    batch_.values = {0};
  }

  // Of all layers but the one named `end`.
  void Set(const std::string& parameter, double value) {
    ForEach(parameter, [&](int64_t place) { network_->parameters()[place] = value; });
  }
  void SetEnd(const std::string& parameter, double value) {
    for (const core::ParameterSegment& segment : network_->layout().segments()) {
      if (segment.name == "end." + parameter) network_->parameters()[segment.offset] = value;
    }
  }
  double Run() { return network_->LossAndGradients(batch_.get()); }
  double output() const { return network_->outputs()[0]; }
  // The sum over all layers but the end: the derivative by the weight that they share.
  double Gradient(const std::string& parameter) {
    double sum = 0;
    ForEach(parameter, [&](int64_t place) { sum += network_->gradients()[place]; });
    return sum;
  }

 private:
  template <typename Visit>
  void ForEach(const std::string& parameter, const Visit& visit) {
    for (const core::ParameterSegment& segment : network_->layout().segments()) {
      if (absl::EndsWith(segment.name, "." + parameter) && !absl::StartsWith(segment.name, "end.")) {
        visit(segment.offset);
      }
    }
  }

  std::unique_ptr<core::Network<double>> network_;
  testing::TestBatch batch_;
};

// The last dense layer takes 0.7 away, which as a target would be rounded to float.
Chain SigmoidChain() {
  constexpr char kSigmoid[] = "layers { activation { function: ACTIVATION_FUNCTION_SIGMOID } } ";
  Chain chain(Repeat(std::string(kSigmoid) + "layers { dense { units: 1 } }", kSteps) + kSigmoid +
              "layers { name: 'end' dense { units: 1 } }");
  chain.SetEnd("weight", 1);
  chain.SetEnd("bias", -0.7);
  return chain;
}

TEST(SlowCliff, ErrorAndDerivativesAreExact) {
  Chain chain = SigmoidChain();
  const double table[][5] = {{5, -2, .0555854941195942, .0379183435045635, .0405211913918642},
                             {6, -3, .0525692350888775, .0462363954023661, .0497550839810036}};
  for (const auto& [w, b, error, by_w, by_b] : table) {
    const std::string at = absl::StrCat(" at (", w, ", ", b, ")");
    chain.Set("weight", w);
    chain.Set("bias", b);
    ExpectNear(kExperiment, "E" + at, error, chain.Run(), 1e-12);
    ExpectNear(kExperiment, "dE/dw" + at, by_w, chain.Gradient("weight"), 1e-12);
    ExpectNear(kExperiment, "dE/db" + at, by_b, chain.Gradient("bias"), 1e-12);
  }
}

// The wall: on a grid of 0.01 x 0.005 around it the gradient reaches 3320, at (4.94, -2.575).
TEST(SlowCliff, TheWallIsThousandsOfTimesSteeperThanTheGround) {
  Chain chain = SigmoidChain();
  double largest = 0, w_there = 0, b_there = 0;
  for (int i = 0; i <= 200; ++i) {
    for (int k = 0; k <= 200; ++k) {
      const double w = 4.5 + 0.01 * i, b = -3 + 0.005 * k;
      chain.Set("weight", w);
      chain.Set("bias", b);
      chain.Run();
      const double norm = std::hypot(chain.Gradient("weight"), chain.Gradient("bias"));
      if (norm <= largest) continue;
      largest = norm;
      w_there = w;
      b_there = b;
    }
  }
  ExpectNear(kExperiment, "largest gradient on the grid", 3320, largest, 0.5);
  ExpectNear(kExperiment, "w there", 4.94, w_there, 1e-9);
  ExpectNear(kExperiment, "b there", -2.575, b_there, 1e-9);
}

// dx_t/dw = t x_0 w^(t-1).
TEST(SlowCliff, LinearNetworksExplodeByThePowerOfTheWeight) {
  Chain chain(Repeat("layers { dense { units: 1 bias: false } }", kSteps));
  chain.Set("weight", 1.1);
  chain.Run();
  const double expected = 50 * std::pow(1.1, 49);
  ExpectNear(kExperiment, "50 x 1.1^49", 5335.94786, expected, 5e-6);
  // The loss is the square of the output.
  ExpectNear(kExperiment, "dx_50/dw / x_0 of the linear network", expected,
             chain.Gradient("weight") / (2 * chain.output()) / 0.5, 1e-12 * expected);
}

}  // namespace
}  // namespace gradwatch::science
