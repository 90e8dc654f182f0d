// What was usual in a run up to the present step, for the words of a diagnosis.
#ifndef GRADWATCH_CORE_DETECT_RUN_CONTEXT_H_
#define GRADWATCH_CORE_DETECT_RUN_CONTEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/detect/history.h"
#include "core/stats/step_record.h"

namespace gradwatch::core {

// Index of the tensor with the largest gradient norm; -1 if no tensor has one.
int LargestTensor(const StepRecord& record);

// Tells nothing about the step that is being judged: it is observed after its rules have judged it. Thread-compatible.
class RunContext {
 public:
  // The last step whose loss and gradients were finite.
  struct FiniteStep {
    int64_t step = -1;  // -1: there was none
    double grad_norm = 0;
    int largest = -1;  // see LargestTensor
  };
  // The update that was largest against its weights, of the last step with one.
  struct Update {
    int64_t step = -1;  // -1: there was none
    double ratio = 0;
    int tensor = -1;
  };

  explicit RunContext(std::vector<std::string> tensor_names);
  // Bytes that one of these names takes.
  static int64_t Bytes(const std::vector<std::string>& tensor_names);

  void ObserveGradients(const StepRecord& record);
  void ObserveUpdate(const StepRecord& record);

  // Name of a tensor; "" for -1.
  const std::string& NameOf(int tensor) const;
  const std::vector<std::string>& tensor_names() const { return tensor_names_; }
  // Median of the finite global norms; 0: not known yet.
  double usual_norm() const { return norms_.ready() ? norms_.usual().Median() : 0; }
  const FiniteStep& last_finite() const { return last_finite_; }
  const Update& last_update() const { return last_update_; }

 private:
  const std::vector<std::string> tensor_names_;
  History norms_;
  FiniteStep last_finite_;
  Update last_update_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_RUN_CONTEXT_H_
