// VanishingPenalty: Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks": the
// regulariser Omega against gradients that vanish on their way back through time, as their published code has it (a
// ratio of squared norms; the paper's equation 9 has norms):
//
//   Omega = sum over all rows of (||da W_hh||^2 / ||dh||^2 - 1)^2 / number of rows
//
// with dh = dLoss/dh_t of one example, all later steps included, and da = dh * f'(h_t). A row with ||dh||^2 < 1e-20
// takes no part. In its gradient dh and da count as constants; only W_hh varies.
#ifndef GRADWATCH_CORE_NN_VANISHING_PENALTY_H_
#define GRADWATCH_CORE_NN_VANISHING_PENALTY_H_

#include <cstdint>

#include "core/nn/memory_plan.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// Immutable once made.
template <typename T>
class VanishingPenalty {
 public:
  VanishingPenalty() = default;
  // Reserves working memory of products; the caller takes care of scratch_size(). A factor of 0 switches it off.
  VanishingPenalty(double factor, int64_t rows, int64_t units, MemoryPlan* plan);

  bool enabled() const { return factor_ > 0; }
  // Besides the rows' norms.
  int64_t scratch_size() const { return AlignSize(MultiplySizes(rows_, units_)); }

  // The norms of the first `rows` rows of dh [rows, units].
  void MeasureNorms(int64_t rows, const T* dh, T* norms) const;
  // Adds factor * dOmega/dW_hh to `gradient` and returns Omega. `norms` are those of every row of dh, da is
  // [rows, units], W_hh and gradient [units, units].
  Sum<T> AddGradient(const T* norms, const T* da, const T* weight_hh, T* gradient, Scratch<T> scratch,
                     const ProductContext<T>& product) const;

 private:
  // From v = da W_hh: Omega, and the rows of v times what makes da^T v the gradient.
  Sum<T> ScaleRows(const T* norms, T* v) const;

  double factor_ = 0;
  int64_t rows_ = 0, units_ = 0;
};

GW_EXTERN_TEMPLATE(VanishingPenalty);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_VANISHING_PENALTY_H_
