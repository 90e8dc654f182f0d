#include "tests/science/job_run.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/base/clock.h"
#include "core/spec/job_spec.h"
#include "tests/support/fake_clock.h"

namespace gradwatch::science {
namespace {

class Keeper final : public core::Observer {
 public:
  Keeper(JobRun* run, int keep, const IsSolved& is_solved, core::LiveControls* controls)
      : run_(run), keep_(keep), is_solved_(is_solved), controls_(controls) {}
  void OnStep(const core::StepRecord& record) override {
    if (std::isfinite(record.grad_norm)) run_->largest_norm = std::max(run_->largest_norm, record.grad_norm);
    if (record.step < keep_) run_->first.push_back(record);
    if (!record.validation.measured) return;
    run_->validations.push_back(record.validation);
    if (run_->solved_at > 0 || is_solved_ == nullptr || !is_solved_(record.validation)) return;
    run_->solved_at = record.step + 1;
    controls_->SetCommand(core::LiveControls::Command::kStop);
  }
  void OnAlert(const v1::Alert& alert) override { run_->alerts.push_back(alert); }
  void OnEdit(const core::EditOutcome& /*outcome*/) override {}
  void OnPaused(int64_t /*steps_done*/) override {}
  void OnResumed(int64_t /*steps_done*/) override {}

 private:
  JobRun* const run_;
  const int keep_;
  const IsSolved& is_solved_;
  core::LiveControls* const controls_;
};

template <typename T>
T ValueOrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::abort();
}

}  // namespace

JobRun RunJob(const std::string& spec, int keep, const IsSolved& is_solved) {
  v1::JobSpec parsed;
  if (!google::protobuf::TextFormat::ParseFromString(spec, &parsed)) std::abort();
  const core::ValidatedJob job = ValueOrDie(core::ValidateJob(parsed, core::DataRoots(), core::SpecLimits()));
  const testing::FakeClock clock;
  const auto trainer = ValueOrDie(core::Trainer::Create(job.spec, core::DataRoots(), core::AlertIdentity(), &clock));
  core::ControlSnapshot controls;
  controls.controls = job.spec.controls();
  core::LiveControls live(controls);
  JobRun run;
  Keeper keeper(&run, keep, is_solved, &live);
  run.result = trainer->Run(live, keeper);
  return run;
}

}  // namespace gradwatch::science
