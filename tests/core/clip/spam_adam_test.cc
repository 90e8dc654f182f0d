// SPAM with the optimizer that it needs: clipper and AdamW together against the published program, written out in
// double.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "core/base/random.h"
#include "core/clip/clipper.h"
#include "core/optim/optimizer.h"
#include "core/stats/gradient_statistics.h"

namespace gradwatch::core {
namespace {

constexpr int kParameters = 12;
constexpr double kRate = 1e-2, kDecay = 0.01, kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;

// Normal numbers of different sizes; on every 37th step one of them is 1,000 times as large.
std::vector<double> GradientAt(int step) {
  Random random(11, RandomStream::kSyntheticData, static_cast<uint64_t>(step));
  std::vector<double> gradient;
  for (int i = 0; i < kParameters; ++i) gradient.push_back(std::pow(10.0, -(i % 4)) * (0.1 + random.NextNormal()));
  if (step % 37 == 36) gradient[step % kParameters] *= 1000;
  return gradient;
}

// galore_torch/SPAM.py of the authors: theta 5000, resets every 500 steps, warm-up 150.
class Published {
 public:
  void Step(std::vector<double> gradient) {
    ++step_;
    if (step_ % 500 == 0) mean_ = square_ = std::vector<double>(kParameters);
    const int since = step_ % 500;
    const bool after_reset = step_ >= 500 && since <= 150;
    const double scale = after_reset ? 1 - 0.99 * (1 + std::cos(std::numbers::pi * since / 151)) / 2 : 1;
    const double rate = kRate * scale;
    for (int i = 0; i < kParameters; ++i) {
      double& g = gradient[i];
      const double bound = 5000 * square_[i];
      if (step_ >= 20 && since >= 20 && g * g > bound) {
        g = std::copysign(std::sqrt(bound), g);
        ++cuts;
      }
      mean_[i] = kBeta1 * mean_[i] + (1 - kBeta1) * g;
      square_[i] = kBeta2 * square_[i] + (1 - kBeta2) * g * g;
      const double mean = mean_[i] / (1 - std::pow(kBeta1, step_));
      const double square = square_[i] / (1 - std::pow(kBeta2, step_));
      parameters[i] = (1 - rate * kDecay) * parameters[i] - rate * mean / (std::sqrt(square) + kEpsilon);
    }
  }

  std::vector<double> parameters = std::vector<double>(kParameters, 1);
  int cuts = 0;

 private:
  int step_ = 0;
  std::vector<double> mean_ = std::vector<double>(kParameters), square_ = mean_;
};

// What the trainer does with one step's gradients.
class Ours {
 public:
  Ours() : parameters(Layout()->arena_size(), 1), clipper_(Layout()) {
    v1::OptimizerSpec spec;
    spec.set_method(v1::OPTIMIZER_METHOD_ADAMW);
    spec.set_learning_rate(kRate);
    optimizer_ = MakeOptimizer<double>(spec, Layout());
    v1::ClipSettings settings;
    settings.set_mode(v1::CLIP_MODE_SPAM);
    clipper_.Configure(settings);
    record_.tensors.resize(1);
  }

  void Step(std::vector<double> gradient) {
    gradient.resize(parameters.size());
    MeasureGradients<double>(*Layout(), gradient, v1::STATISTICS_LEVEL_FULL, nullptr, &record_);
    clipper_.Apply({gradient, parameters, optimizer_->second_moment()}, &record_);
    if (record_.clip.moments_reset) optimizer_->ResetMoments();
    cuts += record_.clip.elements_clipped;
    optimizer_->Step(kRate * record_.clip.learning_rate_scale, gradient, parameters, &record_);
  }

  std::vector<double> parameters;
  int64_t cuts = 0;

 private:
  static const ParameterLayout* Layout() {
    static const auto* const layout = [] {
      auto* made = new ParameterLayout;
      made->Add("weight", {kParameters}, 0, v1::Initializer());
      return made;
    }();
    return layout;
  }

  Clipper<double> clipper_;
  std::unique_ptr<Optimizer<double>> optimizer_;
  StepRecord record_;
};

TEST(SpamAdamTest, ThePairTrainsAsPublished) {
  Published published;
  Ours ours;
  for (int step = 0; step < 1700; ++step) {
    const std::vector<double> gradient = GradientAt(step);
    published.Step(gradient);
    ours.Step(gradient);
    for (int i = 0; i < kParameters; ++i) {
      ASSERT_NEAR(ours.parameters[i], published.parameters[i], 1e-11) << "step " << step << ", parameter " << i;
    }
  }
  EXPECT_EQ(ours.cuts, published.cuts);
  EXPECT_GT(ours.cuts, 20) << "or the test shows nothing";
}

}  // namespace
}  // namespace gradwatch::core
