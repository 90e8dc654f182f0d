#include "server/job/notices.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "core/base/utf8.h"
#include "server/job/job_state.h"
#include "server/job/trainer_checks.h"

namespace gradwatch::server {
namespace {

constexpr size_t kMaxFailureBytes = 4096;

std::string Excerpt(const std::string& text) {
  return core::Printable(absl::string_view(text).substr(0, kMaxFailureBytes));
}

// A change that was asked for later holds, made on top of this one, which was never used by itself.
void Drop(const v1::Adjustment& adjustment, int64_t by_revision, JobEdit& edit) {
  v1::Event event;
  *event.mutable_adjust_dropped()->mutable_adjustment() = adjustment;
  event.mutable_adjust_dropped()->set_reason(absl::StrCat("superseded by revision ", by_revision));
  event.mutable_adjust_dropped()->set_superseded_by(by_revision);
  edit.Append(std::move(event));
}

// `applied` holds without `dropped` ever having held: it changes what held before that one, and its paths too.
void TakeOver(const v1::Adjustment& dropped, v1::Adjustment* applied) {
  *applied->mutable_old_controls() = dropped.old_controls();
  std::vector<std::string> paths(dropped.paths().begin(), dropped.paths().end());
  for (const std::string& path : applied->paths()) {
    if (std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
  }
  applied->mutable_paths()->Assign(paths.begin(), paths.end());
}

absl::Status ApplyControls(const v1::ControlsApplied& applied, JobEdit& edit) {
  v1::Job& job = edit.job();
  if (applied.revision() < 1 || applied.revision() > job.control_revision() || applied.effective_step() < 0) {
    return core::InvalidField("notice.controls_applied",
                              absl::StrCat("revision ", applied.revision(), " from step ", applied.effective_step(),
                                           ": the job has revisions 1 to ", job.control_revision()));
  }
  job.set_applied_revision(std::max(job.applied_revision(), applied.revision()));
  const v1::Adjustment* first_dropped = nullptr;
  const std::vector<v1::Adjustment> in_flight = edit.record().in_flight;
  for (const v1::Adjustment& adjustment : in_flight) {
    if (adjustment.revision() > applied.revision()) break;
    if (adjustment.revision() < applied.revision()) {
      Drop(adjustment, applied.revision(), edit);
      if (first_dropped == nullptr) first_dropped = &adjustment;
      continue;
    }
    v1::Event event;
    v1::Adjustment* now = event.mutable_adjusted()->mutable_adjustment();
    *now = adjustment;
    for (const auto* dropped = &adjustment; first_dropped != nullptr && dropped != first_dropped;)
      TakeOver(*--dropped, now);
    now->set_effective_step(applied.effective_step());
    edit.Append(std::move(event));
  }
  if (applied.revision() == job.control_revision()) {
    edit.record().row.pending.Clear();
    edit.record().row.at_step.reset();
  }
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
  edit.End(finished.state(), silent ? "the trainer did not say why" : Excerpt(finished.failure()));
  return absl::OkStatus();
}

}  // namespace

void ResolveOpenAlerts(absl::Time now, JobEdit& edit) {
  for (auto [id, alert] : std::map<std::string, v1::Alert>(edit.record().open_alerts)) {
    alert.set_state(v1::ALERT_STATE_RESOLVED);
    *alert.mutable_time() = core::ToTimestamp(now);
    edit.AppendAlert(std::move(alert));
  }
}

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
    case v1::Notice::kAlert:
      return ApplyAlert(notice.alert(), edit);
    case v1::Notice::kPaused:
      ApplyPaused(edit);
      return absl::OkStatus();
    case v1::Notice::kResumed:
      ApplyResumed(edit);
      return absl::OkStatus();
    case v1::Notice::kFinished:
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
