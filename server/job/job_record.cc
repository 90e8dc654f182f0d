#include "server/job/job_record.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "server/base/unique_text.h"
#include "server/job/job_state.h"

namespace gradwatch::server {
namespace {

constexpr int kEventsAtOnce = 500;

void RemoveRevision(int64_t revision, std::vector<v1::Adjustment>* in_flight) {
  std::erase_if(*in_flight, [=](const v1::Adjustment& adjustment) { return adjustment.revision() == revision; });
}

void FoldAlert(const v1::Alert& alert, JobRecord* record) {
  if (alert.state() == v1::ALERT_STATE_FIRING) {
    record->firing[alert.alert_id()] = alert;
  } else {
    record->firing.erase(alert.alert_id());
  }
  record->row.job.set_firing_alerts(static_cast<int32_t>(record->firing.size()));
}

}  // namespace

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
    default:
      break;
  }
}

absl::StatusOr<JobRecord> LoadRecord(JobRow row, LedgerReader* reader) {
  JobRecord record;
  record.row = std::move(row);
  if (record.ended()) return record;  // nothing of it can change any more
  const std::string uid = record.row.job.uid();
  for (int64_t last = 0;;) {
    GW_ASSIGN_OR_RETURN(const auto events, reader->ReadEvents(uid, last, kEventsAtOnce, size_t{1} << 20));
    if (events.empty()) return record;
    for (const auto& stored : events) FoldEvent(stored.event, &record);
    last = events.back().event.number();
  }
}

std::string MakeEtag(const v1::Job& job) {
  std::string text = absl::StrCat(job.uid(), "/", job.control_revision());
  // Labels in the order of their keys; the map has none.
  const std::map<std::string, std::string> labels(job.spec().labels().begin(), job.spec().labels().end());
  for (const auto& [key, value] : labels) absl::StrAppend(&text, "\n", key, "=", value);
  return Sha256Hex(text).substr(0, 16);
}

}  // namespace gradwatch::server
