// The statistics of all jobs, in one database: committed by one thread, packed by another.
//
// What is appended is committed at once, to the journal, with whatever waits of all jobs at that moment. Later the
// reports of 256 steps become batches by columns and tiers, and the journal is cut off behind them.
#ifndef GRADWATCH_SERVER_HISTORY_STATISTICS_STORE_H_
#define GRADWATCH_SERVER_HISTORY_STATISTICS_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "server/base/executor.h"
#include "server/history/encoded_report.h"
#include "server/history/retention.h"
#include "server/history/statistics_query.h"

namespace rocksdb {
class Env;
}  // namespace rocksdb

namespace gradwatch::server {

struct StoreOptions {
  const core::Clock* clock = &core::RealClock();  // outlives the store
  // Where space is given back to the disk, which takes its time; outlives the store. Null: on a thread of the store's
  // that does nothing else.
  Executor* executor = nullptr;
  RetentionBudget job_budget;  // of a job whose own says nothing else; tiers of 16 steps may take a quarter of it more
  int64_t max_bytes = 0;       // the same of all jobs together; 0: any number
  bool knows_budgets = true;   // false: those of single jobs are told first, and none is kept before KeepBudgets
  // Nothing is stored while less is free on the disk, until half as much again is.
  int64_t disk_reserve = int64_t{64} << 20;
  // What is in no batch yet is packed early from so much on: in memory, and in the journal, which a start reads. From
  // twice as much memory on nothing more is committed; and what cannot be read, so that more of it cannot be packed, is
  // given up as damaged where it keeps more memory than that, or four times as long a journal.
  int64_t max_open_bytes = int64_t{96} << 20;
  int64_t max_journal_bytes = int64_t{64} << 20;
  // For tests: a file system that fails, and what is free on it. Null: the machine's.
  rocksdb::Env* env = nullptr;
  std::function<absl::StatusOr<int64_t>()> free_bytes = nullptr;
};

// What is stored of all jobs; the fields of v1::StoreInfo.
struct StoreUsage {
  int64_t report_bytes = 0, range_bytes = 0;
  int64_t disk_bytes = 0;  // as of a few seconds ago, as is free_bytes
  int64_t free_bytes = 0;
  int64_t max_bytes = 0;
  RetentionBudget job_budget;
  std::string stopped;  // why nothing is stored now; empty: it is
  absl::Time stopped_since;
};

// What is stored of one job; the fields of v1::StatisticsUsage.
struct JobUsage {
  int64_t report_bytes = 0, range_bytes = 0;
  std::optional<int64_t> first_step;  // of the last attempt, whose report is kept
  RetentionBudget budget;
};

// Thread-safe.
//
// Errors of all calls: INVALID_ARGUMENT: no uid of a job; RESOURCE_EXHAUSTED (reason STORAGE_FULL); UNAVAILABLE (reason
// BACKEND_DOWN). What is damaged is told as lost, in its place, and never an error.
class StatisticsStore {
 public:
  // How the folder was found.
  enum class Found {
    kSound,
    kNew,      // there was nothing
    kDamaged,  // it was repaired, or set aside: what is stored may fall short of what was acknowledged
  };

  // Opens or makes the folder, reads what every job has (not the reports), and takes in what lies in no batch yet.
  // Errors as HistoryDatabase::Open.
  static absl::StatusOr<std::unique_ptr<StatisticsStore>> Open(const std::string& folder, StoreOptions options = {});
  // Commits what was queued, then joins the threads. What lies in no batch then is packed after the next start.
  virtual ~StatisticsStore() = default;

  // Queues reports and lost ranges of one attempt in the order of steps, for one commit. They replace what is stored of
  // their steps, but a lost range never replaces a report: it is cut where there is one. `done` runs on the store's
  // thread after the commit (or its failure), in the order of calls, and gets them back; they can be read then. A
  // commit survives the death of the process; the last second may not survive the loss of power. A failure is that of
  // all that is queued until then, and of all that its job queues before `done` has returned, so that nothing is stored
  // behind what is missing; what comes later fails at once, until the store has healed, which it tries by itself, at
  // first after a second, later every 30.
  using AppendDone = absl::AnyInvocable<void(const absl::Status&, std::vector<EncodedReport>)>;
  virtual void Append(absl::string_view uid, std::vector<EncodedReport> reports, AppendDone done) = 0;
  // Runs `done` on the store's thread after everything that was queued before it.
  virtual void Barrier(absl::AnyInvocable<void()> done) = 0;
  // Packs all that was queued before, keeps the budgets, makes it durable, and then runs `done` on a thread of the
  // store, with the error if that could not be done. For tests and migrations: by itself it does all that in time.
  virtual void Settle(absl::AnyInvocable<void(const absl::Status&)> done) = 0;
  // Queues the removal of all that is stored of a job. `done` runs on the executor when the space is given back; never,
  // if the store ends before, or it could not be done.
  virtual void Remove(absl::string_view uid, absl::AnyInvocable<void()> done) = 0;
  // The uids of the jobs of which something is stored.
  virtual std::vector<std::string> Uids() const = 0;
  // How the folder was found when the store was opened.
  virtual Found found() const = 0;

  // Protects the reports of these steps from retention: they go last. Queued; stored soon, or when the store has
  // healed.
  virtual void Protect(absl::string_view uid, int32_t attempt, int64_t first_step, int64_t last_step) = 0;
  // What is kept of the job from now on, in place of StoreOptions::job_budget; not kept over a restart.
  virtual void SetBudget(absl::string_view uid, const RetentionBudget& budget) = 0;
  // All budgets are told, and kept from now on.
  virtual void KeepBudgets() = 0;

  // What is stored after (attempt, step), in order, at most about `max_bytes` of it but at least one if there is one,
  // and of 256 KiB or more the last block of kBlockSteps as a whole; a lost range that begins before comes cut. What is
  // damaged, or gone between others, comes as a lost range with kDamagedReason, what retention dropped as one with
  // kDroppedReason. Neither the end of what is stored nor a job of which nothing is can be told from a loss: the caller
  // knows from the ledger how far the steps went.
  virtual absl::StatusOr<std::vector<EncodedReport>> ReadAfter(absl::string_view uid, int32_t attempt, int64_t step,
                                                               size_t max_bytes) = 0;
  // The last step stored of an attempt, as a report or as lost; -1: none. Needs no disk.
  virtual absl::StatusOr<int64_t> LastStep(absl::string_view uid, int32_t attempt) const = 0;

  // One attempt as it is now, for questions; empty, if nothing is stored of it. May be read on one thread at a time
  // while the store goes on: what is packed meanwhile is found where it lies then, what is dropped meanwhile is told as
  // lost. Does not outlive the store.
  virtual absl::StatusOr<std::unique_ptr<BlockSource>> Source(absl::string_view uid, int32_t attempt) = 0;
  // The layers of a job, in the order of StepReport.layers of the newest report that has any.
  virtual std::vector<std::string> LayerNames(absl::string_view uid) const = 0;

  // These need no disk.
  virtual StoreUsage Usage() const = 0;
  virtual JobUsage UsageOf(absl::string_view uid) const = 0;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_STATISTICS_STORE_H_
