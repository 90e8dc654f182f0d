// The thread `history`: takes apart what is committed, packs it, cuts the journal off behind it, keeps the budgets,
// and removes jobs.
#ifndef GRADWATCH_SERVER_HISTORY_HISTORY_WRITER_H_
#define GRADWATCH_SERVER_HISTORY_HISTORY_WRITER_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/executor.h"
#include "server/base/work_tracker.h"
#include "server/history/block_packer.h"
#include "server/history/history_database.h"
#include "server/history/history_jobs.h"
#include "server/history/statistics_store.h"

namespace gradwatch::server {

// Thread-safe.
class HistoryWriter {
 public:
  // What it asks of the store. Called on its thread.
  struct Hooks {
    // Why nothing can be stored now, and so nothing is packed; OK: it can.
    std::function<absl::Status()> may_store;
    // A write has failed.
    std::function<void(const absl::Status&)> failed;
    // What is free on the disk, as of a second ago.
    std::function<int64_t()> free_bytes;
  };
  // Starts the thread. All outlive it, also the executor of the options, which is set. `journal`: the first record that
  // may be there.
  HistoryWriter(HistoryDatabase* database, HistoryJobs* jobs, StoreOptions options, Hooks hooks, uint64_t journal);
  // Ends it, in the middle of its work: what is not done is done after the next start.
  ~HistoryWriter();

  // The store's thread: a record of the journal is committed, and all that is in it was told to its jobs and to Remove.
  void Committed(uint64_t journal, int64_t bytes);
  // Removes the rows of a job that HistoryJobs has forgotten; then gives the space back on the executor, and runs
  // `done` there.
  void Remove(std::string uid, absl::AnyInvocable<void()> done);
  // Packs all that is told, keeps the budgets, syncs, then runs `done`.
  void Settle(absl::AnyInvocable<void(const absl::Status&)> done);
  // See StatisticsStore::KeepBudgets.
  void StartKeepingBudgets() { keeps_budgets_ = true; }
  // The rows of the index may be gone, and so may journal and batches: all that is known is written anew.
  void WriteAnew();
  HistoryUsage usage() const;

 private:
  struct Removal {
    std::string uid;
    absl::AnyInvocable<void()> done;
  };
  struct Record {
    uint64_t journal = 0;
    int64_t bytes = 0;
  };
  using SettleDone = absl::AnyInvocable<void(const absl::Status&)>;
  // What is to be done now.
  struct Round {
    std::vector<Removal> removals;
    std::vector<SettleDone> settles;
    bool writes_anew = false;
    uint64_t journal = 0;  // told up to here
    absl::Status may_store;
    absl::Status unreadable;  // of some job, which was passed over
  };
  // Rows of which a job has dropped some since their space was given back.
  struct Dropped {
    std::string from, to;
    int64_t bytes = 0;
  };

  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // False: it ends.
  bool TakeRound(Round* round) ABSL_LOCKS_EXCLUDED(mutex_);
  void Run();
  absl::Status RunRound(Round* round);
  absl::Status RemoveJobs(Round* round);
  // The rows of the index of a job, in place of those that are there.
  static HistoryChanges AllRows(const JobHistory& job);
  // If it was asked for.
  absl::Status WriteAnew(const std::vector<HistoryJobs::Job>& jobs, Round* round);
  // What is to be stored of jobs that may have nothing to pack.
  absl::Status StoreNotes(const std::vector<HistoryJobs::Job>& jobs);
  absl::Status PackDue(const std::vector<HistoryJobs::Job>& jobs, absl::Duration oldest, Round* round,
                       BlockPacker::Unreadable unreadable = BlockPacker::Unreadable::kAnotherTime);
  // What becomes of a change of a job: an error, if nothing can be written; what cannot be read is another time's work,
  // and no other job's trouble.
  absl::Status PassOverUnreadable(const JobHistory& job, const absl::Status& status, Round* round);
  // Closes blocks early where they take too much memory, or keep too much of the journal.
  absl::Status KeepBounds(const std::vector<HistoryJobs::Job>& jobs, Round* round);
  absl::Status KeepMemoryBound(const std::vector<HistoryJobs::Job>& jobs, Round* round);
  absl::Status KeepJournalBound(const std::vector<HistoryJobs::Job>& jobs, Round* round);
  // What keeps jobs from being packed, since it cannot be read, becomes damage.
  absl::Status GiveUnreadableUp(const std::vector<HistoryJobs::Job>& jobs, Round* round);
  absl::Status CutJournal(const std::vector<HistoryJobs::Job>& jobs, uint64_t told);
  absl::Status KeepBudgets(const std::vector<HistoryJobs::Job>& jobs, Round* round);
  absl::Status KeepBudgetsOf(size_t level, const std::vector<HistoryJobs::Job>& jobs, Round* round);
  void NoteDropped(const JobHistory& job, size_t level, absl::Span<const RetainedBlock> blocks);
  // Copies a folder of which a part is damaged, as soon as there is room for it.
  absl::Status RebuildIfDamaged(const std::vector<HistoryJobs::Job>& jobs, int64_t copy_bytes, Round* round);
  void GiveSpaceBack(const Removal& removal);
  void CompactDropped();
  // Runs on the executor, unless the writer has ended by then.
  void RunLater(absl::AnyInvocable<void()> task);
  int64_t JournalBytes() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool closing() const ABSL_LOCKS_EXCLUDED(mutex_);

  HistoryDatabase& database_;
  HistoryJobs& jobs_;
  const StoreOptions options_;
  const Hooks hooks_;
  BlockPacker packer_;
  std::atomic<bool> keeps_budgets_;
  const std::shared_ptr<WorkTracker> work_ = std::make_shared<WorkTracker>();

  // The thread's own.
  std::vector<Removal> removals_;     // that could not be made yet
  bool writes_anew_ = false;          // what is known; not done yet
  uint64_t journal_begin_;            // records before are cut off
  bool lacks_room_ = false;           // to rebuild; told in the log
  std::set<std::string> unreadable_;  // uids of jobs, told in the log
  absl::Duration next_tidying_ = -absl::InfiniteDuration();
  std::map<std::string, Dropped> dropped_;  // by uid
  std::shared_ptr<std::atomic<bool>> is_compacting_ = std::make_shared<std::atomic<bool>>(false);

  mutable absl::Mutex mutex_;
  Round next_ ABSL_GUARDED_BY(mutex_);
  std::deque<Record> journal_ ABSL_GUARDED_BY(mutex_);  // that are not cut off
  int64_t journal_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  HistoryUsage usage_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_HISTORY_WRITER_H_
