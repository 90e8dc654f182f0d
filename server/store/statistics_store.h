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
#include "core/base/clock.h"
#include "server/base/encoding.h"
#include "server/base/executor.h"

namespace gradwatch::server {

// How the reason of a lost range begins that stands for what was damaged, or has vanished, in the store.
inline constexpr char kDamagedReason[] = "what was stored is damaged";

// What is stored and streamed of a closed range of steps of one attempt: a report (the field `reports` of a serialised
// WatchJobResponse; first_step is step), or a range whose statistics are lost (the field `lost`), so that a batch of
// them is a message by mere concatenation. See report_codec.h.
struct EncodedReport {
  int32_t attempt = 0;
  int64_t step = 0;  // the last
  int64_t first_step = 0;
  bool lost = false;
  SharedBytes bytes;
};

// Thread-safe. A database that is damaged, or that cannot be opened, is the trouble of its job alone.
class StatisticsStore {
 public:
  // Keeps the databases in `folder` (one file a job, named by its uid), which is made if it is not there. Reads none of
  // them. Files are removed on `executor`, if there is one: that takes its time where they are large. `max_open`: so
  // many databases are written to without being opened anew, three descriptors each. Clock and executor outlive the
  // store.
  static absl::StatusOr<std::unique_ptr<StatisticsStore>> Open(const std::string& folder,
                                                               const core::Clock* clock = &core::RealClock(),
                                                               Executor* executor = nullptr, int max_open = 32);
  // Writes what was queued, then joins the thread.
  virtual ~StatisticsStore() = default;

  // Queues reports and lost ranges of one attempt in the order of steps, for one commit. They replace what is stored of
  // their steps, but a lost range never replaces a report: it is cut where there is one. `done` runs on the store's
  // thread after the commit (or its failure), in the order of calls for one job, and gets them back. A commit survives
  // the death of the process; the last second may not survive the loss of power. A failure is remembered for a second,
  // in which more of the same job fails at once; what was queued of it before `done` returned fails in any case, so
  // that nothing is stored behind what is missing. DATA_LOSS: the database cannot be used; see SetAside.
  using AppendDone = absl::AnyInvocable<void(const absl::Status&, std::vector<EncodedReport>)>;
  virtual void Append(absl::string_view uid, std::vector<EncodedReport> reports, AppendDone done) = 0;
  // Runs `done` on the store's thread after everything that was queued before it.
  virtual void Barrier(absl::AnyInvocable<void()> done) = 0;
  // Queues the removal of a job's database, and of what was set aside. `done` runs when the files are gone, on the
  // executor; never, if the store ends before.
  virtual void Remove(absl::string_view uid, absl::AnyInvocable<void()> done) = 0;
  // The uids of the jobs that have a database.
  virtual std::vector<std::string> Uids() const = 0;
  // Queues that a job's database is kept as UID.db.damaged, in place of an older one; what is appended later begins a
  // new database.
  virtual void SetAside(absl::string_view uid) = 0;

  // What is stored after (attempt, step), in order, at most about `max_bytes` of it but at least one if there is one; a
  // lost range that begins before comes cut. What is damaged or gone between other batches comes as a lost range. A job
  // without a database has nothing; neither the end of what is stored nor a last batch that has vanished can be told
  // from it: the caller knows from the ledger how far the steps went. DATA_LOSS: nothing behind (attempt, step) can be
  // read; UNAVAILABLE: not now.
  virtual absl::StatusOr<std::vector<EncodedReport>> ReadAfter(absl::string_view uid, int32_t attempt, int64_t step,
                                                               size_t max_bytes) = 0;
  // The last step stored for an attempt, as a report or as lost; -1: none. A batch at the end whose steps are damaged
  // counts as one that has vanished: what is appended from here on takes its place. Errors as ReadAfter.
  virtual absl::StatusOr<int64_t> LastStep(absl::string_view uid, int32_t attempt) = 0;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STORE_STATISTICS_STORE_H_
