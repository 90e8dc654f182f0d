// The training loop: one step after the other, each under one immutable snapshot of the controls.
#ifndef GRADWATCH_CORE_TRAIN_TRAINER_H_
#define GRADWATCH_CORE_TRAIN_TRAINER_H_

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/clock.h"
#include "core/data/data_root.h"
#include "core/data/data_source.h"
#include "core/detect/detector.h"
#include "core/stats/layer_statistics.h"
#include "core/stats/step_record.h"
#include "core/train/live_controls.h"
#include "core/train/observer.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// How a run ended.
struct TrainResult {
  v1::JobState state = v1::JOB_STATE_SUCCEEDED;  // SUCCEEDED, FAILED or STOPPED
  std::string failure;                           // why, in one sentence, if FAILED
  int64_t steps_done = 0;
  std::optional<double> first_loss;  // unset: no step was done
  std::optional<double> final_loss;
  ValidationOutcome validation;   // the last one
  std::string parameters_sha256;  // of all parameters as little-endian float bytes in arena order, padding left out
};

// Runs one attempt of a hosted job. The thread that calls Run trains; other threads act through LiveControls.
class Trainer {
 public:
  // Builds the network and reads the data. `spec` must be one that ValidateJob returned. `clock` must outlive it.
  // RESOURCE_EXHAUSTED (OUT_OF_MEMORY) if there is not memory enough; else as OpenData.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const v1::JobSpec& spec, const DataRoots& roots,
                                                         AlertIdentity identity, const Clock* clock);
  // Of data that is read already, as OpenData would read it for this spec and its loss.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const v1::JobSpec& spec, std::unique_ptr<DataSource> data,
                                                         AlertIdentity identity, const Clock* clock);
  ~Trainer();

  // The tensors in arena order.
  const std::vector<v1::TensorInfo>& tensors() const;
  // The layers in the order of StepRecord::layers.
  const std::vector<LayerInfo>& layers() const;
  // What layers keep from step to step besides the parameters (running means). While Run runs, to its observer only.
  std::span<const float> layer_state() const;

  // Runs until all steps are done, a stop is asked for, a loss or gradients that are not finite end the job, or memory
  // runs out. A stop is heard before every batch and drops a step whose batches are not all done: it is not reported
  // and changes nothing. A pause waits for the end of the step. A network whose parameters are not finite at the end
  // has not succeeded, nor has one that has learnt from no step, or not from more than one step up to the end. Call
  // once. The observer is called on this thread. Within a steady step nothing is allocated and nobody is waited for.
  // Edits are applied between two steps and told when the first step that uses them can no longer be dropped, those
  // that come in a pause at once; a stop leaves what waits where it is.
  // Other rules judge from the first step on that uses them; what they end is told in it, before what they say.
  TrainResult Run(LiveControls& controls, Observer& observer);

 private:
  struct State;
  explicit Trainer(std::unique_ptr<State> state);
  void RunSteps(LiveControls& controls, Observer& observer, TrainResult& result);

  std::unique_ptr<State> state_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TRAIN_TRAINER_H_
