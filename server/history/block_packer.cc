#include "server/history/block_packer.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

constexpr size_t kLowestTier = 1;  // its place in kLevels
constexpr int64_t kRowBuckets = 256;

// The steps of the longest row of a level.
int64_t RowSteps(size_t level) { return kRowBuckets * kLevels[level]; }

std::string BatchKey(const JobHistory& job, int32_t attempt, const StepRange& steps) {
  return RowKey{.kind = RowKind::kBatch, .uid = job.uid(), .attempt = attempt, .steps = steps}.Encode();
}

std::string TierKey(const JobHistory& job, int32_t attempt, size_t level, TierGroup group, const StepRange& steps) {
  return RowKey{
      .kind = RowKind::kTier, .uid = job.uid(), .attempt = attempt, .level = level, .group = group, .steps = steps}
      .Encode();
}

std::vector<HistoryItem> ItemsOf(const JobHistory& job, int32_t attempt, size_t level, const StepRange& window) {
  return job.Ask([&](const HistoryIndex& index) { return index.Items(attempt, level, window); });
}

uint32_t BitOf(TierGroup group) { return uint32_t{1} << static_cast<int>(group); }

std::vector<TierGroup> GroupsOf(const HistoryItem& item) {
  std::vector<TierGroup> groups;
  for (int group = 0; group < kTierGroups; ++group) {
    if ((item.groups >> group & 1) != 0) groups.push_back(static_cast<TierGroup>(group));
  }
  return groups;
}

// The buckets of `part`, which lies at `from`, that are in `range`, to their places in `whole`, which lies at `to`.
void CopyBuckets(const Tier& part, const StepRange& from, size_t level, const StepRange& range, const StepRange& to,
                 Tier* whole) {
  const int64_t width = kLevels[level];
  whole->group = part.group;
  whole->buckets = static_cast<size_t>(to.steps() / width);
  whole->series = std::max(whole->series, part.series);
  whole->cells.resize(whole->series * whole->buckets);
  const StepRange both = Common(Common(from, to), range);
  for (int64_t step = both.first; step <= both.last; step += width) {
    const auto source = static_cast<size_t>((step - from.first) / width);
    const auto target = static_cast<size_t>((step - to.first) / width);
    for (size_t i = 0; i < whole->series; ++i) {
      whole->cells[i * whole->buckets + target] = i < part.series ? part.At(i, source) : Bucket();
    }
  }
}

// Of `fresh`, what it has nothing of becomes as in `old`, which has the same buckets.
void FillEmpty(const Tier& old, Tier* fresh) {
  fresh->group = old.group;
  fresh->buckets = old.buckets;
  fresh->series = std::max(fresh->series, old.series);
  fresh->cells.resize(fresh->series * fresh->buckets);
  for (size_t i = 0; i < old.cells.size(); ++i) {
    if (fresh->cells[i].empty()) fresh->cells[i] = old.cells[i];
  }
}

// The buckets of `range` in `whole`, which lies at `to`, become those of `part`.
template <typename TierSet>
void Overlay(const TierSet& part, const StepRange& range, size_t level, const StepRange& to, TierSet* whole) {
  for (const auto& [group, tier] : part.groups) {
    if ((part.damaged_groups & BitOf(group)) == 0) CopyBuckets(tier, range, level, range, to, &whole->groups[group]);
  }
}

bool IsEmpty(const Tier& tier) {
  return std::all_of(tier.cells.begin(), tier.cells.end(), [](const Bucket& bucket) { return bucket.empty(); });
}

// Whether a level knows some steps up to this one.
bool HasThrough(const JobHistory& job, int32_t attempt, size_t level, const StepRange& steps, int64_t through) {
  if (level >= kLevels.size()) return false;
  const std::vector<HistoryItem> items = ItemsOf(job, attempt, level, steps);
  return !items.empty() && items.back().through >= through;
}

// Whether the next level has what a level has of some steps.
bool IsRaised(const JobHistory& job, int32_t attempt, size_t level, const StepRange& steps) {
  const std::vector<HistoryItem> items = ItemsOf(job, attempt, level, steps);
  return items.empty() || HasThrough(job, attempt, level + 1, steps, items.back().through);
}

std::vector<BatchRange> RangesOf(const std::vector<HistoryItem>& items) {
  std::vector<BatchRange> ranges;
  for (const HistoryItem& item : items) {
    ranges.push_back({item.steps.first, item.steps.last, static_cast<size_t>(item.bytes)});
  }
  return ranges;
}

