#include "server/stream/ring_budget.h"

#include <malloc.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace gradwatch::server {
namespace {

constexpr size_t kWorthGiving = size_t{8} << 20;

}  // namespace

RingBudget::RingBudget(size_t total_bytes, size_t per_ring_bytes)
    : total_bytes_(total_bytes), per_ring_bytes_(per_ring_bytes) {}

void RingBudget::Grown(RingOwner* owner, bool ended) {
  absl::MutexLock lock(&mutex_);
  const auto [holding, is_new] = holdings_.try_emplace(owner);
  holding->second.ended |= ended;
  holding->second.last_use = ++count_;
  holding->second.ended_at = std::nullopt;
  ShrinkTo(holding, std::numeric_limits<size_t>::max());  // only counts what is held
  if (used_ > total_bytes_) MakeRoom();
}

void RingBudget::Leave(RingOwner* owner) {
  absl::MutexLock lock(&mutex_);
  const auto holding = holdings_.find(owner);
  if (holding == holdings_.end()) return;
  used_ -= holding->second.bytes;
  holdings_.erase(holding);
}

void RingBudget::Tick(absl::Duration now) {
  // The allocator keeps what lies between other allocations, for ever if nobody asks for it.
  if (GiveBackEnded(now)) malloc_trim(0);
}

bool RingBudget::GiveBackEnded(absl::Duration now) {
  absl::MutexLock lock(&mutex_);
  std::vector<RingOwner*> due;
  for (auto& [owner, holding] : holdings_) {
    if (!holding.ended) continue;
    if (!holding.ended_at.has_value()) holding.ended_at = now;
    if (now - *holding.ended_at >= kKeepEnded) due.push_back(owner);
  }
  for (RingOwner* const owner : due) ShrinkTo(holdings_.find(owner), 0);
  if (freed_ < kWorthGiving) return false;
  freed_ = 0;
  return true;
}

size_t RingBudget::used_bytes() const {
  absl::MutexLock lock(&mutex_);
  return used_;
}

// Makes more room than is needed just now, so that not every entry that comes looks for a victim.
void RingBudget::MakeRoom() {
  const size_t goal = total_bytes_ - total_bytes_ / 16;
  while (used_ > goal && !holdings_.empty()) {
    const auto victim = Victim();
    const size_t bytes = victim->second.bytes;
    const size_t excess = used_ - goal;
    // Of a job that runs at most half at once: the next may be larger than what is left of it.
    const size_t given = victim->second.ended ? bytes : std::min(excess, std::max<size_t>(bytes / 2, 1));
    ShrinkTo(victim, bytes - given);
  }
}

RingBudget::Holdings::iterator RingBudget::Victim() {
  const auto goes_first = [](const auto& left, const auto& right) {
    const Holding& a = left.second;
    const Holding& b = right.second;
    if (a.ended != b.ended) return a.ended;
    return a.ended ? a.last_use < b.last_use : a.bytes > b.bytes;
  };
  return std::min_element(holdings_.begin(), holdings_.end(), goes_first);
}

void RingBudget::ShrinkTo(Holdings::iterator holding, size_t bytes) {
  const size_t left = holding->first->Shrink(bytes);
  if (left < holding->second.bytes) freed_ += holding->second.bytes - left;
  used_ = used_ - holding->second.bytes + left;
  holding->second.bytes = left;
  if (left == 0) holdings_.erase(holding);
}

}  // namespace gradwatch::server
