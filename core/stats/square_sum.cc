#include "core/stats/square_sum.h"

#include <algorithm>

#include "core/stats/float_vectors.h"

namespace gradwatch::core {
namespace {

using vectors::Doubles;
using vectors::kDoubles;
using vectors::LoadAsDoubles;

// Elements of a turn of the loops: four vectors of double.
constexpr int64_t kStep = int64_t{4} * kDoubles;

}  // namespace

double SumOfSquares(const float* values, int64_t count) {
  Doubles sum0{}, sum1{}, sum2{}, sum3{};
  const auto add = [&](const float* from) {
    const Doubles x0 = LoadAsDoubles(from), x1 = LoadAsDoubles(from + kDoubles);
    const Doubles x2 = LoadAsDoubles(from + 2 * kDoubles), x3 = LoadAsDoubles(from + 3 * kDoubles);
    sum0 += x0 * x0;
    sum1 += x1 * x1;
    sum2 += x2 * x2;
    sum3 += x3 * x3;
  };
  int64_t i = 0;
  for (; i + kStep <= count; i += kStep) add(values + i);
  if (i < count) {
    float rest[kStep] = {};
    std::copy(values + i, values + count, rest);
    add(rest);
  }
  return vectors::Sum((sum0 + sum1) + (sum2 + sum3));
}

double SumOfSquares(const double* values, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += values[i] * values[i];
  return sum;
}

double DotAndCopy(const float* a, float* b, int64_t count) {
  Doubles sum0{}, sum1{};
  int64_t i = 0;
  for (; i + 2 * kDoubles <= count; i += 2 * kDoubles) {
    sum0 += LoadAsDoubles(a + i) * LoadAsDoubles(b + i);
    sum1 += LoadAsDoubles(a + i + kDoubles) * LoadAsDoubles(b + i + kDoubles);
    std::copy_n(a + i, 2 * kDoubles, b + i);
  }
  double sum = vectors::Sum(sum0 + sum1);
  for (; i < count; ++i) {
    sum += static_cast<double>(a[i]) * b[i];
    b[i] = a[i];
  }
  return sum;
}

double DotAndCopy(const double* a, double* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    sum += a[i] * b[i];
    b[i] = a[i];
  }
  return sum;
}

}  // namespace gradwatch::core
