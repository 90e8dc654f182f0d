// A whole job on the engine, as a worker would run it, with the record of every step kept.
#ifndef GRADWATCH_TESTS_SCIENCE_JOB_RUN_H_
#define GRADWATCH_TESTS_SCIENCE_JOB_RUN_H_

#include <functional>
#include <string>
#include <vector>

#include "core/stats/step_record.h"
#include "core/train/trainer.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::science {

struct JobRun {
  core::TrainResult result;
  std::vector<core::StepRecord> first;  // the first steps, at most as many as were asked for
  std::vector<core::ValidationOutcome> validations;
  double largest_norm = 0;        // of all gradients together, before clipping, of the steps that were finite
  std::vector<v1::Alert> alerts;  // transitions
  int64_t solved_at = 0;          // steps done when a validation was found good enough; 0: none was

  // Step of the first alert that is at least this severe; -1: there was none.
  int64_t FirstAlert(v1::Severity severity) const {
    for (const v1::Alert& alert : alerts) {
      if (alert.state() == v1::ALERT_STATE_FIRING && alert.severity() >= severity) return alert.step();
    }
    return -1;
  }
};

// Whether a validation is good enough.
using IsSolved = std::function<bool(const core::ValidationOutcome&)>;

// Runs `spec`, a JobSpec as text, and keeps the records of the first `keep` steps. Ends early when `is_solved`, if it
// is given, says so. The process dies if the spec is invalid.
JobRun RunJob(const std::string& spec, int keep = 1, const IsSolved& is_solved = nullptr);

}  // namespace gradwatch::science

#endif  // GRADWATCH_TESTS_SCIENCE_JOB_RUN_H_
