// RMSprop (Hinton 2012) as PyTorch defines it, centered if asked for, with momentum.
#ifndef GRADWATCH_CORE_OPTIM_RMSPROP_H_
#define GRADWATCH_CORE_OPTIM_RMSPROP_H_

#include "core/optim/decay.h"
#include "core/optim/optimizer.h"

namespace gradwatch::core {

// With decay b (beta2), momentum m, epsilon e and rate r, for each parameter p of gradient g (after weight decay):
//
//   square = b square + (1 - b) g^2;  centered: mean = b mean + (1 - b) g
//   u = g / (sqrt(square - mean^2) + e), without centering mean = 0
//   p -= r u, with momentum buffer = m buffer + u and p -= r buffer
//
// in the arithmetic of T (torch.optim.RMSprop). Where rounding makes the variance negative it counts as 0; PyTorch's
// root is NaN there. Denormal squares become 0, but not where epsilon is so small that they show.
template <typename T>
class Rmsprop final : public Optimizer<T> {
 public:
  // `spec` is resolved and of method RMSPROP.
  Rmsprop(const v1::OptimizerSpec& spec, const ParameterLayout* layout);

  void SetMomentum(double momentum) override { momentum_ = momentum; }

 protected:
  void Prepare(double learning_rate, int64_t updates) override;
  SquareSums Update(const UpdateRange<T>& range) override;

 private:
  template <bool kTinyShow>
  SquareSums UpdateWith(const UpdateRange<T>& range);

  const v1::OptimizerSpec spec_;
  double momentum_;
  // For the present step.
  T rate_ = 0;
  Decay<T> decay_;
};

extern template class Rmsprop<float>;
extern template class Rmsprop<double>;

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_RMSPROP_H_
