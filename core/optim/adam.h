// Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019) as PyTorch defines them.
#ifndef GRADWATCH_CORE_OPTIM_ADAM_H_
#define GRADWATCH_CORE_OPTIM_ADAM_H_

#include "core/optim/decay.h"
#include "core/optim/optimizer.h"

namespace gradwatch::core {

// With b1, b2, epsilon e and rate r, for each parameter p of gradient g (after L2 decay) at update t, from 1:
//
//   mean = b1 mean + (1 - b1) g;  square = b2 square + (1 - b2) g^2
//   p -= r / (1 - b1^t) mean / (sqrt(square) / sqrt(1 - b2^t) + e)
//
// in the arithmetic of T (torch.optim.Adam); AdamW first multiplies p by 1 - r w (torch.optim.AdamW). With amsgrad the
// largest square so far takes the place of the square. Denormal moments become 0, but not where epsilon is so
// small that they show.
template <typename T>
class Adam final : public Optimizer<T> {
 public:
  // `spec` is resolved and of method ADAM or ADAMW.
  Adam(const v1::OptimizerSpec& spec, const ParameterLayout* layout);

  void SetMomentum(double momentum) override { beta1_ = momentum; }
  std::span<T> second_moment() override { return {this->state_arena(1), static_cast<size_t>(this->arena_size())}; }

 protected:
  void Prepare(double learning_rate, int64_t updates) override;
  SquareSums Update(const UpdateRange<T>& range) override;

 private:
  template <bool kTinyShow>
  SquareSums UpdateWith(const UpdateRange<T>& range);

  const v1::OptimizerSpec spec_;
  double beta1_;
  // For the present step.
  T rate_ = 0;      // over the correction of the mean
  T unbiased_ = 1;  // correction of the square's root
  Decay<T> decay_;
};

extern template class Adam<float>;
extern template class Adam<double>;

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_ADAM_H_
