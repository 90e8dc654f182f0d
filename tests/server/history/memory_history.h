// The history of one attempt in memory: what a store keeps of reports, with counts of what is read of it.
#ifndef GRADWATCH_TESTS_SERVER_HISTORY_MEMORY_HISTORY_H_
#define GRADWATCH_TESTS_SERVER_HISTORY_MEMORY_HISTORY_H_

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/history/column_codec.h"
#include "server/history/report_batch.h"
#include "server/history/statistics_query.h"

namespace gradwatch::server {

class MemoryHistory final : public BlockSource {
 public:
  // Steps rise; `max_batch_tensors`: a block with more statistics of tensors is several batches.
  explicit MemoryHistory(size_t max_batch_tensors = 65536) : max_batch_tensors_(max_batch_tensors) {}

  void Add(const v1::StepReport& report) {
    const int64_t block = report.step() / kBlockSteps * kBlockSteps;
    if (block != open_block_) CloseBlock(block);
    if (open_.reports() > 0 && report.step() % kTierFactor == 0 && open_tensors_ > max_batch_tensors_) FlushBatch();
    (void)open_.Add(report);
    open_tensors_ += static_cast<size_t>(report.tensors_size());
    open_last_ = report.step();
    tiers_->Add(report);
  }

  // What is not kept any more, or cannot be read; ranges are of whole blocks and rows.
  void Drop(int64_t level, const StepRange& steps) { dropped_[PlaceOf(level)].push_back(steps); }
  void Damage(int64_t level, const StepRange& steps) { damaged_[PlaceOf(level)].push_back(steps); }
  void Damage(int64_t level, const StepRange& steps, TierGroup group) {
    damaged_rows_[{level, group}].push_back(steps);
  }
  // What was stored of the step is replaced, and lies in no batch yet.
  void AddAgain(const v1::StepReport& report) { again_[report.step()] = report; }
  // The batches before are gone for good.
  void Forget(int64_t step) {
    batches_.erase(batches_.begin(), batches_.lower_bound(step));
    if (step >= kBlockSteps) Drop(1, {.first = 0, .last = step / kBlockSteps * kBlockSteps - 1});
  }
  // All is there again.
  void Restore() {
    dropped_ = damaged_ = {};
    damaged_rows_.clear();
  }
  void Lose(const StepRange& steps, std::string reason) { lost_.push_back({steps, std::move(reason)}); }

  StepRanges Kept(int64_t level) const override {
    StepRanges kept = kept_[PlaceOf(level)];
    if (level == 1) {
      if (open_block_ >= 0) kept.push_back({.first = open_block_, .last = open_last_});
    }
    return Without(Together(std::move(kept)), Together(dropped_[PlaceOf(level)]));
  }
  std::vector<LostSteps> Lost(const StepRange& window) const override {
    std::vector<LostSteps> lost;
    for (const LostSteps& one : lost_) {
      const StepRange common = Common(one.steps, window);
      if (!common.empty()) lost.push_back({common, one.reason});
    }
    return lost;
  }
  absl::Status ForEachBatch(int64_t block, absl::FunctionRef<void(absl::string_view)> each) override {
    for (auto at = batches_.lower_bound(block); at != batches_.end() && at->first < block + kBlockSteps; ++at) {
      ++batches_read;
      const bool is_damaged = IsIn(damaged_[0], block);
      each(is_damaged ? absl::string_view(at->second).substr(1) : at->second);
    }
    return absl::OkStatus();
  }
  void ForEachOpen(const StepRange& window, const ReportChoice& choice,
                   absl::FunctionRef<void(const v1::StepReport&)> each) override {
    for (auto at = again_.lower_bound(window.first); at != again_.end() && at->first <= window.last; ++at) {
      each(at->second);
    }
    open_.ForEach(choice, [&](const v1::StepReport& report) {
      if (window.Has(report.step())) each(report);
    });
  }
  absl::Status ForEachRow(int64_t level, TierGroup group, const StepRange& window,
                          absl::FunctionRef<void(const StepRange&, absl::string_view)> each) override {
    for (const auto& [first, row] : rows_[{level, group}]) {
      if (Common(row.steps, window).empty()) continue;
      ++rows_read;
      const bool is_damaged = IsIn(damaged_[PlaceOf(level)], first) || IsIn(damaged_rows_[{level, group}], first);
      each(row.steps, absl::string_view(row.bytes).substr(0, row.bytes.size() / (is_damaged ? 2 : 1)));
    }
    return absl::OkStatus();
  }

