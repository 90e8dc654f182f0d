#include "core/optim/rmsprop.h"

#include <cmath>

#include "core/optim/update_elements.h"

namespace gradwatch::core {
namespace {

// The states are, as far as the options need them: square, mean, buffer. kTinyShow: see TinySquaresShow.
template <typename T, bool kTinyShow>
struct Rule {
  T rate, momentum, kept, taken, epsilon;
  Decay<T> decay;

  GW_INLINE Vector<T> Decayed(const Vector<T>& gradient, const Vector<T>& parameter) const {
    return gradient + decay.added * parameter;
  }
  GW_INLINE Vector<T> Moved(const Vector<T>& parameter, const Vector<T>& step) const {
    return decay.kept * parameter - rate * step;
  }
  // What is stored of a square.
  GW_INLINE Vector<T> Stored(const Vector<T>& square) const { return kTinyShow ? square : WithoutDenormal<T>(square); }
  GW_INLINE Vector<T> Normalized(const Vector<T>& gradient, Vector<T>& square) const {
    square = kept * square + taken * (gradient * gradient);
    const Vector<T> normalized = gradient / (SquareRoots<T>(square) + epsilon);
    square = Stored(square);
    return normalized;
  }
  GW_INLINE Vector<T> Standardized(const Vector<T>& gradient, Vector<T>& square, Vector<T>& mean) const {
    square = kept * square + taken * (gradient * gradient);
    mean = kept * mean + taken * gradient;
    const Vector<T> variance = square - mean * mean;
    const Vector<T> standardized =
        gradient / (SquareRoots<T>(variance < T(0) ? Vector<T>{} : variance) + epsilon);  // NaN stays
    square = Stored(square);
    mean = WithoutDenormal<T>(mean);  // its square is 0
    return standardized;
  }
  // Moves by momentum in the direction of `step`.
  GW_INLINE Vector<T> MovedOn(const Vector<T>& parameter, const Vector<T>& step, Vector<T>& buffer) const {
    buffer = momentum * buffer + step;
    const Vector<T> moved = Moved(parameter, buffer);
    buffer = WithoutDenormal<T>(buffer);
    return moved;
  }
};

template <typename T, bool kTinyShow>
struct PlainRule : Rule<T, kTinyShow> {
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& square) const {
    return this->Moved(parameter, this->Normalized(this->Decayed(gradient, parameter), square));
  }
};

template <typename T, bool kTinyShow>
struct MomentumRule : Rule<T, kTinyShow> {
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& square,
                                 Vector<T>& buffer) const {
    return this->MovedOn(parameter, this->Normalized(this->Decayed(gradient, parameter), square), buffer);
  }
};

template <typename T, bool kTinyShow>
struct CenteredRule : Rule<T, kTinyShow> {
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& square,
                                 Vector<T>& mean) const {
    return this->Moved(parameter, this->Standardized(this->Decayed(gradient, parameter), square, mean));
  }
};

template <typename T, bool kTinyShow>
struct CenteredMomentumRule : Rule<T, kTinyShow> {
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& square,
                                 Vector<T>& mean, Vector<T>& buffer) const {
    return this->MovedOn(parameter, this->Standardized(this->Decayed(gradient, parameter), square, mean), buffer);
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
  return TinySquaresShow<T>(spec_.epsilon(), spec_.beta2()) ? UpdateWith<true>(range) : UpdateWith<false>(range);
}

template <typename T>
template <bool kTinyShow>
SquareSums Rmsprop<T>::UpdateWith(const UpdateRange<T>& range) {
  const Rule<T, kTinyShow> rule = {rate_,
                                   static_cast<T>(momentum_),
                                   static_cast<T>(spec_.beta2()),
                                   static_cast<T>(1 - spec_.beta2()),
                                   static_cast<T>(spec_.epsilon()),
                                   decay_};
  T* const square = this->state_arena(0);
  if (spec_.centered()) {
    T* const mean = this->state_arena(1);
    if (spec_.momentum() == 0) return UpdateElements(range, CenteredRule<T, kTinyShow>{rule}, square, mean);
    return UpdateElements(range, CenteredMomentumRule<T, kTinyShow>{rule}, square, mean, this->state_arena(2));
  }
  if (spec_.momentum() == 0) return UpdateElements(range, PlainRule<T, kTinyShow>{rule}, square);
  return UpdateElements(range, MomentumRule<T, kTinyShow>{rule}, square, this->state_arena(1));
}

template class Rmsprop<float>;
template class Rmsprop<double>;

}  // namespace gradwatch::core