// What is stored of a block, as if all of it were damaged.
JobHistory::BlockContents WithoutBytes(const JobHistory& job, const BlockId& id, const StepRange& steps) {
  JobHistory::BlockContents contents{.items = ItemsOf(job, id.attempt, 0, steps), .batches = {}, .open = {}};
  for (const HistoryItem& item : contents.items) contents.batches.push_back({item.steps.first, item.steps.last, ""});
  return contents;
}

}  // namespace

absl::Status BlockPacker::Commit(Writing* writing, std::optional<BlockId> closed) {
  JobHistory& job = writing->job;
  if (job.is_removed()) return absl::OkStatus();
  job.PutRows(writing->change, &writing->rows);
  const absl::Status status = writing->rows.empty() ? absl::OkStatus() : database_.Write(writing->rows);
  if (!status.ok()) job.NotesFailed();
  GW_RETURN_IF_ERROR(status);
  job.Apply(writing->change, closed);
  return absl::OkStatus();
}

absl::Status BlockPacker::Pack(JobHistory& job, const BlockId& id, Unreadable unreadable) {
  const StepRange steps = {.first = id.first_step, .last = id.first_step + kBlockSteps - 1};
  const JobHistory::ClosingBlock closing = job.StartClosing(id);
  Writing writing{.job = job, .change = {.attempt = id.attempt}, .unreadable = unreadable};
  absl::StatusOr<JobHistory::BlockContents> read = job.ReadBlock(id);
  if (!read.ok() && unreadable == Unreadable::kIsDamaged) read = WithoutBytes(job, id, steps);
  GW_ASSIGN_OR_RETURN(const JobHistory::BlockContents stored, std::move(read));
  GW_ASSIGN_OR_RETURN(Tiers tiers, LoadTiers(writing, kLowestTier, steps));
  std::vector<Tier> stored_tiers;
  for (auto& [group, tier] : tiers.groups) stored_tiers.push_back(std::move(tier));
  const auto [first, end] = closing.block->Needs(RangesOf(stored.items));
  const ClosedBlock closed =
      closing.block->Close(absl::MakeConstSpan(stored.batches).subspan(first, end - first), stored_tiers);
  PutBatches(closed, absl::MakeConstSpan(stored.items).subspan(first, end - first), closing.journal, &writing);
  writing.change.lost = closed.lost;
  int64_t through = stored.items.empty() ? -1 : stored.items.back().steps.last;
  if (!closed.batches.empty()) {
    through = std::max(through, closed.batches.back().last_step);
    GW_ASSIGN_OR_RETURN(const bool is_added, AddAboveDropped(*closing.block, steps, through, &writing));
    tiers.groups.clear();
    for (const Tier& tier : closed.tiers) tiers.groups.emplace(tier.group, tier);
    if (!is_added) GW_RETURN_IF_ERROR(PutTiers(kLowestTier, steps, tiers, through, &writing));
  }
  job.PutNotes(&writing.rows);
  GW_RETURN_IF_ERROR(Commit(&writing, id));
  return JoinDue(job, id.attempt, through == steps.last ? steps.last + 1 : steps.first);
}

void BlockPacker::PutBatches(const ClosedBlock& closed, absl::Span<const HistoryItem> replaced, uint64_t journal,
                             Writing* writing) const {
  const JobHistory& job = writing->job;
  IndexChange& change = writing->change;
  for (const HistoryItem& item : replaced) {
    writing->rows.Delete(BatchKey(job, change.attempt, item.steps));
    change.removed.emplace_back(0, item.steps.first);
  }
  if (closed.batches.empty()) return;
  int64_t previous = job.Ask(
      [&](const HistoryIndex& index) { return index.StepBefore(change.attempt, closed.batches.front().first_step); });
  for (const StoredBatch& batch : closed.batches) {
    const StepRange steps = {.first = batch.first_step, .last = batch.last_step};
    writing->rows.Put(BatchKey(job, change.attempt, steps), batch.bytes);
    change.stored.emplace_back(0, HistoryItem{.steps = steps,
                                              .through = steps.last,
                                              .previous_step = previous,
                                              .bytes = static_cast<int64_t>(batch.bytes.size()),
                                              .stored = clock_.Now(),
                                              .journal = journal});
    previous = steps.last;
  }
}

