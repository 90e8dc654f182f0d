// One job in memory: what the ledger's thread works on, and what everybody else may read.
#ifndef GRADWATCH_SERVER_JOB_JOB_ENTRY_H_
#define GRADWATCH_SERVER_JOB_JOB_ENTRY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/job/job_record.h"
#include "server/job/launcher.h"
#include "server/job/report_intake.h"
#include "server/job/trainer_link.h"
#include "server/stream/job_channel.h"

namespace gradwatch::server {

// The trainer of a job as far as this life of the server knows it. Used on the ledger's thread only.
struct TrainerSlot {
  std::shared_ptr<TrainerLink> link;      // of the trainer that holds the job; null: none is attached
  bool welcomed = false;                  // the welcome was sent: directives may follow
  std::string trainer_id;                 // of the trainer that attached last; empty: none did in this life
  std::optional<ProcessEnd> process_end;  // the process is gone
  std::optional<std::string> stream_end;  // the stream is over, and no event has told it yet
  // When something that is waited for (an end of stream, a process, a trainer) counts as not coming.
  absl::Duration deadline = absl::InfiniteDuration();
};

class JobEntry {
 public:
  // `order`: rises with each job; see JobTable.
  JobEntry(std::string uid, std::string job_id, int64_t order, std::shared_ptr<JobChannel> channel);

  const std::string uid;
  const std::string job_id;
  const int64_t order;
  const std::shared_ptr<JobChannel> channel;
  ReportIntake intake;

  // The ledger's thread only. The record as the operations so far leave it; null: the job is deleted.
  std::shared_ptr<const JobRecord> working;
  TrainerSlot trainer;

  // The record as of the last commit; null: not committed yet, or deleted. Thread-safe.
  std::shared_ptr<const JobRecord> published() const ABSL_LOCKS_EXCLUDED(mutex_);
  void Publish(std::shared_ptr<const JobRecord> record) ABSL_LOCKS_EXCLUDED(mutex_);
  // The published job with its live figures; nothing if it is not there. Thread-safe.
  std::optional<v1::Job> Snapshot() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<const JobRecord> published_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_ENTRY_H_
