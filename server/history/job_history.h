// The statistics of one job: what is committed and in no batch yet, what is stored, and reading both.
#ifndef GRADWATCH_SERVER_HISTORY_JOB_HISTORY_H_
#define GRADWATCH_SERVER_HISTORY_JOB_HISTORY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/history/encoded_report.h"
#include "server/history/history_database.h"
#include "server/history/history_index.h"
#include "server/history/open_block.h"
#include "server/history/open_blocks.h"
#include "server/history/statistics_store.h"

namespace gradwatch::server {

// What all jobs have in memory, in bytes.
struct HistoryLoad {
  std::atomic<int64_t> waiting = 0;  // is committed, and not taken apart yet
  std::atomic<int64_t> open = 0;     // blocks that are in no batch
};

// Thread-safe, but for what is said to be of the thread `history`, which alone changes what is stored. No lock is held
// across the database.
class JobHistory {
 public:
  // Both outlive it.
  JobHistory(std::string uid, const HistoryDatabase* database, HistoryLoad* load)
      : uid_(std::move(uid)), database_(*database), load_(*load) {}
  ~JobHistory();

  const std::string& uid() const { return uid_; }

  // Before anything else: rows of the index.
  void Load(const RowKey& key, absl::string_view value);
  // Whether an entry of this record of the journal lies in a batch already, or lay in one that was dropped.
  bool Holds(const EncodedReport& entry, uint64_t journal) const;

  // Entries of one attempt are committed by the record `journal` (which rises), and can be read from now on. Takes no
  // lock that is held for long: they are taken apart by whoever reads, or by the thread `history`.
  void Add(std::vector<EncodedReport> entries, uint64_t journal, absl::Duration now);

  // As StatisticsStore's calls.
  int64_t LastStep(int32_t attempt) const;
  absl::StatusOr<std::vector<EncodedReport>> ReadAfter(int32_t attempt, int64_t step, size_t max_bytes);
  std::vector<std::string> LayerNames() const;
  // `otherwise`: the budget, if it has none of its own.
  JobUsage Usage(const RetentionBudget& otherwise) const;
  // Whether nothing was ever stored, as of one that has a budget alone.
  bool is_empty() const;
  void SetBudget(const RetentionBudget& budget);
  // It holds at once, and is stored with the next PutNotes.
  void Protect(int32_t attempt, const StepRange& steps);

  // The reports of a block.
  struct BlockContents {
    std::vector<HistoryItem> items;                      // its batches
    std::vector<StoredBatch> batches;                    // of the items; without bytes: it cannot be read
    std::vector<std::shared_ptr<const OpenBlock>> open;  // what is in none, for ForEachOpen
  };
  // Of what is taken apart: a reader has that done before; to the packer what comes meanwhile is no matter, and taking
  // it apart would let blocks pile up behind the one that it packs.
  absl::StatusOr<BlockContents> ReadBlock(const BlockId& id);
  // Calls for the reports in the window of what ReadBlock has found, in the order of steps.
  void ForEachOpen(const BlockContents& contents, const StepRange& window, const ReportChoice& choice,
                   absl::FunctionRef<void(const v1::StepReport&)> each) const;
  // What BlockSource tells, at one moment.
  struct Standing {
    std::array<StepRanges, kLevels.size()> kept;
    std::vector<LostSteps> lost;
  };
  Standing StandingOf(int32_t attempt);
  // As BlockSource's call, with the place of the level.
  absl::Status ForEachRow(int32_t attempt, size_t level, TierGroup group, const StepRange& window,
                          absl::FunctionRef<void(const StepRange& steps, absl::string_view bytes)> each) const;

  // The thread `history`.

