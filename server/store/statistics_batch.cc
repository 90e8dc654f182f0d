#include "server/store/statistics_batch.h"

#include <SQLiteCpp/Column.h>
#include <zlib.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "server/store/report_codec.h"

namespace gradwatch::server {
namespace {

int64_t Checksum(int64_t start, absl::string_view bytes) {
  if (bytes.empty()) return start;  // zlib takes a null pointer for a new beginning
  return static_cast<int64_t>(
      crc32_z(static_cast<uLong>(start), reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace

int64_t KeyChecksum(const BatchKey& key) {
  return Checksum(0, absl::StrCat(key.attempt, "/", key.first_step, "/", key.last_step, "/", key.previous_step, "/"));
}

int64_t BatchChecksum(const BatchKey& key, absl::string_view reports) { return Checksum(KeyChecksum(key), reports); }

std::optional<BatchKey> ReadKey(SQLite::Statement& statement) {
  const BatchKey key{statement.getColumn(0).getInt(), statement.getColumn(1).getInt64(),
                     statement.getColumn(2).getInt64(), statement.getColumn(3).getInt64()};
  if (statement.getColumn(4).getInt64() != KeyChecksum(key)) return std::nullopt;
  return key;
}

absl::Status KeyIsDamaged() {
  return core::WithReason(absl::DataLossError("the steps of a stored batch are damaged"), "LOG_CORRUPT");
}

std::vector<EncodedReport> ReadEntries(SQLite::Statement& statement, const BatchKey& key) {
  const int64_t crc = statement.getColumn(5).getInt64();
  const SQLite::Column blob = statement.getColumn(6);
  const auto* const start = static_cast<const char*>(blob.getBlob());
  const absl::string_view bytes(start, static_cast<size_t>(blob.getBytes()));
  if (BatchChecksum(key, bytes) == crc) {
    auto entries = SplitReports(key.attempt, bytes);
    if (entries.ok()) return *std::move(entries);
  }
  return {EncodeLost(key.attempt, key.first_step, key.last_step, kDamagedReason)};
}

void BatchCollector::Add(const BatchKey& key, std::vector<EncodedReport> entries) {
  if (key.attempt < attempt_) return;
  if (key.attempt > attempt_) {
    attempt_ = key.attempt;
    step_ = -1;
  }
  if (key.previous_step > step_ && key.previous_step < key.first_step) {
    Put(EncodeLost(attempt_, step_ + 1, key.previous_step, kDamagedReason));
  }
  for (EncodedReport& entry : entries) {
    if (entry.step <= step_) continue;
    Put(entry.lost ? CutLost(entry, step_ + 1, entry.step) : std::move(entry));
  }
}

void BatchCollector::Put(EncodedReport entry) {
  over_ = over_ || (!entries_.empty() && bytes_ + entry.bytes->size() > max_bytes_);
  if (over_) return;
  step_ = entry.step;
  bytes_ += entry.bytes->size();
  entries_.push_back(std::move(entry));
}

}  // namespace gradwatch::server
