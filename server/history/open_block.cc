#include "server/history/open_block.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <limits>

#include "server/history/encoded_report.h"

namespace gradwatch::server {
namespace {

using Buckets = std::bitset<kTierFactor>;

constexpr int64_t kBeforeAll = std::numeric_limits<int64_t>::min();

// What a stored batch takes, about.
constexpr size_t kRowBytes = 30;
constexpr size_t kReportBytes = 60;

size_t RowsOf(const v1::StepReport& report) {
  return static_cast<size_t>(report.tensors_size()) + static_cast<size_t>(report.layers_size());
}

// Which 16 steps it is of, counted from step 0.
int64_t BucketOf(int64_t step) { return step / kTierFactor; }

size_t PlaceInBlock(int64_t step) { return static_cast<size_t>(BucketOf(step) % kTierFactor); }

// How many reports each bucket of a block knows of.
std::array<int64_t, kTierFactor> CountsOf(absl::Span<const Tier> tiers) {
  std::array<int64_t, kTierFactor> counts = {};
  for (const Tier& tier : tiers) {
    if (tier.group != TierGroup::kJob || tier.buckets != kTierFactor || tier.series == 0) continue;
    for (size_t i = 0; i < counts.size(); ++i) {
      const Bucket& loss = tier.At(static_cast<size_t>(JobSeries::kLoss), i);  // every report has one
      counts[i] = loss.count + loss.non_finite;
    }
  }
  return counts;
}

// Tiers of one block: of `stored`, the buckets of `is_more` with what `fresh` says, those of `is_fresh` as that says,
// others as they are.
std::vector<Tier> Combine(absl::Span<const Tier> stored, std::vector<Tier> fresh, const Buckets& is_fresh,
                          const Buckets& is_more) {
  std::map<TierGroup, Tier> tiers;
  for (Tier& tier : fresh) tiers.emplace(tier.group, std::move(tier));
  for (const Tier& old : stored) {
    if (old.buckets != kTierFactor) continue;  // not ours
    Tier& tier =
        tiers.try_emplace(old.group, Tier{.group = old.group, .series = 0, .buckets = kTierFactor, .cells = {}})
            .first->second;
    if (tier.series < old.series) {
      tier.series = old.series;
      tier.cells.resize(tier.series * kTierFactor);
    }
    for (size_t i = 0; i < old.cells.size(); ++i) {
      if (is_more[i % kTierFactor]) {
        tier.cells[i] = WithMore(tier.group, old.cells[i], tier.cells[i]);
      } else if (!is_fresh[i % kTierFactor]) {
        tier.cells[i] = old.cells[i];
      }
    }
  }
  std::vector<Tier> combined;
  for (auto& [group, tier] : tiers) combined.push_back(std::move(tier));
  return combined;
}

}  // namespace

BlockId BlockOf(int32_t attempt, int64_t step) { return {attempt, step / kBlockSteps * kBlockSteps}; }

Bucket WithMore(TierGroup group, Bucket known, const Bucket& more) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  known.Merge(more);
  if (group != TierGroup::kJob) known.sum = std::clamp(known.sum, -kLargest, kLargest);
  return known;
}

void OpenBlock::Batches::Cut() { is_cut_ = true; }

bool OpenBlock::Batches::Fits(const v1::StepReport& report) const {
  if (is_cut_) return false;
  const Part& part = parts_.back();
  return BucketOf(report.step()) == BucketOf(part.last_step) || part.rows + kTierFactor * RowsOf(report) <= kBatchRows;
}

void OpenBlock::Batches::Add(const v1::StepReport& report) {
  if (!Fits(report) || !parts_.back().encoder.Add(report)) {
    Part& part = parts_.emplace_back();
    part.first_step = report.step();
    static_cast<void>(part.encoder.Add(report));  // one always fits
  }
  is_cut_ = false;
  parts_.back().last_step = report.step();
  parts_.back().rows += RowsOf(report);
}

size_t OpenBlock::Batches::rows() const {
  size_t rows = 0;
  for (const Part& part : parts_) rows += part.rows;
  return rows;
}

size_t OpenBlock::Batches::memory_bytes() const {
  size_t bytes = 0;
  for (const Part& part : parts_) bytes += part.encoder.memory_bytes();
  return bytes;
}

std::vector<StoredBatch> OpenBlock::Batches::Encode() const {
  std::vector<StoredBatch> batches;
  for (const Part& part : parts_) batches.push_back({part.first_step, part.last_step, part.encoder.Encode()});
  return batches;
}

void OpenBlock::Batches::ForEach(const ReportChoice& choice,
                                 absl::FunctionRef<bool(const v1::StepReport&)> each) const {
  v1::StepReport report;
  for (const Part& part : parts_) {
    ReportAssembler assembler(&part.encoder.columns(), &choice);
    while (assembler.Next(&report)) {
      if (!each(report)) return;
    }
  }
}

OpenBlock::OpenBlock(BlockId id) : id_(id), first_step_(0), last_step_(-1), builder_(id.first_step) {}

