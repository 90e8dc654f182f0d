#include "core/optim/sgd.h"

#include "core/optim/update_elements.h"

namespace gradwatch::core {
namespace {

template <typename T>
struct PlainRule {
  T rate;
  Decay<T> decay;
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter) const {
    return decay.kept * parameter - rate * (gradient + decay.added * parameter);
  }
};

template <typename T, bool kNesterov>
struct MomentumRule {
  T rate, momentum;
  T taken;  // part of the gradient that enters the buffer
  Decay<T> decay;
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& buffer) const {
    const Vector<T> direction = gradient + decay.added * parameter;
    buffer = momentum * buffer + taken * direction;
    const Vector<T> moved = decay.kept * parameter - rate * (kNesterov ? direction + momentum * buffer : buffer);
    buffer = WithoutDenormal<T>(buffer);
    return moved;
  }
};

}  // namespace

template <typename T>
Sgd<T>::Sgd(const v1::OptimizerSpec& spec, const ParameterLayout* layout)
    : Optimizer<T>(layout, OptimizerStatePerParameter(spec)), spec_(spec), momentum_(spec.momentum()) {}

template <typename T>
void Sgd<T>::Prepare(double learning_rate, int64_t updates) {
  rate_ = static_cast<T>(learning_rate);
  momentum_now_ = static_cast<T>(momentum_);
  taken_ = static_cast<T>(updates == 0 ? 1 : 1 - spec_.dampening());
  decay_ = Decay<T>(spec_.weight_decay(), spec_.decoupled_decay(), learning_rate);
}

template <typename T>
SquareSums Sgd<T>::Update(const UpdateRange<T>& range) {
  if (spec_.momentum() == 0) return UpdateElements(range, PlainRule<T>{rate_, decay_});
  T* const buffer = this->state_arena(0);
  if (spec_.nesterov()) {
    return UpdateElements(range, MomentumRule<T, true>{rate_, momentum_now_, taken_, decay_}, buffer);
  }
  return UpdateElements(range, MomentumRule<T, false>{rate_, momentum_now_, taken_, decay_}, buffer);
}

template class Sgd<float>;
template class Sgd<double>;

}  // namespace gradwatch::core
