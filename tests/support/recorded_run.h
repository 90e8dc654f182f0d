// Training runs that were recorded elsewhere, as they lie in ../shared/traces: their labels, and their steps as the
// trainer would have judged them.
#ifndef GRADWATCH_TESTS_SUPPORT_RECORDED_RUN_H_
#define GRADWATCH_TESTS_SUPPORT_RECORDED_RUN_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/detect/run_signals.h"
#include "core/stats/step_record.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::testing {

// What became of a run, a line of labels.jsonl.
struct RunLabel {
  std::string run;        // names its file
  std::string label;      // diverged, spike, stalled or healthy
  bool by_value = false;  // diverged, and not finite from the onset on; else only time tells it from a bump
  std::optional<int64_t> onset;
  bool has_fault = false;  // one was put in
  std::optional<int64_t> fault_step;
  std::map<std::string, std::string> fields;  // the whole line as text
};

// Of a tensor in a step. NaN and infinities are as they were recorded: also in what the product measures without them.
struct RecordedTensor {
  double grad_norm = 0;
  double grad_max_abs = 0;
  double grad_mean = 0;
  double grad_std = 0;
  double non_finite = 0;   // elements of the gradient
  double weight_norm = 0;  // after the update
  double update_norm = 0;
};

struct RecordedStep {
  int64_t step = 0;
  double loss = 0;
  double learning_rate = 0;
  double grad_norm = 0;       // of all parameters, before clipping
  double clip_threshold = 0;  // 0: the run does not clip
  std::vector<RecordedTensor> tensors;
};

struct RecordedRun {
  std::vector<std::string> tensor_names;
  std::vector<RecordedStep> steps;
};

// INVALID_ARGUMENT: it cannot be read, or is not what it should be.
absl::StatusOr<std::vector<RunLabel>> ReadLabels(const std::string& folder);
absl::StatusOr<RecordedRun> ReadRun(const std::string& folder, const std::string& run);

// The record that the trainer would have of each step of a run, at the two times at which it is judged. It is one
// record that goes from step to step, as the trainer's is: what one half has not measured yet is what it is there.
//
// The record has what the trainer measures and not what was written down, where they differ: the weights' norm before
// the update, that of the step before; norms without what is not finite (of which nothing was written down, so they are
// 0 then); and the update of a step that is not finite skipped, as jobs do unless they are told otherwise.
class TrainerView {
 public:
  // `run` must outlive it.
  explicit TrainerView(const RecordedRun* run);

  // To be called for each step of the run in order, one after the other.
  const core::StepRecord& BeforeUpdate(size_t step);
  const core::StepRecord& AfterUpdate(size_t step);

 private:
  void MeasureGradients(const RecordedStep& step);
  void Clip(const RecordedStep& step);

  const RecordedRun* const run_;
  std::vector<double> weight_norms_;  // before the update of the present step
  core::StepRecord record_;
};

// Every transition of the alerts of a run under these rules, which are valid ones. Adds the time of judging to `cost`.
std::vector<v1::Alert> PlayRun(const RecordedRun& run, const v1::RuleSet& rules, absl::Duration* cost = nullptr,
                               core::RunFacts facts = {});

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_RECORDED_RUN_H_
