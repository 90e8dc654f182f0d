// Stochastic gradient descent as PyTorch defines it, with decay, momentum and Nesterov's variant.
#ifndef GRADWATCH_CORE_OPTIM_SGD_H_
#define GRADWATCH_CORE_OPTIM_SGD_H_

#include "core/optim/decay.h"
#include "core/optim/optimizer.h"

namespace gradwatch::core {

// With L2 decay w, momentum m, dampening h and rate r, for each parameter p of gradient g:
//
//   d = g + w p;  buffer = m buffer + (1 - h) d (first update: d)
//   p -= r (nesterov ? d + m buffer : buffer), without momentum p -= r d
//
// in the arithmetic of T (torch.optim.SGD); with decoupled decay p is multiplied by 1 - r w first, and d = g.
template <typename T>
class Sgd final : public Optimizer<T> {
 public:
  // `spec` is resolved and of method SGD.
  Sgd(const v1::OptimizerSpec& spec, const ParameterLayout* layout);

  void SetMomentum(double momentum) override { momentum_ = momentum; }

 protected:
  void Prepare(double learning_rate, int64_t updates) override;
  SquareSums Update(const UpdateRange<T>& range) override;

 private:
  const v1::OptimizerSpec spec_;
  double momentum_;
  // For the present step.
  T rate_ = 0, momentum_now_ = 0, taken_ = 1;
  Decay<T> decay_;
};

extern template class Sgd<float>;
extern template class Sgd<double>;

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_SGD_H_
