#include "server/history/history_database.h"

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/base/data_folder.h"

namespace gradwatch::server {
namespace {

namespace fs = std::filesystem;

using Checksum = std::array<char, 4>;

constexpr absl::string_view kFormatKey = "v";
constexpr absl::string_view kFormat = "1";
constexpr size_t kCopyBytes = size_t{1} << 20;  // of one write of a copy

absl::string_view ViewOf(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }
rocksdb::Slice SliceOf(absl::string_view view) { return {view.data(), view.size()}; }

Checksum ChecksumOf(absl::string_view key, absl::string_view value) {
  uLong crc = crc32_z(0, reinterpret_cast<const Bytef*>(key.data()), key.size());
  // zlib takes a null pointer for a new beginning.
  if (!value.empty()) crc = crc32_z(crc, reinterpret_cast<const Bytef*>(value.data()), value.size());
  Checksum bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(crc >> 8 * i);
  return bytes;
}

// Takes the checksum off the end of a stored value. False: it is not that of the row.
bool TakeChecksum(absl::string_view key, absl::string_view* value) {
  if (value->size() < Checksum().size()) return false;
  const absl::string_view stored = value->substr(value->size() - Checksum().size());
  value->remove_suffix(stored.size());
  const Checksum expected = ChecksumOf(key, *value);
  return stored == absl::string_view(expected.data(), expected.size());
}

absl::Status RowIsDamaged() {
  return core::WithReason(absl::DataLossError("a stored row of statistics is damaged"), "DB_CORRUPT");
}

absl::Status Down(absl::string_view why) {
  return core::WithReason(absl::UnavailableError(absl::StrCat("the database of statistics: ", why)), "BACKEND_DOWN");
}

// Whether a read, or an opening, has failed by what the files hold: a part of the disk that cannot be read is as bad as
// other bytes there. Too many open files, or no memory, say nothing about them.
bool IsDamage(const rocksdb::Status& status) {
  if (status.IsPathNotFound() || status.IsCorruption() || status.IsNotSupported()) return true;
  if (status.IsInvalidArgument()) return true;
  return status.IsIOError() && (absl::StrContains(status.ToString(), std::strerror(EIO)) ||
                                absl::StrContains(status.ToString(), std::strerror(ENOENT)));
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
  options.max_open_files = 200;
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

rocksdb::Status OpenWith(const rocksdb::Options& options, const std::string& path,
                         std::unique_ptr<rocksdb::DB>* opened) {
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, path, &db);
  opened->reset(db);
  return status;
}

enum class Content { kNothing, kDatabase, kHeadless };

// A database that has lost the file by which it is found would be taken for a new one, and its files for rubbish.
Content ContentOf(const std::string& path) {
  std::error_code ignored;
  if (fs::exists(path + "/CURRENT", ignored)) return Content::kDatabase;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, ignored)) {
    const std::string name = entry.path().filename();
    if (absl::EndsWith(name, ".sst") || absl::EndsWith(name, ".log") || absl::StartsWith(name, "MANIFEST")) {
      return Content::kHeadless;
    }
  }
  return Content::kNothing;
}

absl::Status Rename(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::remove_all(to, error);
  fs::rename(from, to, error);
  if (error) return Down(absl::StrCat(from, " cannot be renamed to ", to, ": ", error.message()));
  return SyncFolder(fs::path(to).parent_path());
}

std::string CopyPath(const std::string& path) { return path + ".copy"; }
std::string OldPath(const std::string& path) { return path + ".old"; }

// A copy takes the place of a folder only when it is whole; one beside the folder is a part.
absl::Status FinishRebuild(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(OldPath(path), ignored);
  if (fs::exists(path, ignored)) {
    fs::remove_all(CopyPath(path), ignored);
    return absl::OkStatus();
  }
  return fs::exists(CopyPath(path), ignored) ? Rename(CopyPath(path), path) : absl::OkStatus();
}

// Finds the first row behind a damaged part. Where that ends cannot be asked; but rows after a key can be read or not,
// and the lowest such key is found byte by byte.
class DamageSearch {
 public:
  DamageSearch(rocksdb::DB* db, const rocksdb::ReadOptions& options) : db_(*db), options_(options) {}

