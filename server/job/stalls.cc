#include "server/job/stalls.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "core/spec/controls.h"
#include "server/job/stall_watch.h"

namespace gradwatch::server {
namespace {

// A trainer says something every five seconds.
constexpr absl::Duration kHeardLately = absl::Seconds(10);
// What is said at most of how long steps take before it is measured: pauses are in it too.
constexpr absl::Duration kMostExpected = absl::Minutes(1);

bool IsActive(const JobEntry& entry) { return entry.working != nullptr && !entry.working->ended(); }

v1::Rule StallRuleNow(const v1::Job& job) { return StallRuleOf(core::EffectiveRules(job.spec(), job.controls())); }

std::string StallIdPrefix(const v1::Job& job, absl::string_view rule) {
  return absl::StrCat(job.uid(), "/", job.attempt(), "/", rule, "/");
}

// Null: none fires.
const v1::Alert* FindStall(const JobRecord& record) {
  if (record.open_alerts.empty()) return nullptr;
  const v1::Job& job = record.row.job;
  // The rules may have changed since it began: see CheckStallNames.
  const std::string own = StallRuleOf(job.spec().rules()).name();
  for (const absl::string_view rule : {absl::string_view(own), absl::string_view(kServerRule)}) {
    const std::string prefix = StallIdPrefix(job, rule);
    const auto found = record.open_alerts.lower_bound(prefix);
    if (found != record.open_alerts.end() && absl::StartsWith(found->first, prefix)) return &found->second;
  }
  return nullptr;
}

int64_t StepsDone(const JobEntry& entry) { return std::max(entry.working->row.job.steps_done(), ReportedSteps(entry)); }

// Whether it should make steps: a trainer that still builds its model is not judged.
bool ShouldMakeSteps(const JobEntry& entry, int64_t steps_done) {
  const JobRow& row = entry.working->row;
  return row.job.state() == v1::JOB_STATE_RUNNING && entry.trainer.lease.state == LeaseState::kHeld &&
         (steps_done > 0 || row.acked_notice > 0 || row.job.spec().has_external());
}

bool EndsStall(const v1::Alert& stall, v1::JobState state, int64_t steps_done) {
  return steps_done > stall.first_step() || state == v1::JOB_STATE_PAUSED || state == v1::JOB_STATE_STOPPING;
}

}  // namespace

void Stalls::Look(const std::shared_ptr<JobEntry>& entry, TrainerLink::Heard heard, absl::Duration now) {
  StallWatch& watch = entry->trainer.stall;
  const JobRecord& record = *entry->working;
  const v1::Job& job = record.row.job;
  const int64_t steps_done = StepsDone(*entry);
  // Steps whose reports are not read, or not stored yet, may have come.
  const bool in_arrears =
      heard == TrainerLink::Heard::kBusy || (entry->intake.storing() && steps_done <= watch.steps_done());
  const bool runs = ShouldMakeSteps(*entry, steps_done) && !in_arrears;
  if (!runs) {
    watch.Rest();
  } else {
    if (steps_done > 0 && job.has_start_time()) {
      const absl::Duration ran = context_->deps.clock->Now() - core::FromTimestamp(job.start_time());
      watch.Expect(std::min(ran / steps_done, kMostExpected));
    }
    watch.Look(now, steps_done);
  }
  if (const v1::Alert* const stall = FindStall(record); stall != nullptr) {
    if (!EndsStall(*stall, job.state(), steps_done)) return;
    context_->SubmitQuietly("the end of a stall",
                            [this, entry](LedgerTransaction& transaction) { return End(entry, transaction); });
  } else if (runs && now - entry->trainer.lease.heard <= kHeardLately &&
             watch.waited() >= watch.Limit(StallRuleNow(job))) {
    context_->SubmitQuietly("a stall",
                            [this, entry](LedgerTransaction& transaction) { return Tell(entry, transaction); });
  }
}

absl::Status Stalls::Tell(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  if (!IsActive(*entry) || !ShouldMakeSteps(*entry, StepsDone(*entry)) || FindStall(*entry->working) != nullptr) {
    return absl::OkStatus();
  }
  JobEdit edit(context_, entry, &transaction);
  const v1::Rule rule = StallRuleNow(edit.job());
  v1::Alert alert = MakeStallAlert(edit.job(), rule, entry->trainer.stall, context_->deps.clock->Now());
  // How many there were an earlier life of the server may know.
  int32_t episode = entry->trainer.stall_episode;
  for (bool known = true; known;) {
    alert.set_alert_id(absl::StrCat(StallIdPrefix(edit.job(), rule.name()), ++episode));
    GW_ASSIGN_OR_RETURN(const auto found, transaction.FindAlert(alert.alert_id()));
    known = found.has_value();
  }
  alert.set_episode(episode);
  edit.AppendAlert(std::move(alert));
  GW_RETURN_IF_ERROR(edit.Write());
  entry->trainer.stall_episode = episode - 1;  // the commit may fail
  edit.Publish();
  return absl::OkStatus();
}

absl::Status Stalls::End(const std::shared_ptr<JobEntry>& entry, LedgerTransaction& transaction) {
  if (!IsActive(*entry)) return absl::OkStatus();
  JobEdit edit(context_, entry, &transaction);
  const v1::Alert* const stall = FindStall(edit.record());
  if (stall == nullptr) return absl::OkStatus();
  v1::Alert end = EndStallAlert(*stall, edit.job(), context_->deps.clock->Now());
  if (const v1::Rule rule = StallRuleNow(edit.job()); rule.name() == end.rule()) end.set_severity(rule.severity());
  edit.AppendAlert(std::move(end));
  GW_RETURN_IF_ERROR(edit.Write());
  edit.Publish();
  return absl::OkStatus();
}

}  // namespace gradwatch::server
