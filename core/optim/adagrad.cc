#include "core/optim/adagrad.h"

#include <algorithm>
#include <cmath>

#include "core/optim/update_elements.h"

namespace gradwatch::core {
namespace {

template <typename T>
struct Rule {
  T rate, epsilon;
  Decay<T> decay;
  GW_INLINE Vector<T> operator()(const Vector<T>& gradient, const Vector<T>& parameter, Vector<T>& sum) const {
    const Vector<T> direction = gradient + decay.added * parameter;
    sum = sum + direction * direction;  // does not decay; tiny squares add up, so denormal sums are stored as they are
    return decay.kept * parameter - rate * (direction / (SquareRoots<T>(sum) + epsilon));
  }
};

}  // namespace

template <typename T>
Adagrad<T>::Adagrad(const v1::OptimizerSpec& spec, const ParameterLayout* layout)
    : Optimizer<T>(layout, OptimizerStatePerParameter(spec)), spec_(spec) {
  for (const ParameterSegment& segment : layout->segments()) {
    std::fill_n(this->state_arena(0) + segment.offset, segment.size, static_cast<T>(spec.initial_accumulator()));
  }
}

template <typename T>
void Adagrad<T>::Prepare(double learning_rate, int64_t updates) {
  rate_ = static_cast<T>(learning_rate / (1 + static_cast<double>(updates) * spec_.learning_rate_decay()));
  decay_ = Decay<T>(spec_.weight_decay(), spec_.decoupled_decay(), learning_rate);
}

template <typename T>
SquareSums Adagrad<T>::Update(const UpdateRange<T>& range) {
  return UpdateElements(range, Rule<T>{rate_, static_cast<T>(spec_.epsilon()), decay_}, this->state_arena(0));
}

template class Adagrad<float>;
template class Adagrad<double>;

}  // namespace gradwatch::core
