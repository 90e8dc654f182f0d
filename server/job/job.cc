#include "server/job/job.h"

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "server/base/unique_text.h"
#include "server/job/job_state.h"

namespace gradwatch::server {
namespace {

constexpr int kEventsAtOnce = 500;
constexpr size_t kBytesAtOnce = size_t{1} << 20;
// More losses of one job are not told: what its store is like is known by then.
constexpr size_t kMaxLosses = 100;

void RemoveRevision(int64_t revision, std::vector<v1::Adjustment>* in_flight) {
  std::erase_if(*in_flight, [=](const v1::Adjustment& adjustment) { return adjustment.revision() == revision; });
}

void FoldAlert(const v1::Alert& alert, JobRecord* record) {
  v1::Job& job = record->row.job;
  const auto known = record->open_alerts.find(alert.alert_id());
  const bool was_firing = known != record->open_alerts.end() && known->second.state() == v1::ALERT_STATE_FIRING;
  const bool fires = alert.state() == v1::ALERT_STATE_FIRING;
  if (fires && !was_firing) job.set_fired_alerts(job.fired_alerts() + 1);
  job.set_firing_alerts(job.firing_alerts() + fires - was_firing);
  if (alert.state() == v1::ALERT_STATE_RESOLVED) {
    if (known != record->open_alerts.end()) record->open_alerts.erase(known);
  } else {
    record->open_alerts[alert.alert_id()] = alert;
  }
}

// Calls `use` with every event of a job, in order, until it says false.
absl::Status ForEachEvent(absl::string_view uid, LedgerReader* reader, absl::FunctionRef<bool(const v1::Event&)> use) {
  for (int64_t last = 0;;) {
    GW_ASSIGN_OR_RETURN(const auto events, reader->ReadEvents(uid, last, kEventsAtOnce, kBytesAtOnce));
    if (events.empty()) return absl::OkStatus();
    for (const auto& stored : events) {
      if (!use(stored.event)) return absl::OkStatus();
    }
    last = events.back().event.number();
  }
}

}  // namespace

void JobRecord::Pack() {
  if (!packed.empty()) return;
  v1::Job large;
  if (row.job.has_spec()) large.mutable_spec()->Swap(row.job.mutable_spec());
  if (row.job.has_controls()) large.mutable_controls()->Swap(row.job.mutable_controls());
  large.mutable_tensors()->Swap(row.job.mutable_tensors());
  row.job.clear_spec();
  row.job.clear_controls();
  packed = large.SerializeAsString();
}

void JobRecord::Unpack() {
  if (packed.empty()) return;
  row.job.MergeFromString(packed);
  packed.clear();
}

bool JobRecord::ended() const { return IsFinal(row.job.state()); }

bool JobRecord::waiting() const { return row.job.state() == v1::JOB_STATE_PENDING && row.attach_token.empty(); }

void FoldEvent(const v1::Event& event, JobRecord* record) {
  switch (event.what_case()) {
    case v1::Event::kStateChanged:
      if (event.state_changed().to() == v1::JOB_STATE_RECOVERING) {
        record->before_recovery = event.state_changed().from();
      }
      break;
    case v1::Event::kAdjustRequested:
      record->in_flight.push_back(event.adjust_requested().adjustment());
      break;
    case v1::Event::kAdjusted:
      RemoveRevision(event.adjusted().adjustment().revision(), &record->in_flight);
      break;
    case v1::Event::kAdjustDropped:
      RemoveRevision(event.adjust_dropped().adjustment().revision(), &record->in_flight);
      break;
    case v1::Event::kAlertChanged:
      FoldAlert(event.alert_changed().alert(), record);
      break;
    case v1::Event::kTrainerAttached:
      record->attached = true;
      break;
    case v1::Event::kTrainerDetached:
      record->attached = false;
      break;
    case v1::Event::kDataLoss:
      record->data_losses.insert(event.data_loss().description());
      break;
    default:
      break;
  }
}

absl::StatusOr<JobRecord> LoadRecord(JobRow row, LedgerReader* reader) {
  JobRecord record;
  record.row = std::move(row);
  if (record.ended()) {
    record.Pack();
    return record;
  }
  v1::Job& job = record.row.job;
  job.set_firing_alerts(0);  // counted again
  job.set_fired_alerts(0);
  GW_RETURN_IF_ERROR(ForEachEvent(job.uid(), reader, [&record](const v1::Event& event) {
    FoldEvent(event, &record);
    return true;
  }));
  return record;
}

absl::StatusOr<bool> LogTellsDataLoss(absl::string_view uid, const std::string& description, LedgerReader* reader) {
  bool told = false;
  GW_RETURN_IF_ERROR(ForEachEvent(uid, reader, [&](const v1::Event& event) {
    told = event.has_data_loss() && event.data_loss().description() == description;
    return !told;
  }));
  return told;
}

int64_t MaxSteps(const v1::Job& job) {
  constexpr int64_t kMostSteps = 1'000'000'000'000;  // as core/spec allows
  return job.spec().steps() > 0 ? job.spec().steps() : kMostSteps;
}

std::string MakeEtag(const v1::Job& job) {
  std::string text = absl::StrCat(job.uid(), "/", job.control_revision(), "\n", job.spec().display_name());
  // Labels in the order of their keys; the map has none.
  const std::map<std::string, std::string> labels(job.spec().labels().begin(), job.spec().labels().end());
  for (const auto& [key, value] : labels) absl::StrAppend(&text, "\n", key, "=", value);
  return Sha256Hex(text).substr(0, 16);
}

JobEntry::JobEntry(std::string uid, std::string job_id, int64_t order, std::shared_ptr<JobChannel> channel)
    : uid(std::move(uid)), job_id(std::move(job_id)), order(order), channel(std::move(channel)) {}

std::shared_ptr<const JobRecord> JobEntry::published() const {
  absl::MutexLock lock(&mutex_);
  return published_;
}

void JobEntry::Publish(std::shared_ptr<const JobRecord> record) {
  absl::MutexLock lock(&mutex_);
  published_.swap(record);  // the old one goes outside of the lock
}

std::optional<v1::Job> JobEntry::Snapshot() const {
  const auto record = published();
  if (record == nullptr) return std::nullopt;
  v1::Job job = record->row.job;
  job.MergeFromString(record->packed);
  if (!record->ended()) MergeFigures(intake.figures(), &job);
  return job;
}

std::optional<v1::JobFigures> JobEntry::Figures(absl::Duration now) const {
  const auto record = published();
  if (record == nullptr) return std::nullopt;
  const v1::Job& stored = record->row.job;
  v1::Job live;  // only what figures are about: a whole job is large
  live.set_attempt(stored.attempt());
  MergeFigures(FiguresOf(stored), &live);
  if (!record->ended()) MergeFigures(intake.figures(), &live);
  v1::JobFigures figures;
  figures.set_job_id(job_id);
  figures.set_uid(uid);
  figures.set_state(stored.state());
  figures.set_attempt(stored.attempt());
  figures.set_steps_done(live.steps_done());
  if (const auto rate = intake.StepsPerSecond(now); rate.has_value()) figures.set_steps_per_second(*rate);
  if (live.has_last_loss()) figures.set_loss(live.last_loss());
  if (live.has_last_grad_norm()) figures.set_grad_norm(live.last_grad_norm());
  if (live.has_last_non_finite()) figures.set_non_finite(live.last_non_finite());
  figures.set_firing_alerts(stored.firing_alerts());
  figures.set_fired_alerts(stored.fired_alerts());
  return figures;
}

bool JobEntry::ClaimLoss(const std::string& description) {
  absl::MutexLock lock(&mutex_);
  return claimed_losses_.size() < kMaxLosses && claimed_losses_.insert(description).second;
}

void JobEntry::ForgetLoss(const std::string& description) {
  absl::MutexLock lock(&mutex_);
  claimed_losses_.erase(description);
}

}  // namespace gradwatch::server