  // Rows from `key` on cannot be read. An iterator on the first that can be, or behind the end; with an error where it
  // has met another one, or nothing can be read.
  std::unique_ptr<rocksdb::Iterator> SeekPast(absl::string_view key) && {
    std::string bad(key);
    bad.resize(std::max(key.size(), kLongestHistoryKey), '\0');
    // The place from which on the end differs from `key`.
    while (!bad.empty() && (bad.back() == kHighest || !CanRead(bad.substr(0, bad.size() - 1) + kHighest))) {
      bad.pop_back();
    }
    if (bad.empty()) return std::move(it_);
    std::string good = Split(&bad, static_cast<uint8_t>(bad.back()));
    while (good.back() != '\0' && bad.size() < kLongestHistoryKey && CanRead(bad + kHighest)) {
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
  std::unique_ptr<rocksdb::Iterator> it_;
};

}  // namespace

HistoryChanges::HistoryChanges() : batch_(std::make_unique<rocksdb::WriteBatch>()) {}
HistoryChanges::~HistoryChanges() = default;
HistoryChanges::HistoryChanges(HistoryChanges&&) noexcept = default;
HistoryChanges& HistoryChanges::operator=(HistoryChanges&&) noexcept = default;

void HistoryChanges::Put(absl::string_view key, absl::string_view value) {
  const Checksum checksum = ChecksumOf(key, value);
  const rocksdb::Slice keys[] = {SliceOf(key)};
  const rocksdb::Slice values[] = {SliceOf(value), {checksum.data(), checksum.size()}};
  batch_->Put(rocksdb::SliceParts(keys, 1), rocksdb::SliceParts(values, 2));
}

void HistoryChanges::Delete(absl::string_view key) { batch_->Delete(SliceOf(key)); }
void HistoryChanges::DeleteRange(absl::string_view from, absl::string_view to) {
  if (from < to) batch_->DeleteRange(SliceOf(from), SliceOf(to));
}
bool HistoryChanges::empty() const { return batch_->Count() == 0; }
size_t HistoryChanges::bytes() const { return batch_->GetDataSize(); }

HistoryDatabase::HistoryDatabase(std::string path, rocksdb::Env* env)
    : path_(std::move(path)), env_(env), listener_(std::make_shared<DamageListener>(&needs_rebuild_)) {}

HistoryDatabase::~HistoryDatabase() {
  // In a table more of a damage is found than in a log, and it is opened sooner.
  if (db_ != nullptr && !failed_) static_cast<void>(db_->Flush({}));
}

HistoryDatabase::Found HistoryDatabase::found() const {
  absl::ReaderMutexLock lock(&mutex_);
  return found_;
}

absl::StatusOr<std::unique_ptr<HistoryDatabase>> HistoryDatabase::Open(const std::string& path, rocksdb::Env* env) {
  std::unique_ptr<HistoryDatabase> database(new HistoryDatabase(path, env));
  absl::MutexLock lock(&database->mutex_);
  GW_RETURN_IF_ERROR(database->OpenFolder());
  return database;
}

absl::Status HistoryDatabase::OpenOrRepair() {
  rocksdb::Options options = MakeOptions(env_, listener_);
  rocksdb::Status status = rocksdb::Status::Corruption("CURRENT is missing");
  if (ContentOf(path_) != Content::kHeadless) status = OpenWith(options, path_, &db_);
  if (status.ok() || !IsDamage(status)) return ToStatus(status);
  found_ = Found::kRepaired;
  // Of a log that is damaged in its middle, what comes before stands.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  if (ContentOf(path_) != Content::kHeadless) status = OpenWith(options, path_, &db_);
  if (status.ok() || !IsDamage(status)) return ToStatus(status);
  status = rocksdb::RepairDB(path_, options);
  if (status.ok()) status = OpenWith(options, path_, &db_);
  if (status.ok() || !IsDamage(status)) return ToStatus(status);
  found_ = Found::kSetAside;
  GW_RETURN_IF_ERROR(Rename(path_, path_ + ".damaged"));
  GW_RETURN_IF_ERROR(MakeFolder(path_));
  return ToStatus(OpenWith(options, path_, &db_));
}

absl::Status HistoryDatabase::CheckFormat() {
  std::string stored;
  const rocksdb::Status status = db_->Get({}, SliceOf(kFormatKey), &stored);
  absl::string_view format = stored;
  if (status.ok() && TakeChecksum(kFormatKey, &format)) {
    if (format == kFormat) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(path_, " has format ", format, ", made by a newer gradwatch; this one knows ", kFormat));
  }
  if (!status.ok() && !status.IsNotFound() && !IsDamage(status)) return ToStatus(status);
  if (found_ == Found::kSound) found_ = Found::kRepaired;  // it is written first, and never deleted
  HistoryChanges changes;
  changes.Put(kFormatKey, kFormat);
  return ToStatus(db_->Write({}, changes.batch_.get()));
}