absl::StatusOr<BlockPacker::Tiers> BlockPacker::LoadTiers(const Writing& writing, size_t level,
                                                          const StepRange& range) const {
  Tiers tiers;
  for (const HistoryItem& item : ItemsOf(writing.job, writing.change.attempt, level, range)) {
    for (const TierGroup group : GroupsOf(item)) {
      const absl::StatusOr<std::string> bytes =
          database_.Get(TierKey(writing.job, writing.change.attempt, level, group, item.steps));
      const bool is_gone = absl::IsNotFound(bytes.status()) || absl::IsDataLoss(bytes.status()) ||
                           (!bytes.ok() && writing.unreadable == Unreadable::kIsDamaged);
      if (!is_gone) GW_RETURN_IF_ERROR(bytes.status());
      const absl::StatusOr<Tier> tier = is_gone ? bytes.status() : DecodeTier(*bytes);
      const bool is_whole = tier.ok() && tier->group == group &&
                            static_cast<int64_t>(tier->buckets) * kLevels[level] == item.steps.steps();
      if (is_whole) {
        CopyBuckets(*tier, item.steps, level, range, range, &tiers.groups[group]);
      } else {
        tiers.damaged.push_back(Common(item.steps, range));
        tiers.damaged_groups |= BitOf(group);
      }
    }
  }
  return tiers;
}

void BlockPacker::RemoveTiers(size_t level, const HistoryItem& item, Writing* writing) const {
  for (const TierGroup group : GroupsOf(item)) {
    writing->rows.Delete(TierKey(writing->job, writing->change.attempt, level, group, item.steps));
  }
  writing->change.removed.emplace_back(level, item.steps.first);
}

void BlockPacker::StoreTiers(size_t level, const StepRange& range, const Tiers& tiers, int64_t through,
                             Writing* writing) const {
  HistoryItem item{.steps = range, .through = through, .groups = tiers.damaged_groups};
  const std::vector<HistoryItem> replaced = ItemsOf(writing->job, writing->change.attempt, level, range);
  // What was dropped of the head of a row is not kept again by joining the rest.
  if (level == kLowestTier && !replaced.empty()) {
    item.steps.first = std::max(range.first, replaced.front().steps.first);
  }
  for (HistoryItem old : replaced) {
    item.stored = std::max(item.stored, old.stored);
    if (old.steps == item.steps && old.through >= through) old.groups &= ~tiers.damaged_groups;  // these rows stay
    RemoveTiers(level, old, writing);
  }
  if (item.stored == absl::UnixEpoch()) item.stored = clock_.Now();
  for (const auto& [group, tier] : tiers.groups) {
    if ((tiers.damaged_groups & BitOf(group)) != 0) continue;
    Tier row;
    CopyBuckets(tier, range, level, item.steps, item.steps, &row);
    const std::string bytes = EncodeTier(row);
    writing->rows.Put(TierKey(writing->job, writing->change.attempt, level, group, item.steps), bytes);
    item.bytes += static_cast<int64_t>(bytes.size());
    item.groups |= BitOf(group);
  }
  writing->change.stored.emplace_back(level, item);
}

absl::Status BlockPacker::PutTiers(size_t level, const StepRange& range, const Tiers& tiers, int64_t through,
                                   Writing* writing) const {
  const std::vector<HistoryItem> items = ItemsOf(writing->job, writing->change.attempt, level, range);
  if (items.empty() || items.front().steps.steps() <= range.steps()) {
    StoreTiers(level, range, tiers, through, writing);
    // It comes late: the next level would be taken to have it.
    if (HasThrough(writing->job, writing->change.attempt, level + 1, range, through)) {
      return RaiseAround(level, range, tiers, through, writing);
    }
    return absl::OkStatus();
  }
  const StepRange row = items.front().steps;
  // What an older row does not have of a damaged group must not read as if it had never been.
  const bool is_new = items.front().through < range.first;
  through = std::max(through, items.front().through);
  GW_ASSIGN_OR_RETURN(Tiers all, LoadTiers(*writing, level, row));
  Overlay(tiers, range, level, row, &all);
  if (is_new) all.damaged_groups |= tiers.damaged_groups;
  StoreTiers(level, row, all, through, writing);
  return RaiseAround(level, row, all, through, writing);
}

