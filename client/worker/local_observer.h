// Counts alerts and measures the speed of a run without a server.
#ifndef GRADWATCH_CLIENT_WORKER_LOCAL_OBSERVER_H_
#define GRADWATCH_CLIENT_WORKER_LOCAL_OBSERVER_H_

#include <cstdint>
#include <map>
#include <string>

#include "core/base/clock.h"
#include "core/train/observer.h"

namespace gradwatch::worker {

// For the training thread.
class LocalObserver final : public core::Observer {
 public:
  // A run of `steps` steps that starts now. `clock` must outlive this object.
  LocalObserver(int64_t steps, bool show_progress, const core::Clock* clock);

  void OnStep(const core::StepRecord& record) override;
  void OnAlert(const v1::Alert& alert) override;
  void OnEdit(const core::EditOutcome&) override {}
  void OnPaused(int64_t) override {}
  void OnResumed(int64_t) override {}

  // Mean speed up to now, the first tenth of the steps left out if the run got beyond it. 0 without steps.
  double StepsPerSecond() const;
  // Episodes that fired, by rule.
  const std::map<std::string, int64_t>& alerts() const { return alerts_; }

 private:
  const int64_t steps_;
  const bool show_progress_;
  const core::Clock* const clock_;
  int64_t steps_done_ = 0;
  int64_t steps_left_out_ = 0;
  absl::Duration measured_from_;
  absl::Duration last_progress_;
  std::map<std::string, int64_t> alerts_;
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_LOCAL_OBSERVER_H_
