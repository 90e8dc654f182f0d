#include "core/optim/adam.h"

#include <cmath>

#include "core/optim/update_elements.h"

namespace gradwatch::core {
namespace {

// kTinyShow: see TinySquaresShow.
template <typename T, bool kTinyShow>
struct Rule {
  T rate, unbiased, epsilon;
  T mean_kept, mean_taken, square_kept, square_taken;
  Decay<T> decay;

  GW_INLINE void Gather(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& mean,
                        Vector<T>& square) const {
    const Vector<T> direction = gradient + decay.added * parameter;
    mean = mean_kept * mean + mean_taken * direction;
    square = square_kept * square + square_taken * (direction * direction);
  }
  GW_INLINE Vector<T> Moved(const Vector<T>& parameter, const Vector<T>& mean, const Vector<T>& square) const {
    return decay.kept * parameter - rate * (mean / (unbiased * SquareRoots<T>(square) + epsilon));
  }
  // What is stored of a moment.
  GW_INLINE Vector<T> Stored(const Vector<T>& moment) const { return kTinyShow ? moment : WithoutDenormal<T>(moment); }
};

template <typename T, bool kTinyShow>
struct PlainRule : Rule<T, kTinyShow> {
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& mean,
                                 Vector<T>& square) const {
    this->Gather(gradient, parameter, mean, square);
    const Vector<T> moved = this->Moved(parameter, mean, square);
    mean = this->Stored(mean);
    square = this->Stored(square);
    return moved;
  }
};

template <typename T, bool kTinyShow>
struct AmsgradRule : Rule<T, kTinyShow> {
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& mean,
                                 Vector<T>& square, Vector<T>& largest) const {
    this->Gather(gradient, parameter, mean, square);
    largest = square <= largest ? largest : square;  // NaN stays
    const Vector<T> moved = this->Moved(parameter, mean, largest);
    mean = this->Stored(mean);
    square = this->Stored(square);
    largest = this->Stored(largest);
    return moved;
  }
};

}  // namespace

template <typename T>
Adam<T>::Adam(const v1::OptimizerSpec& spec, const ParameterLayout* layout)
    : Optimizer<T>(layout, OptimizerStatePerParameter(spec)), spec_(spec), beta1_(spec.beta1()) {}

template <typename T>
void Adam<T>::Prepare(double learning_rate, int64_t updates) {
  const double t = static_cast<double>(updates + 1);
  rate_ = static_cast<T>(learning_rate / (1 - std::pow(beta1_, t)));
  unbiased_ = static_cast<T>(1 / std::sqrt(1 - std::pow(spec_.beta2(), t)));
  decay_ = Decay<T>(spec_.weight_decay(), spec_.decoupled_decay(), learning_rate);
}

template <typename T>
SquareSums Adam<T>::Update(const UpdateRange<T>& range) {
  return TinySquaresShow<T>(spec_.epsilon(), spec_.beta2()) ? UpdateWith<true>(range) : UpdateWith<false>(range);
}

template <typename T>
template <bool kTinyShow>
SquareSums Adam<T>::UpdateWith(const UpdateRange<T>& range) {
  const Rule<T, kTinyShow> rule = {rate_,
                                   unbiased_,
                                   static_cast<T>(spec_.epsilon()),
                                   static_cast<T>(beta1_),
                                   static_cast<T>(1 - beta1_),
                                   static_cast<T>(spec_.beta2()),
                                   static_cast<T>(1 - spec_.beta2()),
                                   decay_};
  T* const mean = this->state_arena(0);
  T* const square = this->state_arena(1);
  if (spec_.amsgrad())
    return UpdateElements(range, AmsgradRule<T, kTinyShow>{rule}, mean, square, this->state_arena(2));
  return UpdateElements(range, PlainRule<T, kTinyShow>{rule}, mean, square);
}

template class Adam<float>;
template class Adam<double>;

}  // namespace gradwatch::core
