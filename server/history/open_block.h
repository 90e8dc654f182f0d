// The reports of a block of 256 steps that are committed and lie in no batch yet.
#ifndef GRADWATCH_SERVER_HISTORY_OPEN_BLOCK_H_
#define GRADWATCH_SERVER_HISTORY_OPEN_BLOCK_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "gradwatch/v1/telemetry.pb.h"
#include "server/history/report_batch.h"
#include "server/history/step_ranges.h"
#include "server/history/tiers.h"

namespace gradwatch::server {

// Statistics of tensors and layers of a batch, about: a block of more is several batches. Each begins with a bucket of
// the lowest tier.
inline constexpr size_t kBatchRows = size_t{1} << 16;

// A block of one job by its attempt and its first step, a multiple of kBlockSteps.
struct BlockId {
  int32_t attempt = 0;
  int64_t first_step = 0;

  friend auto operator<=>(const BlockId&, const BlockId&) = default;
};
BlockId BlockOf(int32_t attempt, int64_t step);

// What is known of a bucket with what came to it, where it cannot be made anew: what comes again counts twice.
Bucket WithMore(TierGroup group, Bucket known, const Bucket& more);

// Where a batch lies among the steps of its block, and how large it is.
struct BatchRange {
  int64_t first_step = 0;
  int64_t last_step = 0;
  size_t bytes = 0;
};

struct StoredBatch {
  int64_t first_step = 0;
  int64_t last_step = 0;
  std::string bytes;  // see report_batch.h
};

// What is to be stored of a block, in one commit with the deletion of the batches that it was made with.
struct ClosedBlock {
  std::vector<StoredBatch> batches;  // in the order of steps
  std::vector<Tier> tiers;           // of the whole block, 16 buckets of each group
  std::vector<LostSteps> lost;       // a batch's steps win over them
};

// Not thread-safe.
class OpenBlock {
 public:
  explicit OpenBlock(BlockId id);

  // A report of the block. It takes the place of an earlier one of its step.
  void Add(const v1::StepReport& report);
  // Steps of the attempt; it may reach beyond the block.
  void AddLost(LostSteps lost) { lost_.push_back(std::move(lost)); }

  const BlockId& id() const { return id_; }
  // From the first to the last step of the reports; empty: there are none.
  StepRange extent() const { return {.first = first_step_, .last = last_step_}; }
  // Whether the last step of the block is there: more is to come of it only if something is sent again.
  bool is_whole() const { return last_step_ == id_.first_step + kBlockSteps - 1; }
  // About what it occupies.
  size_t memory_bytes() const;

  // Which of the stored batches of the block (in the order of steps) Close is to be given, as [first, end): those with
  // steps of a bucket of which there is a report here, and before them those that are no larger than what becomes of
  // the rest; so that a block that is closed often is written few times, and has few batches in the end.
  std::pair<size_t, size_t> Needs(absl::Span<const BatchRange> stored) const;
  // What is to be stored. `stored`: see Needs; of one that is damaged, its steps are told as lost. `tiers`: those that
  // are stored of the block. A bucket of which reports are gone is not made anew: what is here is added to it.
  ClosedBlock Close(absl::Span<const StoredBatch> stored, absl::Span<const Tier> tiers) const;

  // Calls `each` for the reports after `step`, in the order of steps, until it returns false; the report is valid
  // during the call, and may have more than is wanted.
  void ForEachAfter(int64_t step, absl::FunctionRef<bool(const v1::StepReport&)> each,
                    const ReportChoice& choice = ReportChoice::Everything()) const;
  const std::vector<LostSteps>& lost() const { return lost_; }
  // The 16 buckets of what is here.
  std::vector<Tier> Tiers() const;

 private:
  // Reports with rising steps, a batch after the other.
  class Batches {
   public:
    void Add(const v1::StepReport& report);
    // The next report begins a new batch.
    void Cut();
    size_t rows() const;
    size_t memory_bytes() const;
    std::vector<StoredBatch> Encode() const;
    // Until `each` returns false.
    void ForEach(const ReportChoice& choice, absl::FunctionRef<bool(const v1::StepReport&)> each) const;

   private:
    struct Part {
      ReportBatchEncoder encoder;
      int64_t first_step = 0;
      int64_t last_step = 0;
      size_t rows = 0;
    };
    bool Fits(const v1::StepReport& report) const;

    std::vector<Part> parts_;
    bool is_cut_ = true;
  };

  using Reports = std::map<int64_t, v1::StepReport>;  // by step
  bool is_empty() const { return first_step_ > last_step_; }
  // What is stored of the block. `lost`: is told of batches that are damaged.
  Reports StoredReports(absl::Span<const StoredBatch> stored, std::vector<LostSteps>* lost) const;
  // Close where something is to be put together.
  ClosedBlock CloseWith(absl::Span<const StoredBatch> stored, absl::Span<const Tier> tiers) const;

  const BlockId id_;
  int64_t first_step_, last_step_;  // of the reports; none: last before first
  Batches batches_;                 // those that came in the order of steps
  TierBuilder builder_;             // the same
  Reports again_;                   // those that did not
  size_t again_bytes_ = 0;
  std::vector<LostSteps> lost_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_OPEN_BLOCK_H_
