// Where each optimizer begins to diverge on a quadratic lambda x^2 / 2: the sharpness at which the linear map of one
// step has an eigenvalue of absolute value 1. Cohen et al. 2021 and 2022 give the values.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <string>
#include <vector>

#include "core/optim/optimizer.h"

namespace gradwatch::core {
namespace {

constexpr double kRate = 0.05;
// So small that squares of gradients vanish against the frozen second moments.
constexpr double kAmplitude = 1e-9;
// Updates so far, so many that no moment is biased any more.
constexpr int64_t kManyUpdates = 10'000'000;

struct Case {
  const char* spec;
  double threshold;   // largest stable sharpness, for second moments of 1
  int momentum = -1;  // which state is the momentum; -1: none
  int second = -1;    // which state is the second moment; -1: none
  double decay = 1;   // of the second moment
};

// One step at sharpness `lambda` from parameter x and momentum state m; second moments come out as 1.
struct Point {
  double x, m;
};

Point StepFrom(const Case& c, Optimizer<double>* optimizer, double lambda, const Point& from) {
  std::vector<double> gradients(16), parameters(16);
  const int64_t arena = 16;
  StepRecord record;
  record.tensors.resize(1);
  parameters[0] = from.x;
  gradients[0] = lambda * from.x;
  const auto state = optimizer->state();
  if (c.momentum >= 0) state[c.momentum * arena] = from.m;
  if (c.second >= 0) state[c.second * arena] = 1 / c.decay;
  optimizer->set_updates(kManyUpdates);
  optimizer->Step(kRate, gradients, parameters, &record);
  return {parameters[0], c.momentum >= 0 ? state[c.momentum * arena] : 0};
}

double SpectralRadius(const Case& c, Optimizer<double>* optimizer, double lambda) {
  const Point of_x = StepFrom(c, optimizer, lambda, {kAmplitude, 0});
  const Point of_m = StepFrom(c, optimizer, lambda, {0, kAmplitude});
  const double trace = (of_x.x + of_m.m) / kAmplitude;
  const double determinant = (of_x.x * of_m.m - of_m.x * of_x.m) / (kAmplitude * kAmplitude);
  const std::complex<double> root = std::sqrt(std::complex<double>(trace * trace / 4 - determinant));
  return std::max(std::abs(trace / 2 + root), std::abs(trace / 2 - root));
}

TEST(StabilityTest, ThresholdsOnAQuadraticAreSharp) {
  const Case cases[] = {
      {"", 2 / kRate},
      {"weight_decay: 3", 2 / kRate - 3},
      {"weight_decay: 3 decoupled_decay: true", 2 / kRate - 3},
      {"momentum: 0.9", 2 * (1 + 0.9) / kRate, 0},
      {"momentum: 0.5", 2 * (1 + 0.5) / kRate, 0},
      // The buffer takes half of each gradient, which is as if the rate were half.
      {"momentum: 0.9 dampening: 0.5", 4 * (1 + 0.9) / kRate, 0},
      {"momentum: 0.9 nesterov: true", (2 + 2 * 0.9) / ((1 + 2 * 0.9) * kRate), 0},
      {"momentum: 0.5 nesterov: true", (2 + 2 * 0.5) / ((1 + 2 * 0.5) * kRate), 0},
      {"method: OPTIMIZER_METHOD_RMSPROP epsilon: 1e-20", 2 / kRate, -1, 0, 0.99},
      {"method: OPTIMIZER_METHOD_RMSPROP epsilon: 1e-20 momentum: 0.9", 2 * (1 + 0.9) / kRate, 1, 0, 0.99},
      {"method: OPTIMIZER_METHOD_ADAGRAD epsilon: 1e-20", 2 / kRate, -1, 0, 1},
      {"method: OPTIMIZER_METHOD_ADAM epsilon: 1e-20", 2 * (1 + 0.9) / ((1 - 0.9) * kRate), 0, 1, 0.999},
      {"method: OPTIMIZER_METHOD_ADAM epsilon: 1e-20 beta1: 0.5", 2 * (1 + 0.5) / ((1 - 0.5) * kRate), 0, 1, 0.999},
      {"method: OPTIMIZER_METHOD_ADAM epsilon: 0.25", 1.25 * 38 / kRate, 0, 1, 0.999},
      {"method: OPTIMIZER_METHOD_ADAMW epsilon: 1e-20 weight_decay: 0", 38 / kRate, 0, 1, 0.999},
      {"method: OPTIMIZER_METHOD_ADAM epsilon: 1e-20 amsgrad: true", 38 / kRate, 0, 2, 1},
  };
  ParameterLayout layout;
  layout.Add("x", {1}, 0, v1::Initializer());
  for (const Case& c : cases) {
    v1::OptimizerSpec spec;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(std::string("learning_rate: 1 ") + c.spec, &spec));
    const auto optimizer = MakeOptimizer<double>(spec, &layout);
    EXPECT_LT(SpectralRadius(c, optimizer.get(), c.threshold * (1 - 1e-9)), 1) << c.spec;
    EXPECT_GT(SpectralRadius(c, optimizer.get(), c.threshold * (1 + 1e-9)), 1) << c.spec;
  }
}

}  // namespace
}  // namespace gradwatch::core
