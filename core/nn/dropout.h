// Dropout (Srivastava et al. 2014), scaled while training: y = x mask / (1 - p), where each number of the mask is 0
// with probability p, else 1; otherwise y = x.
//
// The mask is a pure function of the seed, the batch's number and the layer's depth; the kind of scalar and what other
// layers draw do not matter. Number i is kept where the i-th 32 bits of its stream are at least p 2^32.
#ifndef GRADWATCH_CORE_NN_DROPOUT_H_
#define GRADWATCH_CORE_NN_DROPOUT_H_

#include <cstdint>

#include "core/nn/layer.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// No parameters. A dropped NaN or infinity becomes NaN, as by IEEE 754.
template <typename T>
class Dropout final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  // One byte a number, 1: kept.
  uint8_t* Mask(const Pass<T>& pass) const { return reinterpret_cast<uint8_t*>(pass.kept + mask_); }
  void DrawMask(const Pass<T>& pass) const;
  void ApplyMask(const uint8_t* mask, const T* from, T* to) const;

  double probability_ = 0;
  uint64_t depth_ = 0;
  int64_t size_ = 0;  // numbers of a batch
  int64_t mask_ = 0;  // offset of what is kept
};

GW_EXTERN_TEMPLATE(Dropout);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_DROPOUT_H_