  // Puts what was added into its blocks, which whoever reads does, too.
  void TakeApart();
  // As OpenBlocks' calls, with all that was added.
  std::vector<BlockId> Due(absl::Duration oldest);
  std::optional<uint64_t> FirstJournal();
  // About what its open blocks occupy.
  int64_t open_bytes() const;
  struct ClosingBlock {
    std::shared_ptr<const OpenBlock> block;
    uint64_t journal = 0;  // all of this record and those before is in it, or in what was stored before
  };
  ClosingBlock StartClosing(const BlockId& id);
  // The rows of the index that belong to a change.
  void PutRows(const IndexChange& change, HistoryChanges* rows) const;
  void PutAllRows(HistoryChanges* rows) const;
  // What is protected, and names, where they are not stored yet.
  void PutNotes(HistoryChanges* rows);
  // What was put could not be stored.
  void NotesFailed();
  // The change is committed, and with it what was made of the block `closed`, if there was one.
  void Apply(const IndexChange& change, std::optional<BlockId> closed = std::nullopt);
  // What the index says.
  template <typename Question>
  auto Ask(Question question) const {
    absl::ReaderMutexLock lock(&mutex_);
    return question(index_);
  }
  RetentionBudget budget(const RetentionBudget& otherwise) const;
  // What is stored of it is gone: nothing is to be stored any more.
  void SetRemoved() { is_removed_ = true; }
  bool is_removed() const { return is_removed_; }

 private:
  struct Added {
    std::vector<EncodedReport> entries;
    uint64_t journal = 0;
    absl::Duration since;
    int64_t bytes = 0;
  };
  // What ReadAfter reads next of an attempt: the steps up to the end of the next block that has something, all of them
  // as of one moment.
  struct Part {
    StepRange window;
    std::optional<BlockId> block;  // unset: there are no reports any more
    BlockContents contents;
    std::vector<LostSteps> lost;       // that is stored
    std::vector<EncodedReport> fresh;  // what is in no batch
  };

  // Takes apart what was added.
  void Absorb() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Absorb(const EncodedReport& entry, const Added& added) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The open blocks have changed.
  void CountOpen() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteLayers(const v1::StepReport& report) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<int32_t> AttemptsFrom(int32_t attempt);
  // Of the last attempt; unset: there is none.
  std::optional<int64_t> FirstReport() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // The first block with a report after `step`.
  std::optional<BlockId> BlockAfter(int32_t attempt, int64_t step) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  BlockContents ContentsOf(const BlockId& id) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void ForEachOpenLocked(const BlockContents& contents, const StepRange& window, const ReportChoice& choice,
                         absl::FunctionRef<void(const v1::StepReport&)> each) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // But for the bytes of batches.
  Part NextPart(int32_t attempt, int64_t step);
  absl::StatusOr<Part> ReadPart(int32_t attempt, int64_t step);
  // The bytes of the batches. False: they were packed anew, or dropped, since the contents were looked up.
  absl::StatusOr<bool> ReadBatches(const BlockId& id, BlockContents* contents) const;
  static std::vector<EncodedReport> EntriesOf(int32_t attempt, const Part& part);

  const std::string uid_;
  const HistoryDatabase& database_;
  HistoryLoad& load_;
  std::atomic<bool> is_removed_ = false;

  mutable absl::Mutex mutex_ ABSL_ACQUIRED_BEFORE(added_mutex_);
  HistoryIndex index_ ABSL_GUARDED_BY(mutex_);
  OpenBlocks open_ ABSL_GUARDED_BY(mutex_);
  int64_t open_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of them, in load_
  uint64_t absorbed_journal_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<BlockId, uint64_t> closing_journals_ ABSL_GUARDED_BY(mutex_);  // ClosingBlock::journal
  bool has_new_names_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_new_protection_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<RetentionBudget> budget_ ABSL_GUARDED_BY(mutex_);

  mutable absl::Mutex added_mutex_;
  std::vector<Added> added_ ABSL_GUARDED_BY(added_mutex_);
  std::map<int32_t, int64_t> last_steps_ ABSL_GUARDED_BY(added_mutex_);  // of what came since the start
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_JOB_HISTORY_H_
