#include "server/history/job_source.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

constexpr StepRange kAll = {.first = 0, .last = std::numeric_limits<int64_t>::max()};

size_t PlaceOf(int64_t level) {
  return static_cast<size_t>(std::find(kLevels.begin(), kLevels.end(), level) - kLevels.begin());
}

class JobSource final : public BlockSource {
 public:
  JobSource(std::shared_ptr<JobHistory> job, int32_t attempt)
      : job_(std::move(job)), attempt_(attempt), standing_(job_->StandingOf(attempt)) {}

  StepRanges Kept(int64_t level) const override {
    const size_t place = PlaceOf(level);
    return Without(standing_.kept[place], place == 0 ? DroppedSince(kAll) : Together({RowsGone(place)}));
  }

  std::vector<LostSteps> Lost(const StepRange& window) const override {
    std::vector<LostSteps> lost;
    for (const LostSteps& one : standing_.lost) {
      const StepRange steps = Common(one.steps, window);
      if (!steps.empty()) lost.push_back({steps, one.reason});
    }
    for (const StepRange& steps : DroppedSince(window)) lost.push_back({steps, kDroppedReason});
    std::stable_sort(lost.begin(), lost.end(),
                     [](const LostSteps& a, const LostSteps& b) { return a.steps.first < b.steps.first; });
    return lost;
  }

  // What the block has in no batch is kept for ForEachOpen: it may lie in one a moment later.
  absl::Status ForEachBatch(int64_t block, absl::FunctionRef<void(absl::string_view bytes)> each) override {
    GW_RETURN_IF_ERROR(Read(block));
    // Another level may have what was dropped since.
    if (!DroppedSince({.first = block, .last = block + kBlockSteps - 1}).empty()) return BatchIsDamaged();
    const std::vector<StoredBatch> batches = std::move(contents_.batches);
    for (const StoredBatch& batch : batches) {
      if (batch.bytes.empty()) return BatchIsDamaged();
    }
    for (const StoredBatch& batch : batches) each(batch.bytes);
    return absl::OkStatus();
  }

  void ForEachOpen(const StepRange& window, const ReportChoice& choice,
                   absl::FunctionRef<void(const v1::StepReport&)> each) override {
    const StepRange steps = Common(window, ExtentOf(0));
    for (int64_t block = BlockOf(attempt_, steps.first).first_step; block <= steps.last; block += kBlockSteps) {
      if (block != block_ && !Read(block).ok()) continue;
      job_->ForEachOpen(contents_, Common(steps, {.first = block, .last = block + kBlockSteps - 1}), choice, each);
    }
  }

  absl::Status ForEachRow(int64_t level, TierGroup group, const StepRange& window,
                          absl::FunctionRef<void(const StepRange& steps, absl::string_view bytes)> each) override {
    const size_t place = PlaceOf(level);
    GW_RETURN_IF_ERROR(job_->ForEachRow(attempt_, place, group, window, each));
    const StepRange gone = Common(RowsGone(place), window);
    if (!gone.empty()) each(gone, "");  // another level may have these steps
    return absl::OkStatus();
  }

 private:
  // From the first to the last step that is kept of a level.
  StepRange ExtentOf(size_t place) const {
    const StepRanges& kept = standing_.kept[place];
    return kept.empty() ? StepRange() : StepRange{kept.front().first, kept.back().last};
  }

  // Reports that were kept, and were dropped since.
  StepRanges DroppedSince(const StepRange& window) const {
    StepRanges dropped;
    for (const LostSteps& one : job_->Ask([&](const HistoryIndex& index) { return index.Lost(attempt_, window); })) {
      if (one.reason != kDroppedReason) continue;
      const StepRanges steps = Common(standing_.kept[0], one.steps);
      dropped.insert(dropped.end(), steps.begin(), steps.end());
    }
    return dropped;
  }
  // Rows of a level above that were kept, and were dropped since: the first ones go first. May be empty.
  StepRange RowsGone(size_t place) const {
    const std::optional<HistoryItem> first =
        job_->Ask([&](const HistoryIndex& index) { return index.FirstItemAfter(attempt_, place, -1); });
    StepRange gone = ExtentOf(place);
    if (first.has_value()) gone.last = std::min(gone.last, first->steps.first - 1);
    return gone;
  }

  absl::Status Read(int64_t block) {
    block_ = -1;
    job_->TakeApart();
    GW_ASSIGN_OR_RETURN(contents_, job_->ReadBlock({attempt_, block}));
    block_ = block;
    return absl::OkStatus();
  }

  const std::shared_ptr<JobHistory> job_;
  const int32_t attempt_;
  const JobHistory::Standing standing_;
  int64_t block_ = -1;  // that was read last
  JobHistory::BlockContents contents_;
};

}  // namespace

std::unique_ptr<BlockSource> MakeJobSource(std::shared_ptr<JobHistory> job, int32_t attempt) {
  return std::make_unique<JobSource>(std::move(job), attempt);
}

}  // namespace gradwatch::server
