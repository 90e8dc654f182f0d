// SelfAttention: causal multi-head self-attention over the time steps of a sequence (Vaswani et al. 2017). Parameters
// and their meaning are those of PyTorch's MultiheadAttention. With F features and heads of d = F / heads:
//
//   q, k, v = rows of [0, F), [F, 2F), [2F, 3F) of W_in x + b_in; head n has the features [n d, (n + 1) d) of each
//   p_ts    = softmax over s <= t of q_t . k_s / sqrt(d)
//   y_t     = W_out (sum over s of p_ts v_s, the heads side by side) + b_out
#ifndef GRADWATCH_CORE_NN_SELF_ATTENTION_H_
#define GRADWATCH_CORE_NN_SELF_ATTENTION_H_

#include <cstdint>

#include "core/nn/causal_attention.h"
#include "core/nn/layer.h"
#include "core/nn/projection.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Parameters: in_proj_weight [3 F, F], in_proj_bias [3 F], out_proj_weight [F, F], out_proj_bias [F]. Output: as the
// input.
template <typename T>
class SelfAttention final : public Layer<T> {
 public:
  void Configure(const v1::Layer& spec, const FieldScope& scope) override;
  absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) override;
  void MeasureAttention(const Pass<T>& pass, LayerStatistics* statistics) const override;
  void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) override;
  void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) override;

 private:
  using Kept = typename CausalAttention<T>::Kept;

  Kept KeptOf(const Pass<T>& pass, int64_t example, int64_t head) const {
    return attention_.Split(pass.kept + kept_ + (example * heads_ + head) * attention_.kept_size());
  }
  // One head of all queries, keys or values of one example, between rows of `columns` numbers of all examples, where
  // it starts at `first`, and a matrix of its own; times `scale`.
  void Gather(const T* rows, int64_t columns, int64_t example, int64_t first, T scale, T* head) const;
  void Scatter(const T* head, T scale, T* rows, int64_t columns, int64_t example, int64_t first) const;
  // Every head of every example from the gradient of the joined heads to that of q, k and v, [steps, batch, 3 F].
  void HeadsBackward(const Pass<T>& pass, Scratch<T> scratch, const T* djoined, T* dqkv) const;

  int64_t heads_ = 0;
  v1::Initializer weight_init_;
  int64_t batch_ = 0, steps_ = 0, features_ = 0, width_ = 0;  // width: features of a head
  T scale_ = T(1);                                            // 1 / sqrt(width), applied to the queries
  CausalAttention<T> attention_;
  Projection<T> in_, out_;
  int64_t in_weight_ = 0, in_bias_ = 0, out_weight_ = 0, out_bias_ = 0;  // offsets
  // Offsets among what is kept: of each head of each example, and the heads side by side [steps, batch, F].
  int64_t kept_ = 0, joined_ = 0;
  int64_t largest_logit_ = 0;  // also there: one number, of passes that measure layers
};

GW_EXTERN_TEMPLATE(SelfAttention);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_SELF_ATTENTION_H_
