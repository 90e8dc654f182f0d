#include "core/optim/rmsprop.h"

#include <cmath>

#include "core/optim/update_elements.h"

namespace gradwatch::core {
namespace {

// The states are, as far as the options need them: square, mean, buffer.
template <typename T>
struct Rule {
  T rate, momentum, kept, taken, epsilon;
  Decay<T> decay;

  GW_INLINE Vector<T> Decayed(const Vector<T>& gradient, const Vector<T>& parameter) const {
    return gradient + decay.added * parameter;
  }
  GW_INLINE Vector<T> Moved(const Vector<T>& parameter, const Vector<T>& step) const {
    return decay.kept * parameter - rate * step;
  }
  GW_INLINE Vector<T> Normalized(const Vector<T>& gradient, Vector<T>& square) const {
    square = kept * square + taken * (gradient * gradient);
    return gradient / (SquareRoots<T>(square) + epsilon);
  }
  GW_INLINE Vector<T> Standardized(const Vector<T>& gradient, Vector<T>& square, Vector<T>& mean) const {
    square = kept * square + taken * (gradient * gradient);
    mean = kept * mean + taken * gradient;
    const Vector<T> variance = square - mean * mean;
    return gradient / (SquareRoots<T>(variance < T(0) ? Vector<T>{} : variance) + epsilon);  // NaN stays
  }
};

template <typename T>
struct PlainRule : Rule<T> {
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& square) const {
    return this->Moved(parameter, this->Normalized(this->Decayed(gradient, parameter), square));
  }
};

template <typename T>
struct MomentumRule : Rule<T> {
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& square,
                                 Vector<T>& buffer) const {
    buffer = this->momentum * buffer + this->Normalized(this->Decayed(gradient, parameter), square);
    return this->Moved(parameter, buffer);
  }
};

template <typename T>
struct CenteredRule : Rule<T> {
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& square,
                                 Vector<T>& mean) const {
    return this->Moved(parameter, this->Standardized(this->Decayed(gradient, parameter), square, mean));
  }
};

template <typename T>
struct CenteredMomentumRule : Rule<T> {
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& square,
                                 Vector<T>& mean, Vector<T>& buffer) const {
    buffer = this->momentum * buffer + this->Standardized(this->Decayed(gradient, parameter), square, mean);
    return this->Moved(parameter, buffer);
  }
};

}  // namespace

template <typename T>
Rmsprop<T>::Rmsprop(const v1::OptimizerSpec& spec, const ParameterLayout* layout)
    : Optimizer<T>(layout, OptimizerStatePerParameter(spec)), spec_(spec), momentum_(spec.momentum()) {}

template <typename T>
void Rmsprop<T>::Prepare(double learning_rate, int64_t /*updates*/) {
  rate_ = static_cast<T>(learning_rate);
  decay_ = Decay<T>(spec_.weight_decay(), spec_.decoupled_decay(), learning_rate);
}

template <typename T>
SquareSums Rmsprop<T>::Update(const UpdateRange<T>& range) {
  const Rule<T> rule = {rate_,
                        static_cast<T>(momentum_),
                        static_cast<T>(spec_.beta2()),
                        static_cast<T>(1 - spec_.beta2()),
                        static_cast<T>(spec_.epsilon()),
                        decay_};
  T* const square = this->state_arena(0);
  if (spec_.centered()) {
    T* const mean = this->state_arena(1);
    if (spec_.momentum() == 0) return UpdateElements(range, CenteredRule<T>{rule}, square, mean);
    return UpdateElements(range, CenteredMomentumRule<T>{rule}, square, mean, this->state_arena(2));
  }
  if (spec_.momentum() == 0) return UpdateElements(range, PlainRule<T>{rule}, square);
  return UpdateElements(range, MomentumRule<T>{rule}, square, this->state_arena(1));
}

template class Rmsprop<float>;
template class Rmsprop<double>;

}  // namespace gradwatch::core