absl::Status BlockPacker::RaiseAround(size_t level, const StepRange& range, const Tiers& tiers, int64_t through,
                                      Writing* writing) const {
  const StepRange whole = RoundOut(range, RowSteps(kLowestTier));
  for (const HistoryItem& item : ItemsOf(writing->job, writing->change.attempt, level, whole)) {
    through = std::max(through, std::min(item.through, whole.last));
  }
  GW_ASSIGN_OR_RETURN(Tiers all, LoadTiers(*writing, level, whole));
  all.damaged = Without(Together(std::move(all.damaged)), {range});
  if (tiers.damaged_groups != 0) all.damaged.push_back(range);
  all.damaged_groups |= tiers.damaged_groups;
  Overlay(tiers, range, level, whole, &all);
  return RaiseTiers(level, whole, all, through, writing);
}

StepRanges BlockPacker::TakeDamagedFromOld(size_t level, const StepRange& range, const Tiers& old, int64_t through,
                                           const Writing& writing, Tiers* tiers) const {
  const int64_t width = kLevels[level];
  StepRanges unknown = RoundOut(Together(old.damaged), width);
  for (const StepRange& damaged : RoundOut(Together(tiers->damaged), width)) {
    for (int64_t first = damaged.first; first <= damaged.last; first += width) {
      const StepRange bucket = {.first = first, .last = first + width - 1};
      for (auto& [group, tier] : tiers->groups) {
        if ((tiers->damaged_groups & BitOf(group)) == 0) continue;
        const auto known = old.groups.find(group);
        const Tier none = {.group = group, .series = 0, .buckets = 0, .cells = {}};
        CopyBuckets(known == old.groups.end() ? none : known->second, range, level, bucket, range, &tier);
      }
      const int64_t wanted = std::min(through, bucket.last);
      if (!HasThrough(writing.job, writing.change.attempt, level, bucket, wanted)) unknown.push_back(bucket);
    }
  }
  return Together(std::move(unknown));
}

