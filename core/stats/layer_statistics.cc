#include "core/stats/layer_statistics.h"

#include <algorithm>
#include <cmath>

#include "core/stats/vector_sums.h"

namespace gradwatch::core {
namespace {

constexpr double kSaturatedTanh = 0.97;
constexpr double kLowSigmoid = 0.03, kHighSigmoid = 0.97;
// Units that are looked at together: their flags lie in the first-level cache.
constexpr int64_t kUnits = 512;

template <typename T>
double ShareOutside(const T* y, int64_t size, double low, double high) {
  int64_t outside = 0;
  for (int64_t i = 0; i < size; ++i) outside += (y[i] < low) || (y[i] > high) ? 1 : 0;
  return static_cast<double>(outside) / static_cast<double>(size);
}

template <typename T>
double ShareDead(const T* y, int64_t rows, int64_t features) {
  int64_t dead = 0;
  for (int64_t first = 0; first < features; first += kUnits) {
    const int64_t units = std::min(kUnits, features - first);
    bool alive[kUnits] = {};
    for (int64_t row = 0; row < rows; ++row) {
      const T* const values = y + row * features + first;
      for (int64_t unit = 0; unit < units; ++unit) alive[unit] |= values[unit] != 0;
    }
    dead += std::count(alive, alive + units, false);
  }
  return static_cast<double>(dead) / static_cast<double>(features);
}

}  // namespace

template <typename T>
void MeasureOutput(const T* y, int64_t rows, int64_t features, v1::ActivationFunction function,
                   LayerStatistics* statistics) {
  *statistics = LayerStatistics();
  const int64_t size = rows * features;
  if (size == 0) return;
  // From a number among them: the variance does not suffer from a mean that is large against it.
  const double near = FirstFinite(y, size);
  const DistanceSums sums = SumDistances(y, size, near);
  statistics->output_non_finite = size - static_cast<int64_t>(sums.count);
  if (sums.count > 0) {
    statistics->output_mean = near + sums.MeanDistance();
    statistics->output_variance = sums.Variance();
  }
  if (function == v1::ACTIVATION_FUNCTION_TANH) {
    statistics->saturated = ShareOutside(y, size, -kSaturatedTanh, kSaturatedTanh);
  } else if (function == v1::ACTIVATION_FUNCTION_SIGMOID) {
    statistics->saturated = ShareOutside(y, size, kLowSigmoid, kHighSigmoid);
  } else if (function == v1::ACTIVATION_FUNCTION_RELU) {
    statistics->dead = ShareDead(y, rows, features);
  }
}

void FillBackward(double output_norm, double input_norm, LayerStatistics* statistics) {
  statistics->has_backward = true;
  statistics->backward_norm = output_norm;
  const double growth = std::log(input_norm / output_norm);
  if (std::isfinite(growth)) statistics->backward_growth = growth;
}

template void MeasureOutput<float>(const float*, int64_t, int64_t, v1::ActivationFunction, LayerStatistics*);
template void MeasureOutput<double>(const double*, int64_t, int64_t, v1::ActivationFunction, LayerStatistics*);

}  // namespace gradwatch::core
