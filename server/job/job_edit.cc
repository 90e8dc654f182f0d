#include "server/job/job_edit.h"

#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "core/base/status_macros.h"
#include "server/job/job_state.h"

namespace gradwatch::server {
namespace {

google::protobuf::Timestamp Timestamp(absl::Time time) {
  return google::protobuf::util::TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(time));
}

void Log(const v1::Event& event) {
  if (event.has_state_changed()) {
    const v1::StateChanged& change = event.state_changed();
    spdlog::info("job {}: {}{}{}", event.job_id(), StateName(change.to()), change.reason().empty() ? "" : ": ",
                 change.reason());
  } else if (event.has_trainer_attached()) {
    spdlog::info("job {}: trainer attached, attempt {}", event.job_id(), event.attempt());
  } else if (event.has_trainer_detached()) {
    spdlog::info("job {}: trainer detached: {}", event.job_id(), event.trainer_detached().reason());
  }
}

bool EndsJob(const v1::Event& event) { return event.has_state_changed() && IsFinal(event.state_changed().to()); }

// Makes a committed change visible.
void Show(JobContext* context, const std::shared_ptr<JobEntry>& entry, std::shared_ptr<const JobRecord> record,
          const std::vector<v1::Event>& events, const std::vector<int64_t>& positions) {
  context->table.Publish(entry, std::move(record));
  for (size_t i = 0; i < events.size(); ++i) {
    const EncodedEvent encoded = EncodeEvent(events[i], positions[i]);
    entry->channel->AppendEvent(encoded, EndsJob(events[i]));
    context->deps.events->Append(encoded);
    Log(events[i]);
  }
  context->deps.hub->Notify(entry->uid);
  if (!events.empty()) context->deps.hub->Notify(Hub::kEventsTopic);
}

}  // namespace

JobEdit::JobEdit(JobContext* context, std::shared_ptr<JobEntry> entry, LedgerTransaction* transaction)
    : context_(context),
      entry_(std::move(entry)),
      transaction_(transaction),
      record_(std::make_shared<JobRecord>(*entry_->working)) {
  MergeFigures(entry_->intake.figures(), &job());
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
  events_.push_back(std::move(event));
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
  const auto now = Timestamp(context_->deps.clock->Now());
  for (auto [id, alert] : std::map<std::string, v1::Alert>(record_->firing)) {
    alert.set_state(v1::ALERT_STATE_RESOLVED);
    *alert.mutable_time() = now;
    v1::Event event;
    *event.mutable_alert_changed()->mutable_alert() = std::move(alert);
    Append(std::move(event));
  }
  *job().mutable_end_time() = now;
  if (state == v1::JOB_STATE_FAILED) job().set_failure(reason);
  MoveTo(state, reason);
}

void JobEdit::AppendDetached(const std::string& reason) {
  v1::Event event;
  event.mutable_trainer_detached()->set_reason(reason);
  Append(std::move(event));
}

absl::Status JobEdit::Write() {
  GW_RETURN_IF_ERROR(transaction_->PutJob(record_->row));
  for (v1::Event& event : events_) {
    GW_ASSIGN_OR_RETURN(const int64_t position, transaction_->AppendEvent(entry_->uid, &event));
    positions_.push_back(position);
  }
  return absl::OkStatus();
}

void JobEdit::Publish(absl::AnyInvocable<void()> then) {
  entry_->working = record_;
  transaction_->OnCommit([context = context_, entry = entry_, record = record_, events = std::move(events_),
                          positions = std::move(positions_),
                          then = std::move(then)](const absl::Status& status) mutable {
    if (!status.ok()) return context->table.RollBack(entry);
    Show(context, entry, std::move(record), events, positions);
    if (then != nullptr) then();
  });
}

}  // namespace gradwatch::server
