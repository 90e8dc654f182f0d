// Stochastic gradient descent as PyTorch defines it, with L2 decay, momentum and Nesterov's variant.
#ifndef GRADWATCH_CORE_OPTIM_SGD_H_
#define GRADWATCH_CORE_OPTIM_SGD_H_

#include <span>
#include <vector>

#include "core/optim/optimizer.h"

namespace gradwatch::core {

// With decay w, momentum m and rate r, for each parameter p of gradient g:
//
//   d = g + w * p;  buffer = m * buffer + d (first step: d);  p -= r * (nesterov ? d + m * buffer : m > 0 ? buffer : d)
//
// in the arithmetic of T (torch.optim.SGD without dampening). The buffer starts at zero, which gives the first step.
// Thread-compatible.
template <typename T>
class Sgd final : public Optimizer<T> {
 public:
  // `spec` is a valid one of method SGD; `layout` must outlive the optimizer.
  Sgd(const v1::OptimizerSpec& spec, const ParameterLayout* layout);

  void Step(double learning_rate, std::span<const T> gradients, std::span<T> parameters, StepRecord* record) override;
  std::span<T> state() override { return momentum_buffer_; }

 private:
  const ParameterLayout* const layout_;
  const T momentum_;
  const T weight_decay_;
  const bool nesterov_;
  std::vector<T> momentum_buffer_;  // empty without momentum
};

extern template class Sgd<float>;
extern template class Sgd<double>;

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_SGD_H_
