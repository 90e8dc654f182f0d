// What becomes of committed reports: batches, rows of tiers that are joined as they go on, and nothing, when they are
// dropped. Each in one commit.
#ifndef GRADWATCH_SERVER_HISTORY_BLOCK_PACKER_H_
#define GRADWATCH_SERVER_HISTORY_BLOCK_PACKER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/base/clock.h"
#include "server/history/history_database.h"
#include "server/history/job_history.h"

namespace gradwatch::server {

// Used by the thread `history` alone.
//
// Tiers: a block brings 16 buckets of the lowest level. The rows of 256 buckets of a level become one when their steps
// are over, and 16 buckets of the next level. Where steps come again later, all rows that they are in are made anew;
// but what a bucket knows of reports that are gone stays in it, and so does what it knows of buckets of the level
// below.
class BlockPacker {
 public:
  // Both outlive it.
  BlockPacker(HistoryDatabase* database, const core::Clock* clock) : database_(*database), clock_(*clock) {}

  // A block of what is committed becomes batches and tiers; then those rows of tiers are joined that are due. After an
  // error it is still closing, and may be packed again. `unreadable`: what becomes of what is stored of it and cannot
  // be read for now. Errors as HistoryDatabase.
  enum class Unreadable { kAnotherTime, kIsDamaged };
  absl::Status Pack(JobHistory& job, const BlockId& id, Unreadable unreadable = Unreadable::kAnotherTime);
  // Drops what is stored of these blocks of a level (reports, or the lowest tiers); what is not there any more is
  // passed over. Of reports it is told as lost; tiers are first made part of the next level.
  absl::Status Drop(JobHistory& job, size_t level, absl::Span<const RetainedBlock> blocks);

 private:
  // The buckets of a range.
  struct Tiers {
    std::map<TierGroup, Tier> groups = {};
    StepRanges damaged = {};      // some row of these steps cannot be read: in any order
    uint32_t damaged_groups = 0;  // of which groups, as HistoryItem::groups
  };
  // What one commit writes of an attempt.
  struct Writing {
    JobHistory& job;
    IndexChange change;
    Unreadable unreadable = Unreadable::kAnotherTime;
    HistoryChanges rows = {};
  };

  absl::Status Commit(Writing* writing, std::optional<BlockId> closed = std::nullopt);
  void PutBatches(const ClosedBlock& closed, absl::Span<const HistoryItem> replaced, uint64_t journal,
                  Writing* writing) const;

  // The buckets of a range; where there are none, they are empty.
  absl::StatusOr<Tiers> LoadTiers(const Writing& writing, size_t level, const StepRange& range) const;
  // One row of each group in place of all rows of the range; of a damaged group none, which tells that it is, unless an
  // older one knows as much. Of the lowest level, whose rows may be dropped, it begins where they did.
  void StoreTiers(size_t level, const StepRange& range, const Tiers& tiers, int64_t through, Writing* writing) const;
  void RemoveTiers(size_t level, const HistoryItem& item, Writing* writing) const;
  // The buckets of `range` are these, but for those of damaged groups: a row of their own, or a part of the longer one
  // that has them.
  absl::Status PutTiers(size_t level, const StepRange& range, const Tiers& tiers, int64_t through,
                        Writing* writing) const;
  // Makes the buckets of the next level of a range, whole ones. Where nothing is known on this level, the old ones
  // stay, and where something is damaged that they know; others of which something is damaged are told as damaged, too.
  absl::Status RaiseTiers(size_t level, const StepRange& range, const Tiers& tiers, int64_t through,
                          Writing* writing) const;
  // The same of all that is stored around a range, whose buckets are to be these; up to the last step that is there, or
  // `through`.
  absl::Status RaiseAround(size_t level, const StepRange& range, const Tiers& tiers, int64_t through,
                           Writing* writing) const;
  // Buckets of damaged groups, where something is damaged, become those of `old`, which are stored of the range;
  // returns those that are not known there either.
  StepRanges TakeDamagedFromOld(size_t level, const StepRange& range, const Tiers& old, int64_t through,
                                const Writing& writing, Tiers* tiers) const;
  // Puts what has come of a block into the level above the lowest, where the lowest of the block was dropped. False: it
  // was not.
  absl::StatusOr<bool> AddAboveDropped(const OpenBlock& block, const StepRange& steps, int64_t through,
                                       Writing* writing) const;
  // Makes one row of those of a range, and the next level of it.
  absl::Status JoinTiers(JobHistory& job, int32_t attempt, size_t level, const StepRange& range);
  // Of ranges that end before `end`.
  absl::Status JoinDue(JobHistory& job, int32_t attempt, int64_t end);
  absl::Status RaiseBeforeDrop(JobHistory& job, int32_t attempt, const StepRange& steps);

  HistoryDatabase& database_;
  const core::Clock& clock_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_BLOCK_PACKER_H_
