// JobEdit: one change of one job.
#include <spdlog/spdlog.h>

#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "server/job/job.h"
#include "server/job/job_context.h"
#include "server/job/job_state.h"

namespace gradwatch::server {
namespace {

void Log(const v1::Event& event) {
  if (event.has_state_changed()) {
    const v1::StateChanged& change = event.state_changed();
    spdlog::info("job {}: {}{}{}", event.job_id(), StateName(change.to()), change.reason().empty() ? "" : ": ",
                 change.reason());
  } else if (event.has_trainer_attached()) {
    spdlog::info("job {}: trainer attached, attempt {}", event.job_id(), event.attempt());
  } else if (event.has_trainer_detached()) {
    spdlog::info("job {}: trainer detached: {}", event.job_id(), event.trainer_detached().reason());
  } else if (event.has_data_loss()) {
    spdlog::error("job {}: data loss: {}", event.job_id(), event.data_loss().description());
  }
}

bool EndsJob(const v1::Event& event) { return event.has_state_changed() && IsFinal(event.state_changed().to()); }

}  // namespace

JobEdit::JobEdit(JobContext* context, std::shared_ptr<JobEntry> entry, LedgerTransaction* transaction)
    : context_(context),
      entry_(std::move(entry)),
      transaction_(transaction),
      record_(std::make_shared<JobRecord>(*entry_->working)) {
  record_->Unpack();
  if (!record_->ended()) MergeFigures(entry_->intake.figures(), &job());
}

JobEdit::JobEdit(JobContext* context, std::shared_ptr<JobEntry> entry, LedgerTransaction* transaction, JobRecord first)
    : context_(context),
      entry_(std::move(entry)),
      transaction_(transaction),
      record_(std::make_shared<JobRecord>(std::move(first))) {}

void JobEdit::Append(v1::Event event) {
  event.set_job_id(entry_->job_id);
  event.set_number(job().last_event() + 1);
  event.set_attempt(job().attempt());
  job().set_last_event(event.number());
  FoldEvent(event, record_.get());
  events_.push_back({std::move(event), 0});
}

void JobEdit::AppendAlert(v1::Alert alert) {
  alert.clear_acknowledged_by();
  alert.clear_acknowledge_time();
  alert.clear_acknowledge_comment();
  if (const auto known = record_->open_alerts.find(alert.alert_id()); known != record_->open_alerts.end()) {
    alert.set_acknowledged_by(known->second.acknowledged_by());
    alert.set_acknowledge_comment(known->second.acknowledge_comment());
    if (known->second.has_acknowledge_time()) *alert.mutable_acknowledge_time() = known->second.acknowledge_time();
  }
  const auto silences = context_->silences.Matching(alert, context_->deps.clock->Now());
  alert.mutable_silenced_by()->Assign(silences.begin(), silences.end());
  v1::Event event;
  *event.mutable_alert_changed()->mutable_alert() = std::move(alert);
  Append(std::move(event));
}

void JobEdit::AppendDetached(const std::string& reason) {
  v1::Event event;
  event.mutable_trainer_detached()->set_reason(reason);
  Append(std::move(event));
}

bool JobEdit::MoveTo(v1::JobState state, const std::string& reason) {
  if (job().state() == state) return true;
  const std::vector<v1::JobState> path = PathBetween(job().state(), state);
  for (const v1::JobState next : path) {
    v1::Event event;
    event.mutable_state_changed()->set_from(job().state());
    event.mutable_state_changed()->set_to(next);
    event.mutable_state_changed()->set_reason(reason);
    event.mutable_state_changed()->set_steps_done(job().steps_done());
    job().set_state(next);
    Append(std::move(event));
  }
  return !path.empty();
}

void JobEdit::End(v1::JobState state, const std::string& reason) {
  for (const v1::Adjustment& adjustment : std::vector<v1::Adjustment>(record_->in_flight)) {
    v1::Event event;
    *event.mutable_adjust_dropped()->mutable_adjustment() = adjustment;
    event.mutable_adjust_dropped()->set_reason("the job ended before the change was applied");
    Append(std::move(event));
  }
  record_->row.pending.Clear();
  const auto now = core::ToTimestamp(context_->deps.clock->Now());
  for (auto [id, alert] : std::map<std::string, v1::Alert>(record_->open_alerts)) {
    alert.set_state(v1::ALERT_STATE_RESOLVED);
    *alert.mutable_time() = now;
    AppendAlert(std::move(alert));
  }
  *job().mutable_end_time() = now;
  if (state == v1::JOB_STATE_FAILED) job().set_failure(reason);
  MoveTo(state, reason);
}

absl::Status JobEdit::Write() {
  GW_RETURN_IF_ERROR(transaction_->PutJob(record_->row));
  for (Entry& entry : events_) {
    GW_ASSIGN_OR_RETURN(entry.position, transaction_->AppendEvent(entry_->uid, &entry.event));
  }
  return absl::OkStatus();
}

void JobEdit::Publish(absl::AnyInvocable<void(const JobRecord&)> then) {
  if (record_->ended()) record_->Pack();
  entry_->working = record_;
  transaction_->OnCommit([context = context_, entry = entry_, record = record_, events = std::move(events_),
                          then = std::move(then)](const absl::Status& status) mutable {
    if (!status.ok()) return context->table.RollBack(entry);
    Show(context, entry, record, events);
    if (then != nullptr) then(*record);
  });
}

void JobEdit::Show(JobContext* context, const std::shared_ptr<JobEntry>& entry, std::shared_ptr<const JobRecord> record,
                   const std::vector<Entry>& events) {
  if (record->ended()) entry->intake.Close();
  context->table.Publish(entry, std::move(record));
  if (events.empty()) return;
  for (const auto& [event, position] : events) {
    const EncodedEvent encoded = EncodeEvent(event, position);
    entry->channel->AppendEvent(encoded, EndsJob(event));
    context->deps.events->Append(encoded);
    Log(event);
  }
  context->deps.hub->Notify(entry->uid);
  context->deps.hub->Notify(Hub::kEventsTopic);
}

}  // namespace gradwatch::server
