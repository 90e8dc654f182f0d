#include "server/history/history_index.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "server/history/encoded_report.h"

namespace gradwatch::server {
namespace {

std::string ItemKey(absl::string_view uid, int32_t attempt, size_t level, int64_t first_step) {
  return RowKey{.kind = RowKind::kItem,
                .uid = std::string(uid),
                .attempt = attempt,
                .level = level,
                .steps = {first_step, first_step}}
      .Encode();
}

std::string LostKey(absl::string_view uid, int32_t attempt, int64_t first_step) {
  return RowKey{.kind = RowKind::kLost, .uid = std::string(uid), .attempt = attempt, .steps = {first_step, first_step}}
      .Encode();
}

// The first entry of a table of ranges that ends at `step` or behind it.
template <typename Table>
typename Table::const_iterator FirstFrom(const Table& table, int64_t step) {
  auto at = table.upper_bound(step);
  if (at != table.begin() && std::prev(at)->second.steps.last >= step) --at;
  return at;
}

// With the steps between them, which never came.
StepRanges Bridged(StepRanges ranges) {
  ranges = Together(std::move(ranges));
  if (ranges.empty()) return ranges;
  return {{.first = ranges.front().first, .last = ranges.back().last}};
}

bool Has(const StepRanges& ranges, int64_t step) {
  return std::any_of(ranges.begin(), ranges.end(), [step](const StepRange& range) { return range.Has(step); });
}

}  // namespace

const HistoryIndex::Attempt& HistoryIndex::Find(int32_t attempt) const {
  static const auto* const none = new Attempt;
  const auto found = attempts_.find(attempt);
  return found == attempts_.end() ? *none : found->second;
}

void HistoryIndex::Load(const RowKey& key, absl::string_view value) {
  if (key.kind == RowKind::kItem) {
    const std::optional<HistoryItem> item = DecodeItem(key.steps.first, value);
    if (item.has_value()) Apply({.attempt = key.attempt, .stored = {{key.level, *item}}});
  } else if (key.kind == RowKind::kLost) {
    std::optional<LostSteps> lost = DecodeLostSteps(key.steps.first, value);
    if (lost.has_value()) Apply({.attempt = key.attempt, .lost = {*std::move(lost)}});
  } else if (key.kind == RowKind::kProtected) {
    std::optional<StepRanges> ranges = DecodeRanges(value);
    if (ranges.has_value()) attempts_[key.attempt].protected_steps = *std::move(ranges);
  } else if (key.kind == RowKind::kNames) {
    std::optional<std::vector<std::string>> names = DecodeNames(value);
    if (names.has_value()) layer_names = *std::move(names);
  }
}

// One that touches another for the same reason becomes one with it; of others that it overlaps, the rest stays.
void HistoryIndex::AddLost(LostSteps lost, LostTable* table) {
  const StepRange steps = lost.steps;
  std::vector<LostSteps> left;
  auto at = FirstFrom(*table, std::max<int64_t>(0, steps.first - 1));
  while (at != table->end() && at->first <= steps.last + 1) {
    const LostSteps& old = at->second;
    if (old.reason == lost.reason) {
      lost.steps = {std::min(lost.steps.first, old.steps.first), std::max(lost.steps.last, old.steps.last)};
    } else {
      for (const StepRange& rest : Without({old.steps}, {steps})) left.push_back({rest, old.reason});
    }
    at = table->erase(at);
  }
  left.push_back(std::move(lost));
  for (LostSteps& one : left) {
    const int64_t first_step = one.steps.first;
    table->insert_or_assign(first_step, std::move(one));
  }
}

void HistoryIndex::Shorten(LostTable* table) {
  while (table->size() > kMostLostRanges) {
    const auto next = std::next(table->begin());
    table->begin()->second = {{table->begin()->first, next->second.steps.last}, kManyLostReason};
    table->erase(next);
  }
}

HistoryIndex::LostTable HistoryIndex::LostAfter(const IndexChange& change, LostTable table) {
  for (const LostSteps& lost : change.lost) AddLost(lost, &table);
  for (const LostSteps& dropped : change.dropped) {
    StepRanges known;
    for (auto at = FirstFrom(table, dropped.steps.first); at != table.end() && at->first <= dropped.steps.last; ++at) {
      known.push_back(at->second.steps);
    }
    for (const StepRange& steps : Without({dropped.steps}, known)) AddLost({steps, dropped.reason}, &table);
  }
  Shorten(&table);
  return table;
}

void HistoryIndex::PutRows(absl::string_view uid, const IndexChange& change, HistoryChanges* rows) const {
  for (const auto& [level, first_step] : change.removed) rows->Delete(ItemKey(uid, change.attempt, level, first_step));
  for (const auto& [level, item] : change.stored) {
    rows->Put(ItemKey(uid, change.attempt, level, item.steps.first), EncodeItem(item));
  }
  if (change.lost.empty() && change.dropped.empty()) return;
  const LostTable& before = Find(change.attempt).lost;
  const LostTable after = LostAfter(change, before);
  for (const auto& [first_step, lost] : before) {
    if (!after.contains(first_step)) rows->Delete(LostKey(uid, change.attempt, first_step));
  }
  for (const auto& [first_step, lost] : after) {
    const auto old = before.find(first_step);
    if (old != before.end() && old->second == lost) continue;
    rows->Put(LostKey(uid, change.attempt, first_step), EncodeLostSteps(lost));
  }
}

void HistoryIndex::PutAllRows(absl::string_view uid, HistoryChanges* rows) const {
  for (const auto& [attempt, stored] : attempts_) {
    for (size_t level = 0; level < kLevels.size(); ++level) {
      for (const auto& [first_step, item] : stored.levels[level]) {
        rows->Put(ItemKey(uid, attempt, level, first_step), EncodeItem(item));
      }
    }
    for (const auto& [first_step, lost] : stored.lost) {
      rows->Put(LostKey(uid, attempt, first_step), EncodeLostSteps(lost));
    }
    PutProtected(uid, attempt, rows);
  }
  PutNames(uid, rows);
}

void HistoryIndex::PutProtected(absl::string_view uid, int32_t attempt, HistoryChanges* rows) const {
  const StepRanges& steps = Find(attempt).protected_steps;
  if (steps.empty()) return;
  rows->Put(RowKey{.kind = RowKind::kProtected, .uid = std::string(uid), .attempt = attempt}.Encode(),
            EncodeRanges(steps));
}

void HistoryIndex::PutNames(absl::string_view uid, HistoryChanges* rows) const {
  if (layer_names.empty()) return;
  rows->Put(RowKey{.kind = RowKind::kNames, .uid = std::string(uid)}.Encode(), EncodeNames(layer_names));
}

void HistoryIndex::Apply(const IndexChange& change) {
  Attempt& attempt = attempts_[change.attempt];
  for (const auto& [level, first_step] : change.removed) {
    const auto item = attempt.levels[level].find(first_step);
    if (item == attempt.levels[level].end()) continue;
    bytes_[level] -= item->second.bytes;
    attempt.levels[level].erase(item);
  }
  for (const auto& [level, item] : change.stored) {
    HistoryItem& stored = attempt.levels[level][item.steps.first];
    bytes_[level] += item.bytes - stored.bytes;
    stored = item;
  }
  attempt.lost = LostAfter(change, std::move(attempt.lost));
}

std::vector<int32_t> HistoryIndex::Attempts() const {
  std::vector<int32_t> attempts;
  for (const auto& [attempt, stored] : attempts_) attempts.push_back(attempt);
  return attempts;
}

int64_t HistoryIndex::LastStep(int32_t attempt) const {
  return StepBefore(attempt, std::numeric_limits<int64_t>::max());
}

int64_t HistoryIndex::StepBefore(int32_t attempt, int64_t step) const {
  const Attempt& stored = Find(attempt);
  int64_t last = -1;
  const auto item = stored.levels[0].lower_bound(step);
  if (item != stored.levels[0].begin()) last = std::prev(item)->second.steps.last;
  const auto lost = stored.lost.lower_bound(step);
  if (lost != stored.lost.begin()) last = std::max(last, std::prev(lost)->second.steps.last);
  return std::min(last, step - 1);
}

std::vector<HistoryItem> HistoryIndex::Items(int32_t attempt, size_t level, const StepRange& window) const {
  const ItemTable& table = Find(attempt).levels[level];
  std::vector<HistoryItem> items;
  for (auto at = FirstFrom(table, window.first); at != table.end() && at->first <= window.last; ++at) {
    items.push_back(at->second);
  }
  return items;
}

std::optional<HistoryItem> HistoryIndex::FirstItemAfter(int32_t attempt, size_t level, int64_t step) const {
  const ItemTable& table = Find(attempt).levels[level];
  const auto at = FirstFrom(table, step + 1);
  return at == table.end() ? std::nullopt : std::optional<HistoryItem>(at->second);
}

std::vector<HistoryItem> HistoryIndex::ShortItems(int32_t attempt, size_t level, int64_t steps) const {
  const ItemTable& table = Find(attempt).levels[level];
  std::vector<HistoryItem> items;
  for (auto at = table.rbegin(); at != table.rend() && at->second.steps.steps() < steps; ++at) {
    items.push_back(at->second);
  }
  std::reverse(items.begin(), items.end());
  return items;
}

std::vector<LostSteps> HistoryIndex::Lost(int32_t attempt, const StepRange& window) const {
  const LostTable& table = Find(attempt).lost;
  std::vector<LostSteps> lost;
  for (auto at = FirstFrom(table, window.first); at != table.end() && at->first <= window.last; ++at) {
    lost.push_back({Common(at->second.steps, window), at->second.reason});
  }
  return lost;
}

std::array<StepRanges, kLevels.size()> HistoryIndex::Kept(int32_t attempt, const StepRanges& open) const {
  const Attempt& stored = Find(attempt);
  std::array<StepRanges, kLevels.size()> kept;
  StepRanges reports = open, dropped;
  for (const auto& [first_step, item] : stored.levels[0]) reports.push_back(item.steps);
  for (const auto& [first_step, lost] : stored.lost) {
    if (lost.reason == kDroppedReason) dropped.push_back(lost.steps);
  }
  kept[0] = Without(Bridged(std::move(reports)), Together(std::move(dropped)));
  for (size_t level = 1; level < kLevels.size(); ++level) {
    StepRanges ranges;
    for (const auto& [first_step, item] : stored.levels[level]) {
      // More may come of the last bucket, unless what it was made of is gone.
      const int64_t width = kLevels[level];
      int64_t end = item.through / width * width + width;
      bool is_open = item.through + 1 < end;
      if (is_open) {
        is_open = std::any_of(kept.begin(), kept.begin() + static_cast<int64_t>(level),
                              [&item](const StepRanges& finer) { return Has(finer, item.through); });
      }
      if (is_open) end -= width;
      ranges.push_back({.first = item.steps.first, .last = end - 1});
    }
    kept[level] = Bridged(std::move(ranges));
  }
  return kept;
}

void HistoryIndex::Protect(int32_t attempt, const StepRange& steps) {
  StepRanges& known = attempts_[attempt].protected_steps;
  known.push_back(steps);
  known = Together(std::move(known));
}

RetainedJob HistoryIndex::Retained(size_t level) const {
  RetainedJob job;
  for (const auto& [attempt, stored] : attempts_) {
    for (const auto& [first_step, item] : stored.levels[level]) {
      job.blocks.push_back({.attempt = attempt,
                            .first_step = item.steps.first,
                            .last_step = item.steps.last,
                            .bytes = item.bytes,
                            .stored = item.stored});
    }
    if (level != 0) continue;
    for (const StepRange& steps : stored.protected_steps) {
      job.protected_ranges.push_back({.attempt = attempt, .first_step = steps.first, .last_step = steps.last});
    }
  }
  return job;
}

}  // namespace gradwatch::server
