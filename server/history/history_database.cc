#include "server/history/history_database.h"

#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "server/base/data_folder.h"
#include "server/history/rocks.h"

namespace gradwatch::server {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kFormatKey = "v";
constexpr absl::string_view kFormat = "1";
constexpr size_t kCopyBytes = size_t{1} << 20;  // of one write of a copy

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
  if (error) return HistoryIsDown(absl::StrCat(from, " cannot be renamed to ", to, ": ", error.message()));
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

// A log that could not be written is left with the rows of its memory, as these become a table. Where there are none
// RocksDB would go on to write to it, and end the process.
bool HasRowsInMemory(rocksdb::DB& db) {
  uint64_t rows = 0;
  return db.GetIntProperty(rocksdb::DB::Properties::kNumEntriesActiveMemTable, &rows) && rows > 0;
}

// Whether there is some room again.
rocksdb::Status TryToWrite(rocksdb::Env* env, const std::string& path) {
  if (env == nullptr) env = rocksdb::Env::Default();
  const rocksdb::Status status = rocksdb::WriteStringToFile(env, std::string(kCopyBytes, 'x'), path);
  env->DeleteFile(path).PermitUncheckedError();
  return status;
}

}  // namespace

HistoryChanges::HistoryChanges() : batch_(std::make_unique<rocksdb::WriteBatch>()) {}
HistoryChanges::~HistoryChanges() = default;
HistoryChanges::HistoryChanges(HistoryChanges&&) noexcept = default;
HistoryChanges& HistoryChanges::operator=(HistoryChanges&&) noexcept = default;

void HistoryChanges::Put(absl::string_view key, absl::string_view value) {
  const RowChecksum checksum = ChecksumOf(key, value);
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
    : path_(std::move(path)), env_(env), listener_(MakeDamageListener(&needs_rebuild_)) {}

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
  if (IsReadError(status)) status = OpenWith(options, path_, &db_);
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

absl::Status HistoryDatabase::CheckUsable() const {
  return db_ != nullptr ? absl::OkStatus() : HistoryIsDown("it is not open");
}

absl::Status HistoryDatabase::Write(const HistoryChanges& changes) {
  absl::ReaderMutexLock lock(&mutex_);
  GW_RETURN_IF_ERROR(CheckUsable());
  if (failed_) return HistoryIsDown("an earlier write has failed");
  const rocksdb::Status status = db_->Write({}, changes.batch_.get());
  if (!status.ok()) failed_ = true;
  return ToStatus(status);
}

absl::Status HistoryDatabase::Sync() {
  absl::ReaderMutexLock lock(&mutex_);
  GW_RETURN_IF_ERROR(CheckUsable());
  if (failed_) return HistoryIsDown("an earlier write has failed");
  const rocksdb::Status status = db_->SyncWAL();
  if (!status.ok()) failed_ = true;
  return ToStatus(status);
}

absl::Status HistoryDatabase::Heal() {
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (db_ != nullptr) {
      const bool leaves_log = !failed_ || HasRowsInMemory(*db_);
      rocksdb::Status status = leaves_log ? db_->Resume() : TryToWrite(env_, path_ + ".room");
      // The log may have pages that the kernel has given up; what it holds goes into a table.
      if (status.ok() && failed_ && leaves_log) status = db_->Flush({});
      const bool is_healed = status.ok() && leaves_log;
      if (is_healed) failed_ = false;
      // To be opened anew it would need room, too, and nobody could read meanwhile.
      const bool is_for_now = IsFull(status) && status.severity() < rocksdb::Status::kFatalError;
      if (is_healed || is_for_now) return ToStatus(status);
    }
  }
  StopCompacting();  // who waits for this lock keeps all others waiting
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
  failed_ = true;  // until it is open
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
  rocksdb::Status status = db_->Get({}, SliceOf(key), &value);
  if (IsReadError(status)) status = db_->Get({}, SliceOf(key), &value);
  GW_RETURN_IF_ERROR(ToStatus(status));
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
    if (IsReadError(it->status())) {
      it.reset(db_->NewIterator(options));
      it->Seek(next);
    }
    if (!it->status().ok()) {
      if (!IsDamage(it->status())) return ToStatus(it->status());
      it = SeekPastDamage(db_.get(), options, next, kLongestHistoryKey);
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

void HistoryDatabase::StopCompacting() {
  absl::ReaderMutexLock lock(&mutex_);
  if (db_ != nullptr) db_->DisableManualCompaction();
}

absl::StatusOr<HistoryUsage> HistoryDatabase::Usage() const {
  absl::ReaderMutexLock lock(&mutex_);
  GW_RETURN_IF_ERROR(CheckUsable());
  HistoryUsage usage;
  for (const std::string& property :
       {rocksdb::DB::Properties::kEstimateLiveDataSize, rocksdb::DB::Properties::kCurSizeAllMemTables}) {
    uint64_t bytes = 0;
    if (!db_->GetIntProperty(property, &bytes)) return HistoryIsDown("it does not say how large it is");
    usage.live += static_cast<int64_t>(bytes);
  }
  std::error_code ignored;  // files come and go
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path_, ignored)) {
    struct stat info = {};
    if (lstat(entry.path().c_str(), &info) != 0) continue;
    usage.files += int64_t{info.st_blocks} * 512;
    usage.content += std::min<int64_t>(int64_t{info.st_blocks} * 512, info.st_size);
  }
  return usage;
}

absl::Status HistoryDatabase::CopyTo(const std::string& path, Hole hole, absl::Span<const HistoryChanges> more) const {
  GW_ASSIGN_OR_RETURN(const auto copy, Open(path, env_));
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
  for (const HistoryChanges& one : more) GW_RETURN_IF_ERROR(copy->Write(one));
  absl::ReaderMutexLock lock(&copy->mutex_);
  return ToStatus(copy->db_->Flush({}));
}

absl::Status HistoryDatabase::Rebuild(Hole hole, absl::Span<const HistoryChanges> more) {
  StopCompacting();
  absl::MutexLock lock(&mutex_);
  GW_RETURN_IF_ERROR(CheckUsable());
  std::error_code ignored;
  fs::remove_all(CopyPath(path_), ignored);
  if (absl::Status status = CopyTo(CopyPath(path_), hole, more); !status.ok()) {
    fs::remove_all(CopyPath(path_), ignored);
    db_->EnableManualCompaction();
    return status;
  }
  failed_ = true;  // until it is open again
  db_.reset();
  GW_RETURN_IF_ERROR(Rename(path_, OldPath(path_)));
  GW_RETURN_IF_ERROR(Rename(CopyPath(path_), path_));
  needs_rebuild_ = false;
  return Reopen();
}

}  // namespace gradwatch::server
