#include "server/history/open_blocks.h"

#include <algorithm>
#include <set>

namespace gradwatch::server {

OpenBlock& OpenBlocks::BlockFor(const BlockId& id, uint64_t journal, absl::Duration now) {
  const auto [entry, is_new] = open_.try_emplace(id, Entry{nullptr, journal, now});
  if (is_new) entry->second.block = std::make_shared<OpenBlock>(id);
  return *entry->second.block;
}

void OpenBlocks::Add(const v1::StepReport& report, uint64_t journal, absl::Duration now) {
  BlockFor(BlockOf(report.attempt(), report.step()), journal, now).Add(report);
}

void OpenBlocks::AddLost(int32_t attempt, LostSteps lost, uint64_t journal, absl::Duration now) {
  BlockFor(BlockOf(attempt, lost.steps.first), journal, now).AddLost(std::move(lost));
}

std::vector<BlockId> OpenBlocks::Due(absl::Duration oldest) const {
  std::vector<BlockId> due;
  for (const auto& [id, entry] : closing_) due.push_back(id);
  for (const auto& [id, entry] : open_) {
    if (closing_.contains(id)) continue;
    const bool is_behind = id != open_.rbegin()->first;
    if (entry.block->is_whole() || is_behind || entry.since < oldest) due.push_back(id);
  }
  return due;
}

std::optional<BlockId> OpenBlocks::Largest() const {
  std::optional<BlockId> largest;
  size_t most = 0;
  for (const auto& [id, entry] : open_) {
    const size_t bytes = entry.block->memory_bytes();
    if (closing_.contains(id) || (largest.has_value() && bytes <= most)) continue;
    largest = id;
    most = bytes;
  }
  return largest;
}

std::shared_ptr<const OpenBlock> OpenBlocks::StartClosing(const BlockId& id) {
  const auto closing = closing_.find(id);
  if (closing != closing_.end()) return closing->second.block;
  return closing_.insert(open_.extract(id)).position->second.block;
}

void OpenBlocks::Closed(const BlockId& id) { closing_.erase(id); }

size_t OpenBlocks::memory_bytes() const {
  size_t bytes = 0;
  for (const Entries* entries : {&open_, &closing_}) {
    for (const auto& [id, entry] : *entries) bytes += entry.block->memory_bytes();
  }
  return bytes;
}

std::optional<uint64_t> OpenBlocks::FirstJournal() const {
  std::optional<uint64_t> first;
  for (const Entries* entries : {&open_, &closing_}) {
    for (const auto& [id, entry] : *entries) first = std::min(first.value_or(entry.journal), entry.journal);
  }
  return first;
}

void OpenBlocks::ForEachAfter(int32_t attempt, int64_t step,
                              absl::FunctionRef<bool(const v1::StepReport&)> each) const {
  std::map<BlockId, std::vector<const OpenBlock*>> blocks;  // of each, the older first
  for (const Entries* entries : {&closing_, &open_}) {
    for (auto it = entries->lower_bound(BlockOf(attempt, std::max<int64_t>(step, 0)));
         it != entries->end() && it->first.attempt == attempt; ++it) {
      blocks[it->first].push_back(it->second.block.get());
    }
  }
  bool goes_on = true;
  const auto tell = [&](const v1::StepReport& report) { return goes_on = each(report); };
  for (const auto& [id, parts] : blocks) {
    if (!goes_on) return;
    if (parts.size() == 1) {
      parts[0]->ForEachAfter(step, tell);
      continue;
    }
    std::map<int64_t, v1::StepReport> reports;
    for (const OpenBlock* part : parts) {
      part->ForEachAfter(step, [&](const v1::StepReport& report) {
        reports.insert_or_assign(report.step(), report);
        return true;
      });
    }
    for (auto it = reports.begin(); goes_on && it != reports.end(); ++it) tell(it->second);
  }
}

std::vector<std::shared_ptr<const OpenBlock>> OpenBlocks::Blocks(const BlockId& id) const {
  std::vector<std::shared_ptr<const OpenBlock>> blocks;
  for (const Entries* entries : {&closing_, &open_}) {
    const auto entry = entries->find(id);
    if (entry != entries->end()) blocks.push_back(entry->second.block);
  }
  return blocks;
}

std::vector<int32_t> OpenBlocks::Attempts() const {
  std::set<int32_t> attempts;
  for (const Entries* entries : {&closing_, &open_}) {
    for (const auto& [id, entry] : *entries) attempts.insert(id.attempt);
  }
  return {attempts.begin(), attempts.end()};
}

StepRanges OpenBlocks::Extents(int32_t attempt) const {
  StepRanges extents;
  for (const Entries* entries : {&closing_, &open_}) {
    for (const auto& [id, entry] : *entries) {
      if (id.attempt == attempt) extents.push_back(entry.block->extent());
    }
  }
  return Together(std::move(extents));
}

std::vector<LostSteps> OpenBlocks::Lost(int32_t attempt) const {
  std::vector<LostSteps> lost;
  for (const Entries* entries : {&closing_, &open_}) {
    for (const auto& [id, entry] : *entries) {
      if (id.attempt == attempt) lost.insert(lost.end(), entry.block->lost().begin(), entry.block->lost().end());
    }
  }
  return lost;
}

std::vector<Tier> OpenBlocks::Tiers(const BlockId& id) const {
  const auto open = open_.find(id), closing = closing_.find(id);
  if (closing == closing_.end()) return open == open_.end() ? std::vector<Tier>() : open->second.block->Tiers();
  TierBuilder builder(id.first_step);
  ForEachAfter(id.attempt, id.first_step - 1, [&](const v1::StepReport& report) {
    if (BlockOf(id.attempt, report.step()) != id) return false;
    builder.Add(report);
    return true;
  });
  return builder.Tiers();
}

}  // namespace gradwatch::server
