// Updates parameters from gradients, in place, and measures the update in the same pass.
#ifndef GRADWATCH_CORE_OPTIM_OPTIMIZER_H_
#define GRADWATCH_CORE_OPTIM_OPTIMIZER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/workers.h"
#include "core/stats/step_record.h"
#include "core/tensor/arena.h"
#include "core/tensor/parameter_layout.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// Checks an OptimizerSpec and its schedule: every field known to its method and in range. Violations are relative to
// the spec.
absl::Status ValidateOptimizer(const v1::OptimizerSpec& spec);

// A valid spec with every default of its method and of its schedule filled in.
v1::OptimizerSpec ResolveOptimizer(const v1::OptimizerSpec& spec);

// Elements of state per parameter that the optimizer of a valid `spec` keeps: SGD 0, with momentum 1; RMSprop 1,
// centered and momentum 1 more each; Adagrad 1; Adam and AdamW 2, with amsgrad 3.
int OptimizerStatePerParameter(const v1::OptimizerSpec& spec);

// A piece of one tensor to update.
template <typename T>
struct UpdateRange {
  const T* gradient;  // not changed
  T* parameter;
  int64_t start = 0;  // of the piece in the arenas
  int64_t count = 0;
  double clip_scale = 1;  // the gradient counts times this
  bool measure = false;
};

// Sums of squares over a range, of what was measured.
struct SquareSums {
  double weights = 0;  // before the update
  double changes = 0;
};

// One method over the arenas. A step is a loop over tensors and, in each, over ranges of kRangeSize elements, which
// depend on nothing but themselves and what Prepare set; the squares of the changes are summed range by range in order.
// So the result is the same whoever updates which range and when. Thread-compatible.
template <typename T>
class Optimizer {
 public:
  static constexpr int64_t kRangeSize = 16384;

  // `layout` must outlive the optimizer. `states`: elements of state per parameter.
  Optimizer(const ParameterLayout* layout, int states);
  // Bytes that an optimizer takes besides its state: what it measures of every range.
  static int64_t RangeBytes(const ParameterLayout& layout);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // Updates `parameters` with rate `learning_rate` from the gradients times the clip_scale of their tensor in `record`;
  // gradients are left as they are. With level FULL in the record fills weight_norm (before the update) and update_norm
  // of every tensor in record->tensors, which has one element a tensor. The parameters do not depend on the level.
  // Workers, if there are any, share the ranges. Never allocates.
  void Step(double learning_rate, std::span<const T> gradients, std::span<T> parameters, StepRecord* record,
            Workers* workers = nullptr);

  // Uses this momentum from the next step on: SGD's and RMSprop's momentum, Adam's beta1; in (0, 1). Ignored by methods
  // and specs that have no momentum. Part of the schedule, not of the state.
  virtual void SetMomentum(double /*momentum*/) {}

  // The running mean of the squared gradients, without bias correction, laid out like the arenas; empty if the method
  // has none.
  virtual std::span<T> second_moment() { return {}; }
  // Sets all state to zero; the count of updates goes on.
  void ResetMoments();

  // The state, for checkpoints; laid out like the arenas, one after the other.
  std::span<T> state() { return state_.span(); }
  // Updates so far, the other part of the state.
  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }

 protected:
  // Sets what holds for the whole step that comes. `updates` is the number of updates before it.
  virtual void Prepare(double learning_rate, int64_t updates) = 0;
  // Updates one range; the sums are 0 if it need not be measured.
  virtual SquareSums Update(const UpdateRange<T>& range) = 0;
  // The arena of state number `index`.
  T* state_arena(int index) { return state_.data() + index * arena_size_; }
  int64_t arena_size() const { return arena_size_; }

 private:
  static int64_t RangeCount(const ParameterLayout& layout);
  // Adds up the ranges' sums in order.
  void FillNorms(StepRecord* record) const;

  struct Range {
    size_t tensor = 0;
    int64_t start = 0, count = 0;
    SquareSums sums;  // of the last step
  };

  const ParameterLayout* const layout_;
  const int64_t arena_size_;
  std::vector<Range> ranges_;
  Arena<T> state_;
  int64_t updates_ = 0;
};

// `layout` must outlive the optimizer. The spec must be one that ValidateOptimizer accepts, resolved or not.
template <typename T>
std::unique_ptr<Optimizer<T>> MakeOptimizer(const v1::OptimizerSpec& spec, const ParameterLayout* layout);

extern template class Optimizer<float>;
extern template class Optimizer<double>;
extern template std::unique_ptr<Optimizer<float>> MakeOptimizer(const v1::OptimizerSpec&, const ParameterLayout*);
extern template std::unique_ptr<Optimizer<double>> MakeOptimizer(const v1::OptimizerSpec&, const ParameterLayout*);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_OPTIMIZER_H_
