// Adam's exact laws: its first step, and what one spike leaves behind.
#include "core/optim/adam.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace gradwatch::core {
namespace {

// One parameter and its optimizer.
struct OneParameter {
  explicit OneParameter(const std::string& options) {
    v1::OptimizerSpec spec;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString("learning_rate: 1 " + options, &spec));
    layout.Add("p", {1}, 0, v1::Initializer());
    gradients.resize(layout.arena_size());
    parameters.resize(layout.arena_size());
    record.tensors.resize(1);
    optimizer = MakeOptimizer<double>(spec, &layout);
  }
  // How far the parameter moves, down being positive.
  double Move(double rate, double gradient, double clip_scale = 1) {
    const double before = parameters[0];
    gradients[0] = gradient;
    record.tensors[0].clip_scale = clip_scale;
    optimizer->Step(rate, gradients, parameters, &record);
    return before - parameters[0];
  }

  ParameterLayout layout;
  std::vector<double> gradients, parameters;
  StepRecord record;
  std::unique_ptr<Optimizer<double>> optimizer;
};

TEST(AdamTest, TheFirstStepIsTheRateTimesTheSign) {
  for (const char* const method : {"OPTIMIZER_METHOD_ADAM", "OPTIMIZER_METHOD_ADAMW"}) {
    for (const double gradient : {1e-6, -3e-2, 5.0, -1e12}) {
      OneParameter p(std::string("epsilon: 1e-25 method: ") + method);
      EXPECT_NEAR(p.Move(0.25, gradient), std::copysign(0.25, gradient), 1e-15) << method << " " << gradient;
    }
    OneParameter p(std::string("method: ") + method);
    EXPECT_EQ(p.Move(0.25, 0), 0) << method;
  }
}

TEST(AdamTest, DecoupledDecayDoesNotGoThroughTheMoments) {
  OneParameter p("method: OPTIMIZER_METHOD_ADAMW weight_decay: 0.1");
  p.parameters[0] = 2;
  EXPECT_NEAR(p.Move(0.5, 0), 2 * 0.5 * 0.1, 1e-15);
  EXPECT_EQ(p.optimizer->state()[0], 0);
}

// Gradients of 1 for ever, one of K, and 1 again. j steps after the spike the moments are known exactly:
// mean = 1 + (1 - b1) b1^j (K - 1), square = 1 + (1 - b2) b2^j (K^2 - 1), and the step is the rate times mean over
// root.
TEST(AdamTest, ASpikeShortensTheStepsForAThousandSteps) {
  constexpr double kBeta1 = 0.9, kBeta2 = 0.999;
  for (const double spike : {10.0, 100.0, 1000.0}) {
    OneParameter p("method: OPTIMIZER_METHOD_ADAM epsilon: 1e-25");
    p.optimizer->set_updates(10'000'000);  // no bias any more
    p.optimizer->state()[0] = p.optimizer->state()[p.layout.arena_size()] = 1;
    p.parameters[0] = 0;
    for (int j = 0; j <= 3000; ++j) {
      const double mean = 1 + (1 - kBeta1) * std::pow(kBeta1, j) * (spike - 1);
      const double square = 1 + (1 - kBeta2) * std::pow(kBeta2, j) * (spike * spike - 1);
      p.parameters[0] = 0;  // so that small steps are not rounded
      ASSERT_NEAR(p.Move(1, j == 0 ? spike : 1) / (mean / std::sqrt(square)), 1, 1e-9) << spike << " after " << j;
    }
  }
}

// The figures of the table: how many times shorter the step is, the mean having forgotten the spike.
TEST(AdamTest, SpikePoisoningTable) {
  const struct {
    double spike;
    int after;
    double shorter;
  } table[] = {
      {1000, 200, 28.6295}, {1000, 1000, 19.2014}, {1000, 3000, 7.1213}, {100, 200, 3.0308}, {10, 200, 1.0397}};
  for (const auto& row : table) {
    OneParameter p("method: OPTIMIZER_METHOD_ADAM epsilon: 1e-25");
    p.optimizer->set_updates(10'000'000);
    p.optimizer->state()[0] = p.optimizer->state()[p.layout.arena_size()] = 1;
    double move = p.Move(1, row.spike);
    for (int j = 1; j <= row.after; ++j) {
      p.parameters[0] = 0;
      move = p.Move(1, 1);
    }
    EXPECT_NEAR(1 / move, row.shorter, 1e-4) << row.spike << " after " << row.after;
  }
}

TEST(AdamTest, ASpikeThatIsClippedLeavesNothingBehind) {
  OneParameter p("method: OPTIMIZER_METHOD_ADAM epsilon: 1e-25");
  p.optimizer->set_updates(10'000'000);
  p.optimizer->state()[0] = p.optimizer->state()[p.layout.arena_size()] = 1;
  EXPECT_NEAR(p.Move(1, 1024, 1.0 / 1024), 1, 1e-12);
  EXPECT_NEAR(p.Move(1, 1), 1, 1e-12);
}

// The moments by hand, with another beta1 on each of two steps.
TEST(AdamTest, TheScheduleMayDriveBeta1) {
  OneParameter p("method: OPTIMIZER_METHOD_ADAM epsilon: 1e-25");
  p.optimizer->SetMomentum(0.5);
  EXPECT_NEAR(p.Move(1, 2), 1, 1e-15);
  p.optimizer->SetMomentum(0.75);
  // mean 0.75 * 1 + 0.25 * 2 = 1.25, over 1 - 0.75^2; root of the unbiased square 2
  EXPECT_NEAR(p.Move(1, 2), 1.25 / (1 - 0.5625) / 2, 1e-12);
}

}  // namespace
}  // namespace gradwatch::core
