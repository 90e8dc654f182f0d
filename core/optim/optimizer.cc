#include "core/optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "core/optim/adagrad.h"
#include "core/optim/adam.h"
#include "core/optim/rmsprop.h"
#include "core/optim/sgd.h"

namespace gradwatch::core {

template <typename T>
Optimizer<T>::Optimizer(const ParameterLayout* layout, int states)
    : layout_(layout), arena_size_(layout->arena_size()), state_(states * arena_size_) {}

template <typename T>
void Optimizer<T>::Step(double learning_rate, std::span<const T> gradients, std::span<T> parameters,
                        StepRecord* record) {
  Prepare(learning_rate, updates_);
  const bool measure = record->level == v1::STATISTICS_LEVEL_FULL;
  for (size_t i = 0; i < layout_->segments().size(); ++i) {
    const ParameterSegment& segment = layout_->segments()[i];
    TensorStatistics& tensor = record->tensors[i];
    SquareSums squares;
    for (int64_t done = 0; done < segment.size; done += kRangeSize) {
      const int64_t start = segment.offset + done;
      const SquareSums sums = Update({.gradient = gradients.data() + start,
                                      .parameter = parameters.data() + start,
                                      .start = start,
                                      .count = std::min(kRangeSize, segment.size - done),
                                      .clip_scale = tensor.clip_scale,
                                      .measure = measure});
      squares.weights += sums.weights;
      squares.changes += sums.changes;
    }
    if (!measure) continue;
    tensor.weight_norm = std::sqrt(squares.weights);
    tensor.update_norm = std::sqrt(squares.changes);
  }
  ++updates_;
}

template <typename T>
void Optimizer<T>::ResetMoments() {
  std::ranges::fill(state_.span(), T(0));
}

template <typename T>
std::unique_ptr<Optimizer<T>> MakeOptimizer(const v1::OptimizerSpec& spec, const ParameterLayout* layout) {
  const v1::OptimizerSpec resolved = ResolveOptimizer(spec);
  switch (resolved.method()) {
    case v1::OPTIMIZER_METHOD_RMSPROP:
      return std::make_unique<Rmsprop<T>>(resolved, layout);
    case v1::OPTIMIZER_METHOD_ADAGRAD:
      return std::make_unique<Adagrad<T>>(resolved, layout);
    case v1::OPTIMIZER_METHOD_ADAM:
    case v1::OPTIMIZER_METHOD_ADAMW:
      return std::make_unique<Adam<T>>(resolved, layout);
    default:
      return std::make_unique<Sgd<T>>(resolved, layout);
  }
}

template class Optimizer<float>;
template class Optimizer<double>;
template std::unique_ptr<Optimizer<float>> MakeOptimizer(const v1::OptimizerSpec&, const ParameterLayout*);
template std::unique_ptr<Optimizer<double>> MakeOptimizer(const v1::OptimizerSpec&, const ParameterLayout*);

}  // namespace gradwatch::core
