// Full-batch gradient descent drives the sharpness, the largest eigenvalue of the Hessian, to 2 / rate and holds it
// there while the loss still falls, though no longer at every step (Cohen et al. 2021). A loss that rises on hundreds
// of steps and yet is no explosion.
//
// The values to learn are random: they must be memorised, which takes sharp solutions. (What is smooth enough to be
// learnt sooner never reaches the edge at rate 0.2.) Their deviation is 1/2, so that the start at rate 1, which is
// beyond the edge, throws the network back without losing it. It is the negative control of the default rules: that a
// loss goes up and down for ever is no news. Excursions are: memorising noise, this network comes off the edge a few
// times, and its loss is then a hundred times its best for twenty steps and more, and above its start.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "core/detect/detector.h"
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

double Norm(std::span<const double> values) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares);
}

// 20-64-64-1 with tanh on 200 random examples, started as PyTorch would; the loss is half of the mean squared error.
class Descent {
 public:
  explicit Descent(double rate) : rate_(rate) {
    const char* const model =
        "layers { dense { units: 64 weight_init { method: INITIALIZER_METHOD_PYTORCH } } } "
        "layers { activation { function: ACTIVATION_FUNCTION_TANH } } "
        "layers { dense { units: 64 weight_init { method: INITIALIZER_METHOD_PYTORCH } } } "
        "layers { activation { function: ACTIVATION_FUNCTION_TANH } } "
        "layers { dense { units: 1 weight_init { method: INITIALIZER_METHOD_PYTORCH } } } "
        "loss { function: LOSS_FUNCTION_SQUARED_ERROR }";
    network_ = *core::Network<double>::Create(testing::ParseModel(model), testing::ValueData(0, kInputs, 1), kSamples);
    StartAsPyTorch();
    batch_ = testing::RandomBatch(testing::ValueData(0, kInputs, 1), kSamples, 1);
    for (float& value : batch_.values) value /= 2;
    direction_.resize(network_->parameters().size());
    core::Random random(1, core::RandomStream::kSyntheticData, 7);
    for (double& d : direction_) d = random.NextNormal();
    std::vector<std::string> names;
    for (const core::ParameterSegment& segment : network_->layout().segments()) names.push_back(segment.name);
    record_.tensors.resize(names.size());
    record_.learning_rate = rate;
    detector_ = std::make_unique<core::Detector>(v1::RuleSet(), std::move(names), core::AlertIdentity());
  }

  // Takes a step and returns the loss before it. The rules see what a trainer would show them.
  double Step() {
    const double loss = network_->LossAndGradients(batch_.get()) / 2;
    losses_.push_back(loss);
    Measure(loss);
    Judge();
    ++record_.step;
    for (size_t i = 0; i < direction_.size(); ++i) {
      network_->parameters()[i] -= rate_ * network_->gradients()[i] / 2;
    }
    return loss;
  }

  // Critical alerts so far that came while the loss was near its best: none of the last 20 was 3 times as high.
  const std::vector<std::string>& false_alarms() const { return false_alarms_; }

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
  // What the step is about to do.
  void Measure(double loss) {
    record_.loss = loss;
    double squares = 0;
    for (size_t i = 0; i < record_.tensors.size(); ++i) {
      const core::ParameterSegment& segment = network_->layout().segments()[i];
      core::TensorStatistics& tensor = record_.tensors[i];
      tensor.l2_norm = Norm(network_->gradients().subspan(segment.offset, segment.size)) / 2;
      tensor.weight_norm = Norm(network_->parameters().subspan(segment.offset, segment.size));
      tensor.update_norm = rate_ * tensor.l2_norm;
      squares += tensor.l2_norm * tensor.l2_norm;
    }
    record_.grad_norm = std::sqrt(squares);
  }

  void Judge() {
    std::vector<v1::Alert> alerts;
    detector_->JudgeGradients(record_, absl::UnixEpoch(), &alerts);
    detector_->JudgeUpdate(record_, absl::UnixEpoch(), &alerts);
    Vector last(losses_.end() - std::min<ptrdiff_t>(50, std::ssize(losses_)), losses_.end());
    const double highest = *std::max_element(last.end() - std::min<ptrdiff_t>(20, std::ssize(last)), last.end());
    std::ranges::nth_element(last, last.begin() + std::ssize(last) / 2);
    best_ = std::min(best_, last[last.size() / 2]);
    for (const v1::Alert& alert : alerts) {
      if (alert.severity() != v1::SEVERITY_CRITICAL || alert.state() != v1::ALERT_STATE_FIRING) continue;
      if (highest < 3 * best_) false_alarms_.push_back(absl::StrCat(alert.step(), " ", alert.rule()));
    }
  }

  // Biases too are uniform within 1 / sqrt(fan_in) of the weight before them.
  void StartAsPyTorch() {
    network_->Initialize(1);
    double bound = 0;
    uint64_t index = 900;
    for (const core::ParameterSegment& segment : network_->layout().segments()) {
      core::Random random(5, core::RandomStream::kSyntheticData, index++);
      if (segment.shape.size() > 1) {
        bound = 1 / std::sqrt(static_cast<double>(segment.fan_in));
        continue;
      }
      for (double& bias : network_->parameters().subspan(segment.offset, segment.size)) {
        bias = bound * (2 * random.NextUniform() - 1);
      }
    }
  }

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
  core::StepRecord record_;
  std::unique_ptr<core::Detector> detector_;
  Vector losses_;
  double best_ = std::numeric_limits<double>::infinity();  // the lowest median of 50 losses
  std::vector<std::string> false_alarms_;
};

class ScienceEdgeOfStability : public ::testing::TestWithParam<double> {};

TEST_P(ScienceEdgeOfStability, SharpnessHoversAtTwoOverTheRate) {
  const double rate = GetParam();
  const std::string experiment = absl::StrCat("edge of stability, rate ", rate);
  Descent descent(rate);
  // PyTorch's start has a sharpness of 2.5 here: below the edge at rates 0.2 and 0.5, beyond it at rate 1.
  ExpectNear(experiment, "sharpness at the start", 2.5, descent.Sharpness(), 0.25);
  double last = descent.Step(), largest_ratio = 0, smallest_ratio = 1e9;
  int rises = 0;
  for (int step = 1; step <= 2500; ++step) {
    const double loss = descent.Step();
    rises += loss > last ? 1 : 0;
    last = loss;
    if (step < 1500 || step % 125 != 0) continue;
    const double ratio = descent.Sharpness() * rate / 2;
    largest_ratio = std::max(largest_ratio, ratio);
    smallest_ratio = std::min(smallest_ratio, ratio);
  }
  ExpectBetween(experiment, "sharpness / (2 / rate) from step 1500, least", 0.97, 1.05, smallest_ratio);
  ExpectBetween(experiment, "sharpness / (2 / rate), largest", 0.97, 1.05, largest_ratio);
  ExpectBetween(experiment, "steps on which the loss rose", 100, 2500, rises);
  ExpectBetween(experiment, "final loss", 0, 1e-3, last);
  EXPECT_THAT(descent.false_alarms(), ::testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Rates, ScienceEdgeOfStability, ::testing::Values(0.2, 0.5, 1.0));

}  // namespace
}  // namespace gradwatch::science
