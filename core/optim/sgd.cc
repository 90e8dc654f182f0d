#include "core/optim/sgd.h"

#include <algorithm>
#include <cmath>

#include "core/stats/square_sum.h"

namespace gradwatch::core {
namespace {

// Elements that are updated before their changes are summed; their changes stay in the first-level cache meanwhile.
constexpr int64_t kBlockSize = 1024;

template <typename T>
struct Rule {
  T gradient_scale;
  T learning_rate;
  T momentum;
  T weight_decay;
  bool nesterov;
};

// Updates `count` parameters and writes what was added to each into `changes`. `buffer` is null without momentum.
template <typename T>
void UpdateBlock(const Rule<T>& rule, const T* __restrict gradient, T* __restrict parameter, T* __restrict buffer,
                 T* __restrict changes, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    T direction = rule.gradient_scale * gradient[i] + rule.weight_decay * parameter[i];
    if (buffer != nullptr) {
      buffer[i] = rule.momentum * buffer[i] + direction;
      direction = rule.nesterov ? direction + rule.momentum * buffer[i] : buffer[i];
    }
    const T before = parameter[i];
    parameter[i] = before - rule.learning_rate * direction;
    changes[i] = parameter[i] - before;
  }
}

}  // namespace

template <typename T>
Sgd<T>::Sgd(const v1::OptimizerSpec& spec, const ParameterLayout* layout)
    : layout_(layout),
      momentum_(static_cast<T>(spec.momentum())),
      weight_decay_(static_cast<T>(spec.weight_decay())),
      nesterov_(spec.nesterov()),
      momentum_buffer_(OptimizerStatePerParameter(spec) * layout->arena_size()) {}

template <typename T>
void Sgd<T>::Step(double learning_rate, std::span<const T> gradients, std::span<T> parameters, StepRecord* record) {
  const bool measure = record->level == v1::STATISTICS_LEVEL_FULL;
  T* const buffer = momentum_buffer_.empty() ? nullptr : momentum_buffer_.data();
  T changes[kBlockSize];
  for (size_t i = 0; i < layout_->segments().size(); ++i) {
    const ParameterSegment& segment = layout_->segments()[i];
    const Rule<T> rule = {static_cast<T>(record->tensors[i].clip_scale), static_cast<T>(learning_rate), momentum_,
                          weight_decay_, nesterov_};
    double weight_squares = 0, update_squares = 0;
    for (int64_t done = 0; done < segment.size; done += kBlockSize) {
      const int64_t start = segment.offset + done;
      const int64_t count = std::min(kBlockSize, segment.size - done);
      // Right before the update reads them again, and right after it has written its changes.
      if (measure) weight_squares += SumOfSquares(parameters.data() + start, count);
      UpdateBlock(rule, gradients.data() + start, parameters.data() + start,
                  buffer == nullptr ? nullptr : buffer + start, changes, count);
      if (measure) update_squares += SumOfSquares(changes, count);
    }
    if (!measure) continue;
    record->tensors[i].weight_norm = std::sqrt(weight_squares);
    record->tensors[i].update_norm = std::sqrt(update_squares);
  }
}

template class Sgd<float>;
template class Sgd<double>;

}  // namespace gradwatch::core
