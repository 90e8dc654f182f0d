#include "core/nn/projection.h"

#include <algorithm>

#include "core/nn/rows.h"
#include "core/tensor/matrix_product.h"

namespace gradwatch::core {

template <typename T>
Projection<T>::Projection(const LayerPlace& place, int64_t outputs, MemoryPlan* plan)
    : rows_(plan->Rows(place.input)), inputs_(place.input.features), outputs_(outputs), tokens_(place.tokens) {
  if (tokens_) return;
  plan->NeedProduct<T>({rows_, outputs_, inputs_});
  plan->NeedProduct<T>({outputs_, inputs_, rows_});
  if (place.input_gradient) plan->NeedProduct<T>({rows_, inputs_, outputs_});
}

// For tokens W is used transposed, so that a token's column lies together.
template <typename T>
int64_t Projection<T>::scratch_size() const {
  return tokens_ ? AlignSize(MultiplySizes(inputs_, outputs_)) : 0;
}

template <typename T>
void Projection<T>::Forward(const Pass<T>& pass, Scratch<T> scratch, const LayerInput<T>& x, const T* weight,
                            const T* bias, T* y) const {
  if (!tokens_) {
    const ProductResult<T> result{.c = y, .bias = bias};
    Multiply(ProductForm::kTransposedRight, {rows_, outputs_, inputs_}, x.values, weight, result, pass.product);
    return;
  }
  if (bias != nullptr) {
    RepeatRow(rows_, outputs_, bias, y);
  } else {
    std::fill_n(y, rows_ * outputs_, T(0));
  }
  T* const columns = scratch.Take(inputs_ * outputs_);
  Transpose(outputs_, inputs_, weight, columns);
  for (int64_t r = 0; r < rows_; ++r) AddTo(outputs_, columns + x.tokens[r] * outputs_, y + r * outputs_);
}

template <typename T>
void Projection<T>::WeightGradient(const Pass<T>& pass, Scratch<T> scratch, const LayerInput<T>& x, const T* dy,
                                   T* weight_gradient) const {
  if (!tokens_) {
    Multiply(ProductForm::kTransposedLeft, {outputs_, inputs_, rows_}, dy, x.values, {.c = weight_gradient},
             pass.product);
    return;
  }
  T* const columns = scratch.Take(inputs_ * outputs_);
  std::fill_n(columns, inputs_ * outputs_, T(0));
  for (int64_t r = 0; r < rows_; ++r) AddTo(outputs_, dy + r * outputs_, columns + x.tokens[r] * outputs_);
  Transpose(inputs_, outputs_, columns, weight_gradient);
}

template <typename T>
void Projection<T>::InputGradient(const Pass<T>& pass, const T* weight, const T* dy, T* dx) const {
  Multiply(ProductForm::kPlain, {rows_, inputs_, outputs_}, dy, weight, {.c = dx}, pass.product);
}

GW_INSTANTIATE_TEMPLATE(Projection);

}  // namespace gradwatch::core
