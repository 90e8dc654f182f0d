// x W^T over all rows, forward and backward: what dense and recurrent layers do with their input. Tokens are taken as
// the columns of W that they stand for, without one-hot rows.
#ifndef GRADWATCH_CORE_NN_PROJECTION_H_
#define GRADWATCH_CORE_NN_PROJECTION_H_

#include <cstdint>

#include "core/nn/layer.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Immutable once planned. x is [rows, inputs], W [outputs, inputs], y [rows, outputs].
template <typename T>
class Projection {
 public:
  Projection() = default;
  // Reserves working memory of products. The caller adds scratch_size() to what it needs itself.
  Projection(const LayerPlace& place, int64_t outputs, MemoryPlan* plan);

  int64_t rows() const { return rows_; }
  int64_t inputs() const { return inputs_; }
  int64_t outputs() const { return outputs_; }
  int64_t scratch_size() const;

  // y = x W^T + bias, the bias [outputs] for every row; null: none.
  void Forward(const Pass<T>& pass, Scratch<T> scratch, const LayerInput<T>& x, const T* weight, const T* bias,
               T* y) const;
  // weight_gradient = dy^T x.
  void WeightGradient(const Pass<T>& pass, Scratch<T> scratch, const LayerInput<T>& x, const T* dy,
                      T* weight_gradient) const;
  // dx = dy W.
  void InputGradient(const Pass<T>& pass, const T* weight, const T* dy, T* dx) const;

 private:
  int64_t rows_ = 0, inputs_ = 0, outputs_ = 0;
  bool tokens_ = false;
};

GW_EXTERN_TEMPLATE(Projection);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_PROJECTION_H_
