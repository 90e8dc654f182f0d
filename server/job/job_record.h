// Everything about a job that is durable: its row, and what its events say beyond the row.
#ifndef GRADWATCH_SERVER_JOB_JOB_RECORD_H_
#define GRADWATCH_SERVER_JOB_JOB_RECORD_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/ledger.h"

namespace gradwatch::server {

// A value; what is published of it never changes any more.
struct JobRecord {
  JobRow row;
  // What follows is folded from the events.
  std::vector<v1::Adjustment> in_flight;                 // asked for and neither applied nor dropped, oldest first
  std::map<std::string, v1::Alert> firing;               // alerts that are on, by id
  bool attached = false;                                 // a trainer attached, and no event has told that it is gone
  v1::JobState before_recovery = v1::JOB_STATE_RUNNING;  // what the job did when its trainer was lost

  bool ended() const;
  // Accepted, and no trainer may attach: it waits for its turn.
  bool waiting() const;
};

// Folds an event into the record: the parts beyond the row, and the figures of the job that events carry.
void FoldEvent(const v1::Event& event, JobRecord* record);

// The record of a stored job, its log read again.
absl::StatusOr<JobRecord> LoadRecord(JobRow row, LedgerReader* reader);

// Changes with the controls and the labels of a job.
std::string MakeEtag(const v1::Job& job);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_RECORD_H_
