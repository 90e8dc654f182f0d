// CausalAttention: what one head of self-attention does with the queries, keys and values of one example.
#ifndef GRADWATCH_CORE_NN_CAUSAL_ATTENTION_H_
#define GRADWATCH_CORE_NN_CAUSAL_ATTENTION_H_

#include <cstdint>

#include "core/nn/memory_plan.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// out_t = sum over s <= t of p_ts v_s, with p_t = softmax over s <= t of q_t . k_s. All matrices are [steps, width].
//
// Queries are taken in tiles of up to 64 steps, each with the keys up to its last step: about half of all pairs are
// never formed, and within a tile the probabilities of steps to come are exactly zero. A NaN goes on to whatever it is
// multiplied with, be it by zero, as in PyTorch. Immutable once made.
template <typename T>
class CausalAttention {
 public:
  // What is kept of a head from Forward to Backward.
  struct Kept {
    T *q, *k, *v, *probabilities;
  };

  CausalAttention() = default;
  // Reserves working memory of products; the caller takes care of kept_size() and scratch_size().
  CausalAttention(int64_t steps, int64_t width, MemoryPlan* plan);

  // Numbers of a head that are kept; of scratch that Backward takes.
  int64_t kept_size() const { return 3 * AlignSize(size()) + AlignSize(probabilities_); }
  int64_t scratch_size() const;
  int64_t size() const { return MultiplySizes(steps_, width_); }
  // The parts of `kept` [kept_size()], of which the caller writes q, k and v.
  Kept Split(T* kept) const;

  // `largest_logit`, unless null, is raised to the largest q_t . k_s with s <= t as softmax takes them in, rounded and
  // overflown as they are; NaN once one of them is, and then for good. Of complex numbers it is left alone.
  void Forward(const Kept& kept, T* out, const ProductContext<T>& product, T* largest_logit = nullptr) const;
  // From the output's gradient the gradients of q, k and v.
  void Backward(const Kept& kept, const T* dout, T* dq, T* dk, T* dv, Scratch<T> scratch,
                const ProductContext<T>& product) const;

  // Of the probabilities of a head, after Forward: the sum over all queries but the first, which has one key alone, of
  // the entropy of their row as a share of ln(keys), the largest that there could be. NaN if a probability is. 0 of
  // complex numbers.
  double SumOfEntropies(const Kept& kept) const;

 private:
  int64_t steps_ = 0, width_ = 0;
  int64_t probabilities_ = 0;  // how many
};

GW_EXTERN_TEMPLATE(CausalAttention);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_CAUSAL_ATTENTION_H_
