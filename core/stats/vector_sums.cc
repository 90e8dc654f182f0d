#include "core/stats/vector_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/stats/float_vectors.h"
#include "core/stats/square_sum.h"

namespace gradwatch::core {

using vectors::Doubles;
using vectors::kDoubles;
using vectors::LoadAsDoubles;

template <typename T>
double SumOfSquares(const T* values, int64_t count) {
  constexpr int64_t kBlock = SquareSum<T>::kBlock;
  SquareSum<T> sum;
  const int64_t whole = count / kBlock * kBlock;
  for (int64_t i = 0; i < whole; i += kBlock) sum.Add(values + i, kBlock);
  sum.Add(values + whole, count - whole);
  return sum.Total();
}

template <typename T>
double DotAndCopy(const T* a, T* b, int64_t count) {
  Doubles sum0{}, sum1{};
  const int64_t whole = count / (2 * kDoubles) * (2 * kDoubles);
  for (int64_t i = 0; i < whole; i += 2 * kDoubles) {
    sum0 += LoadAsDoubles(a + i) * LoadAsDoubles(b + i);
    sum1 += LoadAsDoubles(a + i + kDoubles) * LoadAsDoubles(b + i + kDoubles);
    std::copy_n(a + i, 2 * kDoubles, b + i);
  }
  double sum = vectors::Sum(sum0 + sum1);
  for (int64_t i = whole; i < count; ++i) {
    sum += static_cast<double>(a[i]) * b[i];
    b[i] = a[i];
  }
  return sum;
}

double DistanceSums::Variance() const {
  const double mean = MeanDistance();
  return std::max(0.0, squares / count - mean * mean);
}

template <typename T>
DistanceSums SumDistances(const T* values, int64_t count, double from) {
  constexpr int64_t kLanes = 8;  // side by side, for the vectoriser
  double counts[kLanes] = {}, distances[kLanes] = {}, squares[kLanes] = {};
  const auto add = [&](const T* some, int64_t lanes) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const bool finite = std::fabs(some[lane]) <= std::numeric_limits<T>::max();
      const double distance = finite ? some[lane] - from : 0;
      counts[lane] += finite ? 1 : 0;
      distances[lane] += distance;
      squares[lane] += distance * distance;
    }
  };
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) add(values + i, kLanes);
  add(values + whole, count - whole);
  DistanceSums sums;
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    sums.count += counts[lane];
    sums.distances += distances[lane];
    sums.squares += squares[lane];
  }
  return sums;
}

template <typename T>
double FirstFinite(const T* values, int64_t count) {
  const T* const end = values + count;
  const T* const first = std::find_if(values, end, [](T value) { return std::isfinite(value); });
  return first == end ? 0 : *first;
}

template double SumOfSquares<float>(const float*, int64_t);
template double SumOfSquares<double>(const double*, int64_t);
template double DotAndCopy<float>(const float*, float*, int64_t);
template double DotAndCopy<double>(const double*, double*, int64_t);
template DistanceSums SumDistances<float>(const float*, int64_t, double);
template DistanceSums SumDistances<double>(const double*, int64_t, double);
template double FirstFinite<float>(const float*, int64_t);
template double FirstFinite<double>(const double*, int64_t);

}  // namespace gradwatch::core
