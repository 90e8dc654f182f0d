#include "server/history/rocks.h"

#include <rocksdb/cache.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "server/base/checksum.h"

namespace gradwatch::server {
namespace {

// A damaged block that tidying up comes across would otherwise end all writing. RocksDB does not try to heal by itself
// either: while it does, Heal cannot, and it looks at the disk once in several seconds.
class DamageListener final : public rocksdb::EventListener {
 public:
  explicit DamageListener(std::atomic<bool>* needs_rebuild) : needs_rebuild_(*needs_rebuild) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* status) override {
    if (reason != rocksdb::BackgroundErrorReason::kCompaction || IsFull(*status) || !IsDamage(*status)) return;
    needs_rebuild_ = true;
    *status = rocksdb::Status::OK();
  }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* recovers) override {
    *recovers = false;
  }

 private:
  std::atomic<bool>& needs_rebuild_;
};

// Finds the first row behind a damaged part. Where that ends cannot be asked; but rows after a key can be read or not,
// and the lowest such key is found byte by byte.
class DamageSearch {
 public:
  DamageSearch(rocksdb::DB* db, const rocksdb::ReadOptions& options, size_t longest)
      : db_(*db), options_(options), longest_(longest) {}

  std::unique_ptr<rocksdb::Iterator> SeekPast(absl::string_view key) && {
    std::string bad(key);
    bad.resize(std::max(key.size(), longest_), '\0');
    // The place from which on the end differs from `key`.
    while (!bad.empty() && (bad.back() == kHighest || !CanRead(bad.substr(0, bad.size() - 1) + kHighest))) {
      bad.pop_back();
    }
    if (bad.empty()) return std::move(it_);
    std::string good = Split(&bad, static_cast<uint8_t>(bad.back()));
    while (good.back() != '\0' && bad.size() < longest_ && CanRead(bad + kHighest)) {
      bad.push_back('\0');
      good = Split(&bad, -1);
    }
    static_cast<void>(CanRead(good));
    return std::move(it_);
  }

 private:
  static constexpr char kHighest = '\xff';

  // With a new iterator: from one that has come from a good block to a damaged one, the good one cannot be reached
  // again.
  bool CanRead(const std::string& key) {
    it_.reset(db_.NewIterator(options_));
    it_->Seek(key);
    return it_->status().ok() || !IsDamage(it_->status());
  }

  // With the last byte kHighest `key` can be read, with `low` (-1: without it) not. Returns the lowest that can be; the
  // one below it is left in `key`.
  std::string Split(std::string* key, int low) {
    int high = static_cast<uint8_t>(kHighest);
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      key->back() = static_cast<char>(middle);
      (CanRead(*key) ? high : low) = middle;
    }
    key->back() = static_cast<char>(high);
    std::string good = *key;
    key->back() = static_cast<char>(low);
    return good;
  }

  rocksdb::DB& db_;
  const rocksdb::ReadOptions& options_;
  const size_t longest_;
  std::unique_ptr<rocksdb::Iterator> it_;
};

}  // namespace

RowChecksum ChecksumOf(absl::string_view key, absl::string_view value) {
  const uint32_t crc = Crc32(value, Crc32(key));
  RowChecksum bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(crc >> 8 * i);
  return bytes;
}

bool TakeChecksum(absl::string_view key, absl::string_view* value) {
  if (value->size() < RowChecksum().size()) return false;
  const absl::string_view stored = value->substr(value->size() - RowChecksum().size());
  value->remove_suffix(stored.size());
  const RowChecksum expected = ChecksumOf(key, *value);
  return stored == absl::string_view(expected.data(), expected.size());
}

absl::Status RowIsDamaged() {
  return core::WithReason(absl::DataLossError("a stored row of statistics is damaged"), "DB_CORRUPT");
}

absl::Status HistoryIsDown(absl::string_view why) {
  return core::WithReason(absl::UnavailableError(absl::StrCat("the database of statistics: ", why)), "BACKEND_DOWN");
}

bool IsDamage(const rocksdb::Status& status) {
  if (status.IsPathNotFound() || status.IsCorruption() || status.IsNotSupported()) return true;
  if (status.IsInvalidArgument()) return true;
  if (!status.IsIOError()) return false;
  const std::string text = status.ToString();
  return std::ranges::any_of(std::array{EIO, ENOENT, EISDIR, ELOOP},
                             [&text](int error) { return absl::StrContains(text, std::strerror(error)); });
}

bool IsReadError(const rocksdb::Status& status) {
  return status.IsIOError() && absl::StrContains(status.ToString(), std::strerror(EIO));
}

bool IsFull(const rocksdb::Status& status) {
  return status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit;
}

absl::Status ToStatus(const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = absl::StrCat("the database of statistics: ", status.ToString());
  if (status.IsNotFound()) return absl::NotFoundError("there is no such row");
  if (IsFull(status)) return core::WithReason(absl::ResourceExhaustedError(text), "STORAGE_FULL");
  if (IsDamage(status)) return core::WithReason(absl::DataLossError(text), "DB_CORRUPT");
  return core::WithReason(absl::UnavailableError(text), "BACKEND_DOWN");
}

std::shared_ptr<rocksdb::EventListener> MakeDamageListener(std::atomic<bool>* is_damaged) {
  return std::make_shared<DamageListener>(is_damaged);
}

rocksdb::Options MakeOptions(rocksdb::Env* env, std::shared_ptr<rocksdb::EventListener> listener) {
  rocksdb::Options options;
  if (env != nullptr) options.env = env;
  options.listeners.push_back(std::move(listener));
  options.max_bgerror_resume_count = 0;
  options.create_if_missing = true;
  options.compression = rocksdb::kNoCompression;  // contents are
  options.write_buffer_size = 32 << 20;
  options.max_write_buffer_number = 3;
  options.max_background_jobs = 2;
  // Few and large steps from level to level: rows are large, and many are deleted as whole files. No blob files, which
  // RocksDB's repair throws away.
  options.target_file_size_base = 32 << 20;
  options.max_bytes_for_level_base = 512 << 20;
  options.level0_file_num_compaction_trigger = 8;
  options.max_open_files = 64;  // of the 128 that connections leave at least
  // A record that the end of the process has cut off is no damage; one that is damaged within the log is.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.track_and_verify_wals_in_manifest = true;
  options.bytes_per_sync = 1 << 20;
  options.keep_log_file_num = 2;
  options.max_log_file_size = 1 << 20;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(8 << 20);
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

std::unique_ptr<rocksdb::Iterator> SeekPastDamage(rocksdb::DB* db, const rocksdb::ReadOptions& options,
                                                  absl::string_view key, size_t longest) {
  return DamageSearch(db, options, longest).SeekPast(key);
}

}  // namespace gradwatch::server
