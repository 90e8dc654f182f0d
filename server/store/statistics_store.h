// The statistics of all jobs, one database a job, written by one thread in batches.
#ifndef GRADWATCH_SERVER_STORE_STATISTICS_STORE_H_
#define GRADWATCH_SERVER_STORE_STATISTICS_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradwatch/v1/event.pb.h"

namespace gradwatch::server {

// A report as it is stored and streamed: the field `reports` of a serialised WatchJobResponse (tag, length, content),
// so that a batch of them is a message by mere concatenation.
struct EncodedReport {
  int32_t attempt = 0;
  int64_t step = 0;
  std::string bytes;
};

// Thread-safe.
class StatisticsStore {
 public:
  // Keeps the databases in `folder` (one file a job, named by its uid), which is made if it is not there.
  static absl::StatusOr<std::unique_ptr<StatisticsStore>> Open(const std::string& folder);
  // Writes what was queued, then joins the thread.
  virtual ~StatisticsStore() = default;

  // Queues reports of one attempt in the order of steps; a step that is already stored is replaced. `done` runs on the
  // store's thread after the commit (or its failure), in the order of calls for one job, and gets the reports back.
  // A commit survives the death of the process; the last second may not survive the loss of power.
  using AppendDone = absl::AnyInvocable<void(const absl::Status&, std::vector<EncodedReport>)>;
  virtual void Append(absl::string_view uid, std::vector<EncodedReport> reports, AppendDone done) = 0;
  // Runs `done` on the store's thread after everything that was queued before it.
  virtual void Barrier(absl::AnyInvocable<void()> done) = 0;
  // Queues the removal of a job's database.
  virtual void Remove(absl::string_view uid) = 0;

  // Reports after (attempt, step) in order, at most about `max_bytes` of them but at least one if there is one. A job
  // without statistics has none. DATA_LOSS: a stored batch is damaged.
  virtual absl::StatusOr<std::vector<EncodedReport>> ReadAfter(absl::string_view uid, int32_t attempt, int64_t step,
                                                               size_t max_bytes) = 0;
  // The last step stored for an attempt; -1: none.
  virtual absl::StatusOr<int64_t> LastStep(absl::string_view uid, int32_t attempt) = 0;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STORE_STATISTICS_STORE_H_