void OpenBlock::Add(const v1::StepReport& report) {
  const int64_t step = report.step();
  if (is_empty() || step > last_step_) {
    first_step_ = is_empty() ? step : first_step_;
    last_step_ = step;
    batches_.Add(report);
    builder_.Add(report);
    return;
  }
  first_step_ = std::min(first_step_, step);
  v1::StepReport& again = again_[step];
  again_bytes_ -= again.ByteSizeLong() > 0 ? again.SpaceUsedLong() : 0;
  again = report;
  again_bytes_ += again.SpaceUsedLong();
}

size_t OpenBlock::memory_bytes() const {
  size_t lost = 0;
  for (const LostSteps& one : lost_) lost += sizeof(one) + one.reason.size();
  return batches_.memory_bytes() + builder_.memory_bytes() + again_bytes_ + lost;
}

std::pair<size_t, size_t> OpenBlock::Needs(absl::Span<const BatchRange> stored) const {
  if (is_empty()) return {0, 0};
  size_t first = 0;
  while (first < stored.size() && BucketOf(stored[first].last_step) < BucketOf(first_step_)) ++first;
  size_t end = first;
  size_t bytes =
      batches_.rows() * kRowBytes + again_bytes_ / 4 + static_cast<size_t>(last_step_ - first_step_ + 1) * kReportBytes;
  for (; end < stored.size() && BucketOf(stored[end].first_step) <= BucketOf(last_step_); ++end) {
    bytes += stored[end].bytes;
  }
  for (; first > 0 && stored[first - 1].bytes <= bytes; --first) bytes += stored[first - 1].bytes;
  return {first, end};
}

ClosedBlock OpenBlock::Close(absl::Span<const StoredBatch> stored, absl::Span<const Tier> tiers) const {
  ClosedBlock closed;
  if (is_empty()) {
    closed.tiers.assign(tiers.begin(), tiers.end());
  } else if (stored.empty() && tiers.empty() && again_.empty() && is_whole()) {
    closed.batches = batches_.Encode();
    closed.tiers = builder_.Tiers();
  } else {
    closed = CloseWith(stored, tiers);
  }
  closed.lost.insert(closed.lost.end(), lost_.begin(), lost_.end());
  return closed;
}

OpenBlock::Reports OpenBlock::StoredReports(absl::Span<const StoredBatch> stored, std::vector<LostSteps>* lost) const {
  Reports reports;
  for (const StoredBatch& batch : stored) {
    const auto add = [&](const v1::StepReport& report) {
      if (BlockOf(id_.attempt, report.step()) == id_) reports.insert_or_assign(report.step(), report);
    };
    if (!DecodeReports(batch.bytes, add).ok()) lost->push_back({{batch.first_step, batch.last_step}, kDamagedReason});
  }
  return reports;
}

ClosedBlock OpenBlock::CloseWith(absl::Span<const StoredBatch> stored, absl::Span<const Tier> tiers) const {
  ClosedBlock closed;
  Reports reports = StoredReports(stored, &closed.lost);
  // Reports may have been dropped, or be damaged, of which only their bucket still tells.
  std::array<int64_t, kTierFactor> gone = CountsOf(tiers);
  for (const auto& [step, report] : reports) --gone[PlaceInBlock(step)];
  Buckets is_fresh, is_more;
  for (size_t i = 0; i < gone.size(); ++i) is_more[i] = gone[i] > 0;
  TierBuilder builder(id_.first_step);
  ForEachAfter(kBeforeAll, [&](const v1::StepReport& report) {
    if (is_more[PlaceInBlock(report.step())]) builder.Add(report);
    reports.insert_or_assign(report.step(), report);
    return true;
  });
  Batches batches;
  // More is to come of the last bucket: it is taken apart again then, and what is before it is not.
  const int64_t last = reports.rbegin()->first;
  const bool is_done = BucketOf(last + 1) != BucketOf(last);
  bool is_in_last = is_done;
  for (const auto& [step, report] : reports) {
    if (!is_in_last && BucketOf(step) == BucketOf(last)) {
      batches.Cut();
      is_in_last = true;
    }
    batches.Add(report);
    is_fresh.set(PlaceInBlock(step));
    if (!is_more[PlaceInBlock(step)]) builder.Add(report);
  }
  closed.batches = batches.Encode();
  closed.tiers = Combine(tiers, builder.Tiers(), is_fresh, is_more);
  return closed;
}

void OpenBlock::ForEachAfter(int64_t step, absl::FunctionRef<bool(const v1::StepReport&)> each,
                             const ReportChoice& choice) const {
  auto again = again_.upper_bound(step);
  bool goes_on = true;
  batches_.ForEach(choice, [&](const v1::StepReport& report) {
    for (; goes_on && again != again_.end() && again->first < report.step(); ++again) goes_on = each(again->second);
    const bool is_again = again != again_.end() && again->first == report.step();
    if (goes_on && !is_again && report.step() > step) goes_on = each(report);
    return goes_on;
  });
  for (; goes_on && again != again_.end(); ++again) goes_on = each(again->second);
}

std::vector<Tier> OpenBlock::Tiers() const {
  if (again_.empty()) return builder_.Tiers();
  TierBuilder builder(id_.first_step);
  ForEachAfter(kBeforeAll, [&builder](const v1::StepReport& report) {
    builder.Add(report);
    return true;
  });
  return builder.Tiers();
}

}  // namespace gradwatch::server
