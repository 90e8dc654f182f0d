// What is committed and in no batch yet, of one job.
#ifndef GRADWATCH_SERVER_HISTORY_OPEN_BLOCKS_H_
#define GRADWATCH_SERVER_HISTORY_OPEN_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "gradwatch/v1/telemetry.pb.h"
#include "server/history/open_block.h"
#include "server/history/step_ranges.h"

namespace gradwatch::server {

// A block is open, then closing while what was made of it is not committed, then gone. What comes of a block that is
// closing opens it again; that is not closed before the first is gone. Not thread-safe.
class OpenBlocks {
 public:
  // A report or a lost range of the journal's record `journal`, whose numbers rise; `now` of a clock that never goes
  // back.
  void Add(const v1::StepReport& report, uint64_t journal, absl::Duration now);
  void AddLost(int32_t attempt, LostSteps lost, uint64_t journal, absl::Duration now);

  // The blocks to close: those that are closing, for what was made of them could not be committed; then those that are
  // whole, those behind which others have begun, and those whose first entry came before `oldest`, but for blocks of
  // which one is closing. In their order.
  std::vector<BlockId> Due(absl::Duration oldest) const;
  // The open block that takes most memory, for when there is too little; of those that are not closing.
  std::optional<BlockId> Largest() const;
  // The block that is closing; if there is none, the open one becomes it. It does not change any more. `id` is one of
  // them.
  std::shared_ptr<const OpenBlock> StartClosing(const BlockId& id);
  // What was made of it is committed.
  void Closed(const BlockId& id);

  bool empty() const { return open_.empty() && closing_.empty(); }
  // About what they occupy, closing ones included.
  size_t memory_bytes() const;
  // The first record of the journal of which something is here.
  std::optional<uint64_t> FirstJournal() const;

  // As OpenBlock::ForEachAfter, for the reports of one attempt of all blocks.
  void ForEachAfter(int32_t attempt, int64_t step, absl::FunctionRef<bool(const v1::StepReport&)> each) const;
  // What is here of a block, the older first; what is open may change with the next call.
  std::vector<std::shared_ptr<const OpenBlock>> Blocks(const BlockId& id) const;
  // The attempts of which something is here, rising.
  std::vector<int32_t> Attempts() const;
  // The steps of the reports of an attempt, from the first to the last of each block.
  StepRanges Extents(int32_t attempt) const;
  // The lost ranges of an attempt, as they came.
  std::vector<LostSteps> Lost(int32_t attempt) const;
  // The 16 buckets of what is here of a block.
  std::vector<Tier> Tiers(const BlockId& id) const;

 private:
  struct Entry {
    std::shared_ptr<OpenBlock> block;
    uint64_t journal = 0;  // the first record
    absl::Duration since;  // when that came
  };
  using Entries = std::map<BlockId, Entry>;
  OpenBlock& BlockFor(const BlockId& id, uint64_t journal, absl::Duration now);

  Entries open_, closing_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_OPEN_BLOCKS_H_
