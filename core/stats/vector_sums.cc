#include "core/stats/vector_sums.h"

#include <algorithm>

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

template double SumOfSquares<float>(const float*, int64_t);
template double SumOfSquares<double>(const double*, int64_t);
template double DotAndCopy<float>(const float*, float*, int64_t);
template double DotAndCopy<double>(const double*, double*, int64_t);

}  // namespace gradwatch::core
