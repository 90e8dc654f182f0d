// Updates parameters from gradients, in place, and measures the update in the same pass.
#ifndef GRADWATCH_CORE_OPTIM_OPTIMIZER_H_
#define GRADWATCH_CORE_OPTIM_OPTIMIZER_H_

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "core/stats/step_record.h"
#include "core/tensor/parameter_layout.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// Checks an OptimizerSpec: method and schedule served, numbers in range. Violations are relative to the spec.
absl::Status ValidateOptimizer(const v1::OptimizerSpec& spec);

// A valid spec with every default of its method filled in.
v1::OptimizerSpec ResolveOptimizer(const v1::OptimizerSpec& spec);

// Elements of state per parameter that the optimizer of a valid `spec` keeps (SGD: 0, with momentum 1).
int OptimizerStatePerParameter(const v1::OptimizerSpec& spec);

// Thread-compatible.
template <typename T>
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Updates `parameters` with rate `learning_rate` by the gradients, each tensor's times its clip_scale in the record;
  // `gradients` are left as they are. With level FULL in the record fills weight_norm (before the update) and
  // update_norm of every tensor in record->tensors. Never allocates.
  virtual void Step(double learning_rate, std::span<const T> gradients, std::span<T> parameters,
                    StepRecord* record) = 0;
  // The state, for checkpoints; laid out like the arenas, one after the other.
  virtual std::span<T> state() = 0;
  // The running mean of the squared gradients, without bias correction, laid out like the arenas; empty if the method
  // has none.
  virtual std::span<T> second_moment() { return {}; }
  // Sets all moments to zero; counts of steps go on.
  virtual void ResetMoments() {}
};

// `layout` must outlive the optimizer. The spec must be one that ValidateOptimizer accepts.
template <typename T>
std::unique_ptr<Optimizer<T>> MakeOptimizer(const v1::OptimizerSpec& spec, const ParameterLayout* layout);

extern template std::unique_ptr<Optimizer<float>> MakeOptimizer(const v1::OptimizerSpec&, const ParameterLayout*);
extern template std::unique_ptr<Optimizer<double>> MakeOptimizer(const v1::OptimizerSpec&, const ParameterLayout*);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_OPTIMIZER_H_
