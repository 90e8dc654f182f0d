// Two-dimensional pooling: the largest value, or the mean, of each square window of each channel.
//
// As in PyTorch: windows do not reach over the image's edge; NaN counts as the largest value; the gradient of a maximum
// goes to the first of equal values.
#ifndef GRADWATCH_CORE_NN_POOL2D_H_
#define GRADWATCH_CORE_NN_POOL2D_H_

#include <cstdint>

#include "core/nn/image_window.h"
#include "core/nn/layer.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// No parameters. Which place of its window each maximum had is kept for the way back: that is read faster than the
// maxima are found again.
template <typename T>
class Pool2d final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  bool max_ = false;
  ImageWindow window_;
  int64_t planes_ = 0;  // channels of all images of a batch
  int64_t chosen_ = 0;  // offset of what is kept: places in the window, counted row by row
};

GW_EXTERN_TEMPLATE(Pool2d);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_POOL2D_H_