absl::Status HistoryDatabase::CheckUsable() const { return db_ != nullptr ? absl::OkStatus() : Down("it is not open"); }

absl::Status HistoryDatabase::Write(const HistoryChanges& changes) {
  absl::ReaderMutexLock lock(&mutex_);
  GW_RETURN_IF_ERROR(CheckUsable());
  if (failed_) return Down("an earlier write has failed");
  const rocksdb::Status status = db_->Write({}, changes.batch_.get());
  if (!status.ok()) failed_ = true;
  return ToStatus(status);
}

absl::Status HistoryDatabase::Sync() {
  absl::ReaderMutexLock lock(&mutex_);
  GW_RETURN_IF_ERROR(CheckUsable());
  if (failed_) return Down("an earlier write has failed");
  const rocksdb::Status status = db_->SyncWAL();
  if (!status.ok()) failed_ = true;
  return ToStatus(status);
}

absl::Status HistoryDatabase::Heal() {
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (db_ != nullptr) {
      rocksdb::Status status = db_->Resume();
      // The log may have pages that the kernel has given up; what it holds goes into a table.
      if (status.ok() && failed_) status = db_->Flush({});
      if (status.ok()) failed_ = false;
      // To be opened anew it would need room, too, and nobody could read meanwhile.
      const bool is_for_now = IsFull(status) && status.severity() < rocksdb::Status::kFatalError;
      if (status.ok() || is_for_now) return ToStatus(status);
    }
  }
  absl::MutexLock lock(&mutex_);
  return Reopen();
}

absl::Status HistoryDatabase::OpenFolder() {
  GW_RETURN_IF_ERROR(FinishRebuild(path_));
  GW_RETURN_IF_ERROR(MakeFolder(path_));
  if (ContentOf(path_) == Content::kNothing) found_ = Found::kNew;
  GW_RETURN_IF_ERROR(OpenOrRepair());
  return CheckFormat();
}

absl::Status HistoryDatabase::Reopen() {
  db_.reset();
  if (absl::Status status = OpenFolder(); !status.ok()) {
    db_.reset();
    return status;
  }
  failed_ = false;
  return absl::OkStatus();
}

absl::StatusOr<std::string> HistoryDatabase::Get(absl::string_view key) const {
  absl::ReaderMutexLock lock(&mutex_);
  GW_RETURN_IF_ERROR(CheckUsable());
  std::string value;
  GW_RETURN_IF_ERROR(ToStatus(db_->Get({}, SliceOf(key), &value)));
  absl::string_view checked = value;
  if (!TakeChecksum(key, &checked)) return RowIsDamaged();
  value.resize(checked.size());
  return value;
}

absl::Status HistoryDatabase::ForEach(absl::string_view from, absl::string_view to, Row row, Hole hole) const {
  absl::ReaderMutexLock lock(&mutex_);
  GW_RETURN_IF_ERROR(CheckUsable());
  return Scan(from, to, row, hole);
}

