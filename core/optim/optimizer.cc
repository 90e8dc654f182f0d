#include "core/optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "core/optim/adagrad.h"
#include "core/optim/adam.h"
#include "core/optim/rmsprop.h"
#include "core/optim/sgd.h"

namespace gradwatch::core {

template <typename T>
int64_t Optimizer<T>::RangeCount(const ParameterLayout& layout) {
  int64_t count = 0;
  for (const ParameterSegment& segment : layout.segments()) count += (segment.size + kRangeSize - 1) / kRangeSize;
  return count;
}

template <typename T>
int64_t Optimizer<T>::RangeBytes(const ParameterLayout& layout) {
  return RangeCount(layout) * static_cast<int64_t>(sizeof(Range));
}

template <typename T>
Optimizer<T>::Optimizer(const ParameterLayout* layout, int states)
    : layout_(layout), arena_size_(layout->arena_size()), state_(states * arena_size_) {
  ranges_.reserve(RangeCount(*layout));
  for (size_t i = 0; i < layout_->segments().size(); ++i) {
    const ParameterSegment& segment = layout_->segments()[i];
    for (int64_t done = 0; done < segment.size; done += kRangeSize) {
      ranges_.push_back({i, segment.offset + done, std::min(kRangeSize, segment.size - done), {}});
    }
  }
}

template <typename T>
void Optimizer<T>::Step(double learning_rate, std::span<const T> gradients, std::span<T> parameters, StepRecord* record,
                        Workers* workers) {
  constexpr int64_t kMinElements = 1 << 17;  // that are worth a thread
  Prepare(learning_rate, updates_);
  const bool measure = record->level == v1::STATISTICS_LEVEL_FULL;
  const int64_t count = static_cast<int64_t>(ranges_.size()), threads = workers == nullptr ? 1 : workers->threads();
  const int parts = static_cast<int>(std::clamp<int64_t>(arena_size_ / kMinElements, 1, std::min(threads, count)));
  RunParts(workers, parts, [&](int part) {
    for (int64_t i = PartBegin(count, part, parts); i < PartBegin(count, part + 1, parts); ++i) {
      Range& range = ranges_[i];
      range.sums = Update({.gradient = gradients.data() + range.start,
                           .parameter = parameters.data() + range.start,
                           .start = range.start,
                           .count = range.count,
                           .clip_scale = record->tensors[range.tensor].clip_scale,
                           .measure = measure});
    }
  });
  if (measure) FillNorms(record);
  ++updates_;
}

template <typename T>
void Optimizer<T>::FillNorms(StepRecord* record) const {
  auto range = ranges_.begin();
  for (size_t i = 0; i < layout_->segments().size(); ++i) {
    SquareSums squares;
    for (; range != ranges_.end() && range->tensor == i; ++range) {
      squares.weights += range->sums.weights;
      squares.changes += range->sums.changes;
    }
    record->tensors[i].weight_norm = std::sqrt(squares.weights);
    record->tensors[i].update_norm = std::sqrt(squares.changes);
  }
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
