#include "server/stream/report_history.h"

#include <utility>

#include "absl/strings/match.h"
#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

// A chunk is a message to a watcher who wants all of it.
constexpr size_t kChunkBytes = 128 << 10;
// What is read at once: some batches, each of which is unpacked as a whole.
constexpr size_t kReadBytes = 8 * kChunkBytes;
constexpr absl::Duration kKeepIdle = absl::Seconds(10);

using Place = std::pair<int32_t, int64_t>;

size_t SizeOf(const ReportHistory::Chunk& chunk) {
  return chunk.bytes->size() + chunk.entries.size() * sizeof(ReportHistory::Chunk::Entry);
}

// Why the store gave a lost range in place of what it had; empty: it did not, the trainer lost it.
std::string DamageIn(const EncodedReport& report) {
  if (!report.lost) return "";
  const auto lost = DecodeLost(*report.bytes);
  return lost.ok() && absl::StartsWith(lost->reason(), kDamagedReason) ? lost->reason() : "";
}

}  // namespace

EncodedReport ReportHistory::Chunk::EntryAt(const Entry& entry) const {
  return {.attempt = entry.attempt,
          .step = entry.step,
          .first_step = entry.first_step,
          .lost = entry.lost,
          .bytes = std::make_shared<const std::string>(bytes->substr(entry.begin, entry.end - entry.begin)),
          .report = nullptr};
}

ReportHistory::ReportHistory(StatisticsStore* store, size_t max_bytes) : store_(store), max_bytes_(max_bytes) {}

absl::StatusOr<std::shared_ptr<const ReportHistory::Chunk>> ReportHistory::ReadAfter(absl::string_view uid,
                                                                                     int32_t attempt, int64_t step) {
  {
    const auto nobody_loads = [this, uid]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !loading_.contains(uid); };
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&nobody_loads));
    if (auto chunk = Find(uid, attempt, step)) return chunk;
    loading_.emplace(uid);
  }
  const auto chunks = Load(uid, attempt, step);
  absl::MutexLock lock(&mutex_);
  loading_.erase(uid);
  GW_RETURN_IF_ERROR(chunks.status());
  if (chunks->empty()) return nullptr;
  for (auto chunk = chunks->rbegin(); chunk != chunks->rend(); ++chunk) Keep(uid, *chunk);  // the first goes last
  return chunks->front();
}

std::shared_ptr<const ReportHistory::Chunk> ReportHistory::Find(absl::string_view uid, int32_t attempt, int64_t step) {
  const Place place(attempt, step);
  for (auto kept = kept_.begin(); kept != kept_.end(); ++kept) {
    const Chunk& chunk = *kept->chunk;
    const Chunk::Entry& last = chunk.entries.back();
    if (place < Place(chunk.from_attempt, chunk.from_step) || place >= Place(last.attempt, last.step)) continue;
    if (kept->uid != uid) continue;
    kept->idle_since = std::nullopt;
    kept_.splice(kept_.begin(), kept_, kept);
    return kept_.front().chunk;
  }
  return nullptr;
}

void ReportHistory::Keep(absl::string_view uid, std::shared_ptr<const Chunk> chunk) {
  bytes_ += SizeOf(*chunk);
  kept_.push_front({std::string(uid), std::move(chunk), std::nullopt});
  while (bytes_ > max_bytes_ && kept_.size() > 1) {
    bytes_ -= SizeOf(*kept_.back().chunk);
    kept_.pop_back();
  }
}

absl::StatusOr<std::vector<std::shared_ptr<const ReportHistory::Chunk>>> ReportHistory::Load(absl::string_view uid,
                                                                                             int32_t attempt,
                                                                                             int64_t step) {
  GW_ASSIGN_OR_RETURN(const auto reports, store_->ReadAfter(uid, attempt, step, kReadBytes));
  std::vector<std::shared_ptr<const Chunk>> chunks;
  for (auto next = reports.begin(); next != reports.end();) {
    auto chunk = std::make_shared<Chunk>();
    chunk->from_attempt = attempt;
    chunk->from_step = step;
    std::string bytes;
    bytes.reserve(kChunkBytes + next->bytes->size());
    for (; next != reports.end() && bytes.size() < kChunkBytes; ++next) {
      const size_t begin = bytes.size();
      bytes += *next->bytes;
      chunk->entries.push_back({next->attempt, next->first_step, next->step, next->lost, begin, bytes.size()});
      if (!chunk->damage.empty()) continue;
      chunk->damage = DamageIn(*next);
      chunk->damaged_attempt = next->attempt;
    }
    attempt = chunk->entries.back().attempt;
    step = chunk->entries.back().step;
    chunk->bytes = std::make_shared<const std::string>(std::move(bytes));
    chunks.push_back(std::move(chunk));
  }
  return chunks;
}

void ReportHistory::Tick(absl::Duration now) {
  std::list<Kept> forgotten;  // outside the lock
  absl::MutexLock lock(&mutex_);
  for (auto kept = kept_.begin(); kept != kept_.end();) {
    const auto next = std::next(kept);
    if (!kept->idle_since.has_value()) kept->idle_since = now;
    if (now - *kept->idle_since >= kKeepIdle) {
      bytes_ -= SizeOf(*kept->chunk);
      forgotten.splice(forgotten.end(), kept_, kept);
    }
    kept = next;
  }
}

}  // namespace gradwatch::server