absl::Status BlockPacker::RaiseTiers(size_t level, const StepRange& range, const Tiers& tiers, int64_t through,
                                     Writing* writing) const {
  const size_t next = level + 1;
  if (next == kLevels.size()) return absl::OkStatus();
  Tiers coarse{.groups = {}, .damaged = tiers.damaged, .damaged_groups = tiers.damaged_groups};
  for (const auto& [group, tier] : tiers.groups) coarse.groups.emplace(group, Coarser(tier));
  GW_ASSIGN_OR_RETURN(const Tiers old, LoadTiers(*writing, next, range));
  const StepRanges unknown = TakeDamagedFromOld(next, range, old, through, *writing, &coarse);
  for (const auto& [group, tier] : old.groups) FillEmpty(tier, &coarse.groups[group]);
  coarse.damaged_groups = unknown.empty() ? 0 : coarse.damaged_groups | old.damaged_groups;
  const std::vector<HistoryItem> items = ItemsOf(writing->job, writing->change.attempt, next, range);
  const bool is_part = !items.empty() && items.front().steps.steps() > range.steps();
  if (unknown.empty() || is_part) return PutTiers(next, range, coarse, through, writing);
  // What is damaged costs the buckets that it lies in, in rows of their own.
  StepRanges parts = Without({range}, unknown);
  parts.insert(parts.end(), unknown.begin(), unknown.end());
  for (const StepRange& part : parts) {
    if (part.first > through) continue;
    const bool is_damaged = !Common(unknown, part).empty();
    Tiers of_part{.groups = {}, .damaged = {}, .damaged_groups = is_damaged ? coarse.damaged_groups : 0};
    for (const auto& [group, tier] : coarse.groups) {
      CopyBuckets(tier, range, next, part, part, &of_part.groups[group]);
    }
    StoreTiers(next, part, of_part, std::min(through, part.last), writing);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> BlockPacker::AddAboveDropped(const OpenBlock& block, const StepRange& steps, int64_t through,
                                                  Writing* writing) const {
  constexpr size_t kAbove = kLowestTier + 1;
  if (!ItemsOf(writing->job, writing->change.attempt, kLowestTier, steps).empty()) return false;
  GW_ASSIGN_OR_RETURN(Tiers known, LoadTiers(*writing, kAbove, steps));
  const bool is_known =
      std::any_of(known.groups.begin(), known.groups.end(), [](const auto& group) { return !IsEmpty(group.second); });
  if (!is_known) return false;
  for (const Tier& tier : block.Tiers()) {
    const Tier more = Coarser(tier);
    Tier& both = known.groups[tier.group];
    FillEmpty({.group = tier.group, .series = more.series, .buckets = 1, .cells = std::vector<Bucket>(more.series)},
              &both);
    for (size_t i = 0; i < more.series; ++i) both.cells[i] = WithMore(tier.group, both.cells[i], more.cells[i]);
  }
  GW_RETURN_IF_ERROR(PutTiers(kAbove, steps, known, through, writing));
  return true;
}

absl::Status BlockPacker::JoinTiers(JobHistory& job, int32_t attempt, size_t level, const StepRange& range) {
  const std::vector<HistoryItem> items = ItemsOf(job, attempt, level, range);
  const bool is_joined = level == kLowestTier && items.size() == 1 && items.front().steps.last == range.last;
  if (is_joined && IsRaised(job, attempt, level, range)) return absl::OkStatus();
  Writing writing{.job = job, .change = {.attempt = attempt}};
  int64_t through = -1;
  for (const HistoryItem& item : items) through = std::max(through, item.through);
  GW_ASSIGN_OR_RETURN(const Tiers tiers, LoadTiers(writing, level, range));
  // Rows of which one is damaged stay as they are: joined, they would all be.
  if (tiers.damaged.empty()) {
    StoreTiers(level, range, tiers, through, &writing);
  } else if (level + 1 == kLevels.size() || IsRaised(job, attempt, level, range)) {
    return absl::OkStatus();
  }
  GW_RETURN_IF_ERROR(RaiseTiers(level, range, tiers, through, &writing));
  return Commit(&writing);
}

absl::Status BlockPacker::JoinDue(JobHistory& job, int32_t attempt, int64_t end) {
  for (size_t level = kLowestTier; level < kLevels.size(); ++level) {
    const int64_t steps = RowSteps(level);
    const std::vector<HistoryItem> items =
        job.Ask([&](const HistoryIndex& index) { return index.ShortItems(attempt, level, steps); });
    std::set<int64_t> rows;  // their first steps
    for (const HistoryItem& item : items) rows.insert(item.steps.first / steps * steps);
    for (const int64_t first : rows) {
      if (first + steps > end) break;
      GW_RETURN_IF_ERROR(JoinTiers(job, attempt, level, {.first = first, .last = first + steps - 1}));
    }
  }
  return absl::OkStatus();
}

// The next level stays when this one has gone.
absl::Status BlockPacker::RaiseBeforeDrop(JobHistory& job, int32_t attempt, const StepRange& steps) {
  if (IsRaised(job, attempt, kLowestTier, steps)) return absl::OkStatus();
  Writing writing{.job = job, .change = {.attempt = attempt}};
  GW_ASSIGN_OR_RETURN(const Tiers tiers, LoadTiers(writing, kLowestTier, steps));
  GW_RETURN_IF_ERROR(RaiseAround(kLowestTier, steps, tiers, -1, &writing));
  return Commit(&writing);
}

absl::Status BlockPacker::Drop(JobHistory& job, size_t level, absl::Span<const RetainedBlock> blocks) {
  std::map<int32_t, StepRanges> by_attempt;
  for (const RetainedBlock& block : blocks) by_attempt[block.attempt].push_back({block.first_step, block.last_step});
  for (const auto& [attempt, ranges] : by_attempt) {
    Writing writing{.job = job, .change = {.attempt = attempt}};
    std::set<int64_t> seen;  // a row may have several of the blocks by now
    for (const StepRange& range : ranges) {
      if (level != 0) GW_RETURN_IF_ERROR(RaiseBeforeDrop(job, attempt, range));
    }
    for (const StepRange& range : ranges) {
      for (const HistoryItem& item : ItemsOf(job, attempt, level, range)) {
        if (!seen.insert(item.steps.first).second) continue;
        if (level != 0) {
          RemoveTiers(level, item, &writing);
        } else {
          writing.rows.Delete(BatchKey(job, attempt, item.steps));
          writing.change.removed.emplace_back(0, item.steps.first);
          writing.change.dropped.push_back({item.steps, kDroppedReason});
        }
      }
    }
    GW_RETURN_IF_ERROR(Commit(&writing));
  }
  return absl::OkStatus();
}

}  // namespace gradwatch::server
