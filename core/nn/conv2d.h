// Two-dimensional convolution as PyTorch defines it: the cross-correlation of an image with square kernels,
//
//   y[o, i, j] = b[o] + sum over c, u, v of w[o, c, u, v] x[c, i * stride + u - padding, j * stride + v - padding],
//
// x being zero outside of the image. Patches are written out as a matrix, a block at a time that stays in the
// second-level cache, and multiplied with the kernels.
#ifndef GRADWATCH_CORE_NN_CONV2D_H_
#define GRADWATCH_CORE_NN_CONV2D_H_

#include <cstdint>

#include "core/nn/image_columns.h"
#include "core/nn/layer.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Parameters: weight [outputs, inputs, kernel, kernel] and, unless switched off, bias [outputs]. Takes an image and
// gives one; the steps of a sequence are images of their own.
template <typename T>
class Conv2d final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  // Working memory of a block, and the block itself.
  struct Work {
    RowBlock block;
    int64_t positions = 0;  // columns of both matrices
    T* columns = nullptr;   // [patch, positions]
    T* outputs = nullptr;   // [channels, positions]
  };

  void PlanMemory(const LayerPlace& place, MemoryPlan* plan) const;
  int64_t total_rows() const { return images_ * window_.rows; }
  // Calls visit(work) for each block of the batch, in order.
  template <typename Visit>
  void ForEachBlock(const Pass<T>& pass, const Visit& visit) const;
  void AddParameterGradients(const Pass<T>& pass, const Work& work) const;
  void AddInputGradient(const Pass<T>& pass, const Work& work, T* dx) const;

  int64_t channels_ = 0;
  bool has_bias_ = true;
  v1::Initializer weight_init_;
  ImageWindow window_;
  int64_t images_ = 0, patch_ = 0;  // images in a batch; numbers in a patch
  int64_t block_rows_ = 0;          // of the window, in a block
  int64_t weight_ = 0, bias_ = 0;   // offsets
};

GW_EXTERN_TEMPLATE(Conv2d);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_CONV2D_H_
