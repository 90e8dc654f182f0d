// A job run on the engine in this process, as a worker would run it, with its alerts, those of other rules on the very
// same steps, and what its losses say became of it.
#ifndef GRADWATCH_TESTS_SUPPORT_WATCHED_RUN_H_
#define GRADWATCH_TESTS_SUPPORT_WATCHED_RUN_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/data/data_root.h"
#include "core/detect/detector.h"
#include "core/train/trainer.h"
#include "gradwatch/v1/alert.pb.h"
#include "gradwatch/v1/job.pb.h"
#include "tests/support/loss_marks.h"

namespace gradwatch::testing {

// Rules that judge the records of finished steps instead of standing in the trainer. They see of each what they would
// have seen there: before the update neither the update nor what clipping did.
class Bystander {
 public:
  Bystander(const v1::RuleSet& rules, const std::vector<std::string>& tensor_names);
  // The steps of one run in order.
  void Watch(const core::StepRecord& record);
  // Every transition so far.
  const std::vector<v1::Alert>& alerts() const { return alerts_; }

 private:
  core::Detector detector_;
  core::StepRecord before_update_;
  std::vector<v1::Alert> alerts_;
};

struct WatchOptions {
  std::vector<v1::RuleSet> beside;  // valid rules, each of a bystander
  // The factor on the learning rate from this step on; the job's controls stay as they are otherwise. Null: 1.
  std::function<double(int64_t step)> rate_scale;
  std::vector<core::ControlEdit> edits;          // numbered from 1; not with rate_scale
  std::optional<int64_t> stop_after_non_finite;  // steps after the first that is not finite; unset: runs on
};

struct WatchedRun {
  core::TrainResult result;
  LossMarks marks;
  std::vector<v1::Alert> alerts;               // transitions, of the job's own rules in the trainer
  int firing_critical = 0;                     // of these the critical ones that were firing at the last step
  std::vector<std::vector<v1::Alert>> beside;  // transitions, by bystander
};

// Runs `spec`, which need not be resolved. Errors as ValidateJob and Trainer::Create; NOT_FOUND: its data are not here.
absl::StatusOr<WatchedRun> WatchRun(const v1::JobSpec& spec, const core::DataRoots& roots, const WatchOptions& options);

// An alert that began to fire.
struct Told {
  int64_t step = 0;
  std::string rule;
  bool operator==(const Told&) const = default;
};
// The first one at `from` or later of at least this severity.
std::optional<Told> FirstTold(const std::vector<v1::Alert>& transitions, v1::Severity least, int64_t from = 0);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_WATCHED_RUN_H_