absl::Status HistoryDatabase::Scan(absl::string_view from, absl::string_view to, Row row, Hole hole) const {
  rocksdb::ReadOptions options;
  const rocksdb::Slice end = SliceOf(to);
  options.iterate_upper_bound = &end;
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  std::string next(from);  // the lowest key that has not been told of
  for (it->Seek(SliceOf(from));;) {
    if (!it->status().ok()) {
      if (!IsDamage(it->status())) return ToStatus(it->status());
      it = DamageSearch(db_.get(), options).SeekPast(next);
      if (!it->status().ok() && !IsDamage(it->status())) return ToStatus(it->status());
      const bool is_end = !it->status().ok() || !it->Valid();
      hole(next, is_end ? to : ViewOf(it->key()));
      if (is_end) return absl::OkStatus();
    }
    if (!it->Valid()) return absl::OkStatus();
    const absl::string_view key = ViewOf(it->key());
    absl::string_view value = ViewOf(it->value());
    next = absl::StrCat(key, absl::string_view("\0", 1));
    if (!TakeChecksum(key, &value)) {
      hole(key, next);
    } else if (!row(key, value)) {
      return absl::OkStatus();
    }
    it->Next();
  }
}

absl::Status HistoryDatabase::Compact(absl::string_view from, absl::string_view to) {
  absl::ReaderMutexLock lock(&mutex_);
  GW_RETURN_IF_ERROR(CheckUsable());
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  const rocksdb::Slice begin = SliceOf(from), end = SliceOf(to);
  const rocksdb::Status status = db_->CompactRange(options, &begin, &end);
  if (IsDamage(status)) needs_rebuild_ = true;
  return ToStatus(status);
}

absl::Status HistoryDatabase::CompactDeleted(absl::string_view from, absl::string_view to) {
  {
    absl::ReaderMutexLock lock(&mutex_);
    GW_RETURN_IF_ERROR(CheckUsable());
    const rocksdb::Slice begin = SliceOf(from), end = SliceOf(to);
    const rocksdb::Status status =
        rocksdb::DeleteFilesInRange(db_.get(), db_->DefaultColumnFamily(), &begin, &end, /*include_end=*/false);
    GW_RETURN_IF_ERROR(ToStatus(status));
  }
  return Compact(from, to);
}

absl::StatusOr<HistoryUsage> HistoryDatabase::Usage() const {
  absl::ReaderMutexLock lock(&mutex_);
  GW_RETURN_IF_ERROR(CheckUsable());
  HistoryUsage usage;
  for (const std::string& property :
       {rocksdb::DB::Properties::kEstimateLiveDataSize, rocksdb::DB::Properties::kCurSizeAllMemTables}) {
    uint64_t bytes = 0;
    if (!db_->GetIntProperty(property, &bytes)) return Down("it does not say how large it is");
    usage.live += static_cast<int64_t>(bytes);
  }
  std::error_code ignored;  // files come and go
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path_, ignored)) {
    struct stat info = {};
    if (lstat(entry.path().c_str(), &info) == 0) usage.files += int64_t{info.st_blocks} * 512;
  }
  return usage;
}

absl::Status HistoryDatabase::CopyTo(HistoryDatabase* copy, Hole hole) const {
  HistoryChanges changes;
  absl::Status status;
  const auto put = [&](absl::string_view key, absl::string_view value) {
    changes.Put(key, value);
    if (changes.bytes() < kCopyBytes) return true;
    status = copy->Write(std::exchange(changes, HistoryChanges()));
    return status.ok();
  };
  const std::string behind(kLongestHistoryKey + 1, '\xff');
  GW_RETURN_IF_ERROR(Scan("", behind, put, hole));
  GW_RETURN_IF_ERROR(status);
  GW_RETURN_IF_ERROR(copy->Write(changes));
  absl::ReaderMutexLock lock(&copy->mutex_);
  return ToStatus(copy->db_->Flush({}));
}

absl::Status HistoryDatabase::Rebuild(Hole hole) {
  absl::MutexLock lock(&mutex_);
  GW_RETURN_IF_ERROR(CheckUsable());
  std::error_code ignored;
  fs::remove_all(CopyPath(path_), ignored);
  absl::Status status;
  {
    GW_ASSIGN_OR_RETURN(const auto copy, Open(CopyPath(path_), env_));
    status = CopyTo(copy.get(), hole);
  }
  if (!status.ok()) {
    fs::remove_all(CopyPath(path_), ignored);
    return status;
  }
  db_.reset();
  GW_RETURN_IF_ERROR(Rename(path_, OldPath(path_)));
  GW_RETURN_IF_ERROR(Rename(CopyPath(path_), path_));
  needs_rebuild_ = false;
  return Reopen();
}

}  // namespace gradwatch::server
