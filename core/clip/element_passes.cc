#include "core/clip/element_passes.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/stats/norm_sum.h"

namespace gradwatch::core {
namespace {

// Elements of a block; small enough for the first-level cache.
constexpr size_t kBlockSize = 2048;

// Squares of float fit into double. Eight sums side by side, for the vectoriser.
double Norm(std::span<const float> values) {
  constexpr size_t kLanes = 8;
  double lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      lanes[lane] += value * value;
    }
  }
  for (size_t lane = 0; i < values.size(); ++i, ++lane) lanes[lane] += double{values[i]} * values[i];
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return std::sqrt(sum);
}

double Norm(std::span<const double> values) {
  NormSum sum;
  for (const double value : values) sum.Add(std::fabs(value));
  return sum.Norm();
}

// Calls `pass` with the start and the elements of one block after the other.
template <typename T, typename Pass>
void ForBlocks(std::span<T> values, Pass pass) {
  for (size_t start = 0; start < values.size(); start += kBlockSize) {
    pass(start, values.subspan(start, std::min(kBlockSize, values.size() - start)));
  }
}

// The largest T that is not above `limit`.
template <typename T>
T RoundDown(double limit) {
  if (limit >= std::numeric_limits<T>::max()) return std::numeric_limits<T>::max();
  const T rounded = static_cast<T>(limit);
  return rounded > limit ? std::nextafter(rounded, T{0}) : rounded;
}

template <typename T>
bool IsAboveMoment(T value, T moment, double theta) {
  return double{value} * value > theta * moment;
}

// Whether any element is to be cut. Branchless, so that the compiler makes vectors of it. Where v is 0 it may say so in
// vain.
template <typename T>
bool AnyAboveMoment(std::span<const T> gradient, const T* second_moment, double theta) {
  int32_t above = 0;
  for (size_t i = 0; i < gradient.size(); ++i) above += IsAboveMoment(gradient[i], second_moment[i], theta) ? 1 : 0;
  return above > 0;
}

template <typename T>
int64_t CutBlock(std::span<T> gradient, const T* second_moment, double theta) {
  int64_t cut = 0;
  for (size_t i = 0; i < gradient.size(); ++i) {
    if (!(second_moment[i] > 0) || !IsAboveMoment(gradient[i], second_moment[i], theta)) continue;
    gradient[i] = std::copysign(static_cast<T>(std::sqrt(theta * second_moment[i])), gradient[i]);
    ++cut;
  }
  return cut;
}

}  // namespace

template <typename T>
void ZeroNonFinite(std::span<T> gradient) {
  for (T& value : gradient) value = std::fabs(value) <= std::numeric_limits<T>::max() ? value : T{0};
}

template <typename T>
void MultiplyBy(std::span<T> gradient, double coefficient) {
  for (T& value : gradient) value = static_cast<T>(value * coefficient);
}

template <typename T>
PassOutcome ClampMagnitudes(std::span<T> gradient, double limit) {
  PassOutcome outcome;
  NormSum norm;
  const T bound = RoundDown<T>(limit);
  ForBlocks(gradient, [&](size_t, std::span<T> block) {
    int32_t clamped = 0;
    for (T& value : block) {
      clamped += std::fabs(value) > bound ? 1 : 0;
      value = std::min(std::max(value, -bound), bound);
    }
    outcome.clipped += clamped;
    norm.Add(Norm(std::span<const T>(block)));
  });
  outcome.norm = norm.Norm();
  return outcome;
}

template <typename T>
PassOutcome CutToMoment(std::span<T> gradient, std::span<const T> second_moment, double theta, double norm) {
  PassOutcome outcome{.norm = norm};
  ForBlocks(gradient, [&](size_t start, std::span<T> block) {
    const T* const moments = second_moment.data() + start;
    if (AnyAboveMoment(std::span<const T>(block), moments, theta)) outcome.clipped += CutBlock(block, moments, theta);
  });
  if (outcome.clipped > 0) outcome.norm = Norm(std::span<const T>(gradient));
  return outcome;
}

template <typename T>
PassOutcome ClipUnits(std::span<T> gradient, std::span<const T> weights, int64_t units, double factor, double epsilon) {
  PassOutcome outcome;
  NormSum norm_after;
  const size_t length = gradient.size() / static_cast<size_t>(units);
  for (size_t start = 0; start < gradient.size(); start += length) {
    const std::span<T> unit = gradient.subspan(start, length);
    const double norm = Norm(std::span<const T>(unit));
    const double bound = factor * std::max(epsilon, Norm(weights.subspan(start, length)));
    if (norm > bound) {
      MultiplyBy(unit, bound / norm);
      ++outcome.clipped;
    }
    norm_after.Add(std::min(norm, bound));
  }
  outcome.norm = norm_after.Norm();
  return outcome;
}

GRADWATCH_ELEMENT_PASSES(, float)
GRADWATCH_ELEMENT_PASSES(, double)

}  // namespace gradwatch::core