  int64_t rows_read = 0, batches_read = 0;

 private:
  struct Row {
    StepRange steps;
    std::string bytes;
  };
  using Rows = std::map<int64_t, Row>;  // by first step

  static size_t PlaceOf(int64_t level) {
    size_t place = 0;
    while (kLevels[place] != level) ++place;
    return place;
  }
  static bool IsIn(const StepRanges& ranges, int64_t step) {
    for (const StepRange& range : ranges) {
      if (range.Has(step)) return true;
    }
    return false;
  }

  void FlushBatch() {
    if (open_.reports() == 0) return;
    batches_[open_first_] = open_.Finish();
    open_first_ = open_last_ + 1;
    open_tensors_ = 0;
  }

  void CloseBlock(int64_t next) {
    if (open_block_ >= 0) {
      FlushBatch();
      const StepRange steps = {.first = open_block_, .last = open_block_ + kBlockSteps - 1};
      for (const Tier& tier : tiers_->Tiers()) {
        Put(16, steps, tier);
        Put(256, steps, Coarser(tier));
      }
      // And those that never came.
      for (int level = 0; level < 3; ++level) kept_[level].push_back({.first = steps.first, .last = next - 1});
      MergeRows(steps.last + 1);
    }
    open_block_ = open_first_ = next;
    tiers_.emplace(next);
  }

  void Put(int64_t level, const StepRange& steps, const Tier& tier) {
    rows_[{level, tier.group}][steps.first] = {.steps = steps, .bytes = EncodeTier(tier)};
  }

  // Rows of 256 buckets as far as they go, and the next level of them.
  void MergeRows(int64_t end) {
    constexpr int64_t kTop = 4096;
    for (int group = 0; group < kTierGroups; ++group) {
      const auto of = static_cast<TierGroup>(group);
      if (end % kTop == 0) {
        Merge(16, of, {.first = end - kTop, .last = end - 1});
        Merge(256, of, {.first = end - kTop, .last = end - 1});
        MakeTop(of, {.first = end - kTop, .last = end - 1});
      }
      if (end % (256 * 256) == 0) Merge(256, of, {.first = end - 256 * 256, .last = end - 1});
      if (end % (256 * kTop) == 0) Merge(kTop, of, {.first = end - 256 * kTop, .last = end - 1});
    }
    if (end % kTop == 0) kept_[3].push_back({.first = end - kTop, .last = end - 1});
  }

  void Merge(int64_t level, TierGroup group, const StepRange& steps) {
    Rows& rows = rows_[{level, group}];
    std::vector<Tier> tiers;
    int64_t at = steps.first;
    const auto fill_up_to = [&](int64_t step) {
      if (at == step) return;
      tiers.push_back({.group = group, .series = 0, .buckets = static_cast<size_t>((step - at) / level), .cells = {}});
    };
    for (auto row = rows.lower_bound(steps.first); row != rows.end() && row->first <= steps.last;) {
      fill_up_to(row->first);
      tiers.push_back(*DecodeTier(row->second.bytes));
      at = row->second.steps.last + 1;
      row = rows.erase(row);
    }
    if (tiers.empty()) return;
    fill_up_to(steps.last + 1);
    Put(level, steps, Join(tiers));
  }

  void MakeTop(TierGroup group, const StepRange& steps) {
    const Rows& rows = rows_[{256, group}];
    const auto row = rows.find(steps.first);
    if (row != rows.end()) Put(4096, steps, Coarser(*DecodeTier(row->second.bytes)));
  }

  const size_t max_batch_tensors_;
  std::map<int64_t, std::string> batches_;  // by first step
  std::map<std::pair<int64_t, TierGroup>, Rows> rows_;
  std::array<StepRanges, kLevels.size()> kept_, dropped_, damaged_;
  std::map<std::pair<int64_t, TierGroup>, StepRanges> damaged_rows_;
  std::vector<LostSteps> lost_;
  int64_t open_block_ = -1, open_first_ = -1, open_last_ = -1;
  size_t open_tensors_ = 0;
  ReportBatchEncoder open_;
  std::map<int64_t, v1::StepReport> again_;  // not of the open block
  std::optional<TierBuilder> tiers_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_TESTS_SERVER_HISTORY_MEMORY_HISTORY_H_
