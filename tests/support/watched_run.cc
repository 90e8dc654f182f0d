#include "tests/support/watched_run.h"

#include <cmath>
#include <set>
#include <utility>

#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status_macros.h"
#include "core/spec/job_spec.h"

namespace gradwatch::testing {
namespace {

std::vector<std::string> NamesOf(const core::Trainer& trainer) {
  std::vector<std::string> names;
  for (const v1::TensorInfo& tensor : trainer.tensors()) names.push_back(tensor.name());
  return names;
}

class Watcher final : public core::Observer {
 public:
  Watcher(const WatchOptions& options, const core::Trainer& trainer, core::LiveControls* live, WatchedRun* run)
      : options_(options), live_(live), run_(run) {
    for (const v1::RuleSet& rules : options.beside) {
      bystanders_.push_back(std::make_unique<Bystander>(rules, NamesOf(trainer)));
    }
  }

  void OnStep(const core::StepRecord& record) override {
    run_->marks.Add(record);
    for (const auto& bystander : bystanders_) bystander->Watch(record);
    run_->firing_critical = static_cast<int>(firing_critical_.size());
    SetRate(record.step + 1);
    const std::optional<int64_t> broken = run_->marks.non_finite();
    if (broken.has_value() && options_.stop_after_non_finite.has_value() &&
        record.step >= *broken + *options_.stop_after_non_finite) {
      live_->SetCommand(core::LiveControls::Command::kStop);
    }
  }
  void OnAlert(const v1::Alert& alert) override {
    run_->alerts.push_back(alert);
    if (alert.severity() != v1::SEVERITY_CRITICAL) return;
    if (alert.state() == v1::ALERT_STATE_FIRING) firing_critical_.insert(alert.rule());
    if (alert.state() == v1::ALERT_STATE_RESOLVED) firing_critical_.erase(alert.rule());
  }
  void OnEdit(const core::EditOutcome& /*outcome*/) override {}
  void OnPaused(int64_t /*steps_done*/) override {}
  void OnResumed(int64_t /*steps_done*/) override {}

  void SetRate(int64_t step) {
    if (options_.rate_scale == nullptr) return;
    const double scale = options_.rate_scale(step);
    if (scale == scale_) return;
    scale_ = scale;
    core::ControlEdit edit{.edit = ++edits_, .paths = {"learning_rate_scale"}, .at_step = step};
    edit.values.set_learning_rate_scale(scale);
    live_->Add(std::move(edit));
  }
  void Finish() {
    for (const auto& bystander : bystanders_) run_->beside.push_back(bystander->alerts());
  }

 private:
  const WatchOptions& options_;
  core::LiveControls* const live_;
  WatchedRun* const run_;
  std::vector<std::unique_ptr<Bystander>> bystanders_;
  std::set<std::string> firing_critical_;  // rules
  double scale_ = 1;
  int64_t edits_ = 0;
};

}  // namespace

Bystander::Bystander(const v1::RuleSet& rules, const std::vector<std::string>& tensor_names)
    : detector_(rules, tensor_names, core::AlertIdentity()) {}

void Bystander::Watch(const core::StepRecord& record) {
  before_update_ = record;
  before_update_.clip = core::ClipOutcome();
  const bool is_broken = record.non_finite() > 0 || !std::isfinite(record.loss);
  for (core::TensorStatistics& tensor : before_update_.tensors) {
    if (!is_broken) tensor.weight_norm = 0;  // else the trainer has measured it by then
    tensor.update_norm = 0;
    tensor.clip_scale = 1;
  }
  detector_.JudgeGradients(before_update_, record.time, &alerts_);
  detector_.JudgeUpdate(record, record.time, &alerts_);
}

absl::StatusOr<WatchedRun> WatchRun(const v1::JobSpec& spec, const core::DataRoots& roots,
                                    const WatchOptions& options) {
  GW_ASSIGN_OR_RETURN(const core::ValidatedJob job, core::ValidateJob(spec, roots, core::SpecLimits()));
  GW_ASSIGN_OR_RETURN(const auto trainer,
                      core::Trainer::Create(job.spec, roots, core::AlertIdentity(), &core::RealClock()));
  core::LiveControls live({.controls = job.spec.controls()});
  for (const core::ControlEdit& edit : options.edits) live.Add(edit);
  WatchedRun run;
  Watcher watcher(options, *trainer, &live, &run);
  watcher.SetRate(0);
  run.result = trainer->Run(live, watcher);
  watcher.Finish();
  return run;
}

std::optional<Told> FirstTold(const std::vector<v1::Alert>& transitions, v1::Severity least, int64_t from) {
  for (const v1::Alert& alert : transitions) {
    if (alert.state() != v1::ALERT_STATE_FIRING || alert.severity() < least || alert.step() < from) continue;
    return Told{alert.step(), alert.rule()};
  }
  return std::nullopt;
}

}  // namespace gradwatch::testing
