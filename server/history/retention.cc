#include "server/history/retention.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace gradwatch::server {
namespace {

constexpr int64_t kSlack = 40;  // the part of a budget that is freed beyond it

bool IsProtected(const RetainedJob& job, const RetainedBlock& block) {
  return std::any_of(job.protected_ranges.begin(), job.protected_ranges.end(), [&block](const ProtectedRange& range) {
    return range.attempt == block.attempt && range.first_step <= block.last_step && block.first_step <= range.last_step;
  });
}

class Dropper {
 public:
  explicit Dropper(absl::Span<const RetainedJob> jobs) : jobs_(jobs) {
    for (const RetainedJob& job : jobs) is_dropped_.emplace_back(job.blocks.size(), false);
  }

  void DropAged(size_t job, absl::Time now) {
    const absl::Duration max_age = jobs_[job].budget.max_age;
    if (max_age <= absl::ZeroDuration()) return;
    for (const DroppedBlock& block : Left(job, job + 1)) {
      if (!block.is_protected && BlockOf(block).stored < now - max_age) Drop(block);
    }
  }

  // Of the jobs [first, end) together.
  void DropOver(size_t first, size_t end, int64_t max_bytes) {
    int64_t bytes = Bytes(first, end);
    if (max_bytes <= 0 || bytes <= max_bytes) return;
    const std::vector<DroppedBlock> left = Left(first, end);
    const auto drop = [&](bool is_protected, int64_t target) {
      for (const DroppedBlock& block : left) {
        if (bytes <= target) return;
        if (block.is_protected != is_protected) continue;
        bytes -= BlockOf(block).bytes;
        Drop(block);
      }
    };
    drop(/*is_protected=*/false, max_bytes - max_bytes / kSlack);
    drop(/*is_protected=*/true, max_bytes);
  }

  std::vector<DroppedBlock> Take() && { return std::move(dropped_); }

 private:
  const RetainedBlock& BlockOf(const DroppedBlock& block) const { return jobs_[block.job].blocks[block.block]; }

  void Drop(const DroppedBlock& block) {
    is_dropped_[block.job][block.block] = true;
    dropped_.push_back(block);
  }

  int64_t Bytes(size_t first, size_t end) const {
    int64_t bytes = 0;
    for (size_t job = first; job < end; ++job) {
      for (size_t i = 0; i < jobs_[job].blocks.size(); ++i) {
        if (!is_dropped_[job][i]) bytes += jobs_[job].blocks[i].bytes;
      }
    }
    return bytes;
  }

  // What is not dropped, the oldest first.
  std::vector<DroppedBlock> Left(size_t first, size_t end) const {
    std::vector<DroppedBlock> left;
    for (size_t job = first; job < end; ++job) {
      for (size_t i = 0; i < jobs_[job].blocks.size(); ++i) {
        if (!is_dropped_[job][i]) left.push_back({job, i, IsProtected(jobs_[job], jobs_[job].blocks[i])});
      }
    }
    const auto age = [this](const DroppedBlock& which) {
      const RetainedBlock& block = BlockOf(which);
      return std::make_tuple(block.stored, which.job, block.attempt, block.first_step);
    };
    std::sort(left.begin(), left.end(),
              [&age](const DroppedBlock& a, const DroppedBlock& b) { return age(a) < age(b); });
    return left;
  }

  const absl::Span<const RetainedJob> jobs_;
  std::vector<std::vector<bool>> is_dropped_;  // by job, by block
  std::vector<DroppedBlock> dropped_;
};

}  // namespace

std::vector<DroppedBlock> BlocksToDrop(absl::Span<const RetainedJob> jobs, int64_t max_bytes, absl::Time now) {
  Dropper dropper(jobs);
  for (size_t job = 0; job < jobs.size(); ++job) {
    dropper.DropAged(job, now);
    dropper.DropOver(job, job + 1, jobs[job].budget.max_bytes);
  }
  dropper.DropOver(0, jobs.size(), max_bytes);
  return std::move(dropper).Take();
}

}  // namespace gradwatch::server
