#include "server/job/notices.h"

#include <google/protobuf/field_mask.pb.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "core/base/utf8.h"
#include "core/detect/detector.h"
#include "core/spec/controls.h"
#include "server/job/job_state.h"
#include "server/job/trainer_checks.h"

namespace gradwatch::server {
namespace {

constexpr size_t kMaxFailureBytes = 4096;

std::string Excerpt(const std::string& text) {
  return core::Printable(absl::string_view(text).substr(0, kMaxFailureBytes));
}

// The edit that a trainer speaks of as `field`. INVALID_ARGUMENT: it does not wait.
absl::StatusOr<v1::Adjustment> FindTold(absl::string_view field, int64_t id, const JobEdit& edit) {
  if (const auto waiting = edit.record().edits->Find(id); waiting != nullptr) return *waiting;
  return core::InvalidField(absl::StrCat(field, ".edit"), absl::StrCat("edit ", id, " does not wait"));
}

// What no trainer can have done: a foreign one may be wrong, or lie.
absl::Status CheckApplied(const v1::ControlsApplied& applied, const v1::Adjustment& told, const JobRecord& record) {
  const v1::Job& job = record.row.job;
  core::FieldErrors errors;
  if (applied.revision() != job.control_revision() + 1) {
    errors.Add("notice.controls_applied.revision",
               absl::StrCat(applied.revision(), " comes after ", job.control_revision()));
  }
  if (applied.effective_step() < 0 || applied.effective_step() > MaxSteps(job)) {
    errors.Add("notice.controls_applied.effective_step",
               absl::StrCat(applied.effective_step(), ": the job has ", MaxSteps(job), " steps"));
  } else if (told.has_at_step() && applied.effective_step() < told.at_step()) {
    errors.Add("notice.controls_applied.effective_step",
               absl::StrCat(applied.effective_step(), ": edit ", told.edit(), " is for step ", told.at_step()));
  } else if (record.applied_attempt == job.attempt() && applied.effective_step() < record.applied_from) {
    errors.Add("notice.controls_applied.effective_step",
               absl::StrCat(applied.effective_step(), " comes after ", record.applied_from));
  }
  if (const auto other = record.edits->PassedOver(told, applied.effective_step()); other != nullptr) {
    errors.Add("notice.controls_applied.edit",
               absl::StrCat(told.edit(), ": the turn of edit ", other->edit(), " was before it"));
  }
  return errors.ToStatus();
}

// What the controls were and are. Rules are large, and stand only where they change; there also where they are those of
// the spec, so that whoever reads the event can tell what changed.
void TellControls(const v1::JobSpec& spec, const v1::Controls& before, const v1::Controls& after,
                  v1::Adjustment* told) {
  *told->mutable_old_controls() = before;
  *told->mutable_new_controls() = after;
  told->mutable_old_controls()->clear_rules();
  told->mutable_new_controls()->clear_rules();
  if (!ChangesRules(*told)) return;
  *told->mutable_old_controls()->mutable_rules() = core::EffectiveRules(spec, before);
  *told->mutable_new_controls()->mutable_rules() = core::EffectiveRules(spec, after);
}

// An alert goes on where its rule measures the same as before, and its trainer tells of it again when it is over: that
// it is as severe as the rule says by now is told at once.
void TellSeverities(const v1::RuleSet& before, const v1::RuleSet& after, JobEdit& edit) {
  std::map<std::string, std::string> measured;  // by the rules of before, by name
  for (const v1::Rule& rule : before.rules()) measured[rule.name()] = core::MeasureOf(rule);
  for (const v1::Rule& rule : after.rules()) {
    const auto known = measured.find(rule.name());
    if (known != measured.end() && known->second == core::MeasureOf(rule)) edit.SetSeverity(rule);
  }
}

absl::Status ApplyControls(const v1::ControlsApplied& applied, JobEdit& edit) {
  v1::Job& job = edit.job();
  GW_ASSIGN_OR_RETURN(v1::Adjustment now, FindTold("notice.controls_applied", applied.edit(), edit));
  GW_RETURN_IF_ERROR(CheckApplied(applied, now, edit.record()));
  google::protobuf::FieldMask mask;
  *mask.mutable_paths() = now.paths();
  auto controls = core::ApplyControlChanges(job.controls(), now.values(), mask);
  if (!controls.ok()) return core::WithFieldPrefix("notice.controls_applied", controls.status());
  now.clear_withdrawn_by();  // it came too late
  now.set_revision(applied.revision());
  now.set_effective_step(applied.effective_step());
  TellControls(job.spec(), job.controls(), *controls, &now);
  *job.mutable_controls() = *std::move(controls);
  job.set_control_revision(applied.revision());
  job.set_applied_revision(applied.revision());
  const v1::RuleSet rules_before = now.old_controls().rules(), rules_now = now.new_controls().rules();
  v1::Event event;
  *event.mutable_adjusted()->mutable_adjustment() = std::move(now);
  edit.Append(std::move(event));
  TellSeverities(rules_before, rules_now, edit);
  return absl::OkStatus();
}

absl::Status ApplyEditDropped(const v1::EditDropped& dropped, JobEdit& edit) {
  GW_ASSIGN_OR_RETURN(v1::Adjustment told, FindTold("notice.edit_dropped", dropped.edit(), edit));
  std::string reason = Excerpt(dropped.reason());
  if (reason.empty()) {
    if (told.withdrawn_by().empty()) {
      return core::InvalidField("notice.edit_dropped.reason",
                                absl::StrCat("is missing: nobody has withdrawn edit ", told.edit()));
    }
    reason = WithdrawnBy(told.withdrawn_by());
  }
  edit.AppendDropped(std::move(told), std::move(reason));
  return absl::OkStatus();
}

absl::Status ApplyAlert(v1::Alert alert, JobEdit& edit) {
  GW_RETURN_IF_ERROR(CheckAlert(alert, edit.record()));
  if (alert.severity() == v1::SEVERITY_UNSPECIFIED) alert.set_severity(v1::SEVERITY_WARNING);
  alert.set_job_id(edit.job().job_id());
  alert.set_attempt(edit.job().attempt());
  edit.AppendAlert(std::move(alert));
  return absl::OkStatus();
}

// Commands go down and notices come up at the same time, so a notice may be older than the last command. The state
// then follows what was asked for; the trainer's next notice agrees with it.
void ApplyPaused(JobEdit& edit) {
  if (edit.job().state() == v1::JOB_STATE_PAUSING) {
    edit.MoveTo(v1::JOB_STATE_PAUSED, "");
  } else if (edit.job().state() == v1::JOB_STATE_RUNNING) {
    edit.MoveTo(v1::JOB_STATE_PAUSED, "the trainer waits");
  }
}

void ApplyResumed(JobEdit& edit) {
  if (edit.job().state() == v1::JOB_STATE_PAUSED) edit.MoveTo(v1::JOB_STATE_RUNNING, "the trainer goes on");
}

absl::Status ApplyFinished(const v1::TrainerFinished& finished, JobEdit& edit) {
  GW_RETURN_IF_ERROR(CheckFinished(finished));
  const bool silent = finished.state() == v1::JOB_STATE_FAILED && finished.failure().empty();
  // It goes to logs and terminals as it is, however long it was.
  edit.End(finished.state(), silent ? "the trainer did not say why" : Excerpt(finished.failure()), /*all_told=*/true);
  v1::Job& job = edit.job();
  // It may be heard long after. Clocks of two machines may not agree, so it lies between what this one saw.
  if (finished.has_end_time()) {
    const absl::Time told = core::FromTimestamp(finished.end_time());
    const absl::Time start = core::FromTimestamp(job.start_time()), now = core::FromTimestamp(job.end_time());
    *job.mutable_end_time() = core::ToTimestamp(std::max(std::min(told, now), std::min(start, now)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ApplyTensors(absl::string_view field, const google::protobuf::RepeatedPtrField<v1::TensorInfo>& tensors,
                          v1::Job& job) {
  GW_RETURN_IF_ERROR(CheckToldTensors(field, tensors, job));
  *job.mutable_tensors() = tensors;
  job.set_tensors_attempt(job.attempt());
  return absl::OkStatus();
}

absl::Status ApplyNotice(const v1::Notice& notice, JobEdit& edit) {
  v1::Job& job = edit.job();
  if (edit.record().ended()) return StateForbids(job.state(), "hear its trainer", "it has ended");
  if (notice.steps_done() < 0 || notice.steps_done() > MaxSteps(job)) {
    return core::InvalidField("notice.steps_done",
                              absl::StrCat(notice.steps_done(), ": the job has ", MaxSteps(job), " steps"));
  }
  edit.HappenedAfter(notice.steps_done());
  switch (notice.what_case()) {
    case v1::Notice::kModelReady:
      return ApplyTensors("notice.model_ready", notice.model_ready().tensors(), job);
    case v1::Notice::kControlsApplied:
      return ApplyControls(notice.controls_applied(), edit);
    case v1::Notice::kEditDropped:
      return ApplyEditDropped(notice.edit_dropped(), edit);
    case v1::Notice::kAlert:
      // What watchers put into order by steps must not lie far ahead of them.
      if (notice.alert().step() > std::max<int64_t>(notice.steps_done() - 1, 0)) {
        return core::InvalidField("notice.alert.step", absl::StrCat(notice.alert().step(), ": when it was told ",
                                                                    notice.steps_done(), " steps were done"));
      }
      return ApplyAlert(notice.alert(), edit);
    case v1::Notice::kPaused:
      ApplyPaused(edit);
      return absl::OkStatus();
    case v1::Notice::kResumed:
      ApplyResumed(edit);
      return absl::OkStatus();
    case v1::Notice::kFinished:
      // It comes behind all reports. A hosted trainer tells what it could not keep, too.
      if (edit.record().external() && notice.steps_done() > job.steps_done()) {
        return core::InvalidField("notice.steps_done", absl::StrCat(notice.steps_done(), ": reports were told of ",
                                                                    job.steps_done(), " steps"));
      }
      job.set_steps_done(std::max(job.steps_done(), notice.steps_done()));
      return ApplyFinished(notice.finished(), edit);
    case v1::Notice::WHAT_NOT_SET:
      return core::InvalidField("notice", "has no content");
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> ApplyNotices(const v1::NoticeBatch& batch, JobEdit& edit) {
  int64_t acked = edit.record().row.acked_notice;
  const int64_t before = acked;
  for (const v1::Notice& notice : batch.notices()) {
    if (notice.number() <= acked) continue;  // sent again
    if (notice.number() != acked + 1) {
      return core::InvalidField("notices.notices.number", absl::StrCat(notice.number(), " comes after ", acked));
    }
    GW_RETURN_IF_ERROR(ApplyNotice(notice, edit));
    acked = notice.number();
  }
  edit.record().row.acked_notice = acked;
  return acked > before;
}

}  // namespace gradwatch::server
