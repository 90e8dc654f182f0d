// Full-batch gradient descent drives the sharpness, the largest eigenvalue of the Hessian, to 2 / rate and holds it
// there while the loss still falls, though no longer at every step (Cohen et al. 2021).
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "core/nn/network.h"
#include "tests/science/science_table.h"
#include "tests/support/test_batch.h"

namespace gradwatch::science {
namespace {

constexpr int64_t kSamples = 200, kInputs = 20;
using Vector = std::vector<double>;

double Dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// 20-64-64-1 with tanh on 200 random examples; the loss is half of the mean squared error.
class Descent {
 public:
  explicit Descent(double rate) : rate_(rate) {
    const char* const model =
        "layers { dense { units: 64 } } layers { activation { function: ACTIVATION_FUNCTION_TANH } } "
        "layers { dense { units: 64 } } layers { activation { function: ACTIVATION_FUNCTION_TANH } } "
        "layers { dense { units: 1 } } loss { function: LOSS_FUNCTION_SQUARED_ERROR }";
    network_ = *core::Network<double>::Create(testing::ParseModel(model), testing::ValueData(0, kInputs, 1), kSamples);
    network_->Initialize(1);
    batch_ = testing::RandomBatch(testing::ValueData(0, kInputs, 1), kSamples, 1);
    // A smooth function that can be learnt.
    for (int64_t i = 0; i < kSamples; ++i) {
      batch_.values[i] = std::sin(batch_.features[i * kInputs] + batch_.features[i * kInputs + 1]);
    }
    direction_.resize(network_->parameters().size());
    core::Random random(1, core::RandomStream::kSyntheticData, 7);
    for (double& d : direction_) d = random.NextNormal();
  }

  // Takes a step and returns the loss before it.
  double Step() {
    const double loss = network_->LossAndGradients(batch_.get()) / 2;
    for (size_t i = 0; i < direction_.size(); ++i) {
      network_->parameters()[i] -= rate_ * network_->gradients()[i] / 2;
    }
    return loss;
  }

  // By power iteration on differences of gradients, from the last direction.
  double Sharpness() {
    double value = 0;
    for (int i = 0; i < 40; ++i) {
      const double norm = std::sqrt(Dot(direction_, direction_));
      for (double& d : direction_) d /= norm;
      const Vector product = HessianTimesDirection();
      value = Dot(direction_, product);
      direction_ = product;
    }
    return value;
  }

 private:
  Vector GradientAt(const Vector& parameters) {
    std::copy(parameters.begin(), parameters.end(), network_->parameters().begin());
    network_->LossAndGradients(batch_.get());
    return {network_->gradients().begin(), network_->gradients().end()};
  }

  Vector HessianTimesDirection() {
    constexpr double kStep = 1e-5;
    const Vector here(network_->parameters().begin(), network_->parameters().end());
    Vector above = here, below = here;
    for (size_t i = 0; i < here.size(); ++i) {
      above[i] += kStep * direction_[i];
      below[i] -= kStep * direction_[i];
    }
    Vector product = GradientAt(above);
    const Vector subtract = GradientAt(below);
    for (size_t i = 0; i < here.size(); ++i) product[i] = (product[i] - subtract[i]) / (2 * kStep) / 2;
    std::copy(here.begin(), here.end(), network_->parameters().begin());
    return product;
  }

  const double rate_;
  std::unique_ptr<core::Network<double>> network_;
  testing::TestBatch batch_;
  Vector direction_;
};

class ScienceEdgeOfStability : public ::testing::TestWithParam<double> {};

TEST_P(ScienceEdgeOfStability, SharpnessHoversAtTwoOverTheRate) {
  const double rate = GetParam();
  Descent descent(rate);
  double last = descent.Step(), largest_ratio = 0, smallest_ratio = 1e9;
  int rises = 0;
  for (int step = 1; step <= 4000; ++step) {
    const double loss = descent.Step();
    rises += loss > last ? 1 : 0;
    last = loss;
    if (step < 2500 || step % 250 != 0) continue;
    const double ratio = descent.Sharpness() * rate / 2;
    largest_ratio = std::max(largest_ratio, ratio);
    smallest_ratio = std::min(smallest_ratio, ratio);
  }
  const std::string experiment = absl::StrCat("edge of stability, rate ", rate);
  ExpectBetween(experiment, "sharpness / (2 / rate), smallest", 0.95, 1.06, smallest_ratio);
  ExpectBetween(experiment, "sharpness / (2 / rate), largest", 0.95, 1.06, largest_ratio);
  ExpectBetween(experiment, "steps on which the loss rose", 100, 4000, rises);
  ExpectBetween(experiment, "final loss", 0, 1e-2, last);
}

INSTANTIATE_TEST_SUITE_P(Rates, ScienceEdgeOfStability, ::testing::Values(0.2, 0.5, 1.0));

}  // namespace
}  // namespace gradwatch::science
