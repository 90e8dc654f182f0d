#include "server/history/job_source.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

size_t PlaceOf(int64_t level) {
  return static_cast<size_t>(std::find(kLevels.begin(), kLevels.end(), level) - kLevels.begin());
}

class JobSource final : public BlockSource {
 public:
  JobSource(std::shared_ptr<JobHistory> job, int32_t attempt)
      : job_(std::move(job)), attempt_(attempt), kept_(job_->Kept(attempt)), lost_(job_->Lost(attempt)) {}

  StepRanges Kept(int64_t level) const override { return kept_[PlaceOf(level)]; }

  std::vector<LostSteps> Lost(const StepRange& window) const override {
    std::vector<LostSteps> lost;
    for (const LostSteps& one : lost_) {
      const StepRange steps = Common(one.steps, window);
      if (!steps.empty()) lost.push_back({steps, one.reason});
    }
    return lost;
  }

  // What the block has in no batch is kept for ForEachOpen: it may lie in one a moment later.
  absl::Status ForEachBatch(int64_t block, absl::FunctionRef<void(absl::string_view bytes)> each) override {
    GW_RETURN_IF_ERROR(Read(block));
    const std::vector<StoredBatch> batches = std::move(contents_.batches);
    for (const StoredBatch& batch : batches) {
      if (batch.bytes.empty()) return BatchIsDamaged();
    }
    for (const StoredBatch& batch : batches) each(batch.bytes);
    return absl::OkStatus();
  }

  void ForEachOpen(const StepRange& window, const ReportChoice& choice,
                   absl::FunctionRef<void(const v1::StepReport&)> each) override {
    const StepRange kept = kept_[0].empty() ? StepRange() : StepRange{kept_[0].front().first, kept_[0].back().last};
    const StepRange steps = Common(window, kept);
    for (int64_t block = BlockOf(attempt_, steps.first).first_step; block <= steps.last; block += kBlockSteps) {
      if (block != block_ && !Read(block).ok()) continue;
      job_->ForEachOpen(contents_, Common(steps, {.first = block, .last = block + kBlockSteps - 1}), choice, each);
    }
  }

  absl::Status ForEachRow(int64_t level, TierGroup group, const StepRange& window,
                          absl::FunctionRef<void(const StepRange& steps, absl::string_view bytes)> each) override {
    return job_->ForEachRow(attempt_, PlaceOf(level), group, window, each);
  }

 private:
  absl::Status Read(int64_t block) {
    block_ = -1;
    GW_ASSIGN_OR_RETURN(contents_, job_->ReadBlock({attempt_, block}));
    block_ = block;
    return absl::OkStatus();
  }

  const std::shared_ptr<JobHistory> job_;
  const int32_t attempt_;
  const std::array<StepRanges, kLevels.size()> kept_;
  const std::vector<LostSteps> lost_;
  int64_t block_ = -1;  // that was read last
  JobHistory::BlockContents contents_;
};

}  // namespace

std::unique_ptr<BlockSource> MakeJobSource(std::shared_ptr<JobHistory> job, int32_t attempt) {
  return std::make_unique<JobSource>(std::move(job), attempt);
}

}  // namespace gradwatch::server
