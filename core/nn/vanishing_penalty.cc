#include "core/nn/vanishing_penalty.h"

#include <algorithm>
#include <cmath>

#include "core/tensor/matrix_product.h"

namespace gradwatch::core {
namespace {

constexpr double kVanished = 1e-20;

template <typename T>
Sum<T> SquaredNorm(int64_t size, const T* x) {
  Sum<T> sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += static_cast<Sum<T>>(x[i]) * static_cast<Sum<T>>(x[i]);
  return sum;
}

// Written so that a NaN takes part.
template <typename S>
bool TakesPart(const S& square) {
  return !(RealPart(square) < kVanished);
}

}  // namespace

template <typename T>
VanishingPenalty<T>::VanishingPenalty(double factor, int64_t rows, int64_t units, MemoryPlan* plan)
    : factor_(factor), rows_(rows), units_(units) {
  if (!enabled()) return;
  plan->NeedProduct<T>({rows, units, units});
  plan->NeedProduct<T>({units, units, rows});
}

template <typename T>
void VanishingPenalty<T>::MeasureNorms(int64_t rows, const T* dh, T* norms) const {
  for (int64_t r = 0; r < rows; ++r) norms[r] = static_cast<T>(std::sqrt(SquaredNorm(units_, dh + r * units_)));
}

template <typename T>
Sum<T> VanishingPenalty<T>::ScaleRows(const T* norms, T* v) const {
  const auto square = [norms](int64_t r) { return static_cast<Sum<T>>(norms[r]) * static_cast<Sum<T>>(norms[r]); };
  int64_t count = 0;
  for (int64_t r = 0; r < rows_; ++r) count += TakesPart(square(r)) ? 1 : 0;
  Sum<T> omega = 0;
  for (int64_t r = 0; r < rows_; ++r) {
    T* const row = v + r * units_;
    const Sum<T> ratio = TakesPart(square(r)) ? SquaredNorm(units_, row) / square(r) : Sum<T>(1);
    omega += (ratio - 1.0) * (ratio - 1.0);
    const Sum<T> scale =
        TakesPart(square(r)) ? factor_ * 4.0 * (ratio - 1.0) / square(r) / static_cast<double>(count) : Sum<T>(0);
    for (int64_t i = 0; i < units_; ++i) row[i] *= static_cast<T>(scale);
  }
  return omega / static_cast<double>(std::max<int64_t>(count, 1));
}

template <typename T>
Sum<T> VanishingPenalty<T>::AddGradient(const T* norms, const T* da, const T* weight_hh, T* gradient,
                                        Scratch<T> scratch, const ProductContext<T>& product) const {
  T* const v = scratch.Take(rows_ * units_);
  std::fill_n(v, rows_ * units_, T(0));
  AddProduct({rows_, units_, units_}, da, weight_hh, v, product);
  const Sum<T> omega = ScaleRows(norms, v);
  AddProductTransposedLeft({units_, units_, rows_}, da, v, gradient, product);
  return omega;
}

GW_INSTANTIATE_TEMPLATE(VanishingPenalty);

}  // namespace gradwatch::core
