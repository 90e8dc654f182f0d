// Adagrad (Duchi et al. 2011) as PyTorch defines it.
#ifndef GRADWATCH_CORE_OPTIM_ADAGRAD_H_
#define GRADWATCH_CORE_OPTIM_ADAGRAD_H_

#include "core/optim/decay.h"
#include "core/optim/optimizer.h"

namespace gradwatch::core {

// With epsilon e, learning_rate_decay c and rate r, for each parameter p of gradient g (after weight decay) at update
// t, from 0:
//
//   sum += g^2;  p -= r / (1 + t c) g / (sqrt(sum) + e)
//
// in the arithmetic of T (torch.optim.Adagrad). Decoupled decay goes by r alone.
template <typename T>
class Adagrad final : public Optimizer<T> {
 public:
  // `spec` is resolved and of method ADAGRAD.
  Adagrad(const v1::OptimizerSpec& spec, const ParameterLayout* layout);

 protected:
  void Prepare(double learning_rate, int64_t updates) override;
  SquareSums Update(const UpdateRange<T>& range) override;

 private:
  const v1::OptimizerSpec spec_;
  // For the present step.
  T rate_ = 0;
  Decay<T> decay_;
};

extern template class Adagrad<float>;
extern template class Adagrad<double>;

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_ADAGRAD_H_
