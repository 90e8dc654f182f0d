#include "tests/science/mean_field.h"

#include <cmath>
#include <vector>

#include "core/nn/activation_function.h"

namespace gradwatch::science {
namespace {

// Fine enough for slopes that are narrow against the normal density, as tanh's at q = 400.
constexpr int kCells = 20'000;
constexpr double kEnd = 10, kCell = 2 * kEnd / kCells;

double Middle(int cell) { return -kEnd + (cell + 0.5) * kCell; }

double NormalMeanOfSquares(const std::vector<double>& values) {
  double sum = 0;
  for (int i = 0; i < kCells; ++i) sum += values[i] * values[i] * std::exp(-Middle(i) * Middle(i) / 2);
  return sum * kCell / std::sqrt(2 * M_PI);
}

}  // namespace

FunctionMoments MomentsOfFunction(v1::ActivationFunction function, double q) {
  std::vector<double> x(kCells), y(kCells), slope(kCells, 1);
  for (int i = 0; i < kCells; ++i) x[i] = std::sqrt(q) * Middle(i);
  core::ApplyActivation(function, kCells, x.data(), y.data());
  const bool reads_input = core::ActivationReadsInput(function);
  core::ActivationBackward(function, kCells, reads_input ? x.data() : y.data(), slope.data(), slope.data());
  return {NormalMeanOfSquares(y), NormalMeanOfSquares(slope)};
}

double SettledVariance(v1::ActivationFunction function, double weight_variance, double bias_variance) {
  double q = 1, last = 0;
  for (int i = 0; i < 2000 && std::fabs(q - last) > 1e-12; ++i) {
    last = q;
    q = weight_variance * MomentsOfFunction(function, q).square + bias_variance;
  }
  return q;
}

double Chi(v1::ActivationFunction function, double weight_variance, double q) {
  return weight_variance * MomentsOfFunction(function, q).slope_square;
}

}  // namespace gradwatch::science
