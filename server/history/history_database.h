// The database of what is kept of all jobs' statistics: rows of bytes in the order of their keys. RocksDB, and nothing
// else knows of it.
//
// Each row has a checksum of its key and value beside RocksDB's own. Damage costs what it lies in: reading passes over
// it and says where; a folder that does not open is repaired from what its files say of themselves.
#ifndef GRADWATCH_SERVER_HISTORY_HISTORY_DATABASE_H_
#define GRADWATCH_SERVER_HISTORY_HISTORY_DATABASE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"

namespace rocksdb {
class DB;
class Env;
class EventListener;
class WriteBatch;
}  // namespace rocksdb

namespace gradwatch::server {

// No key of ours is longer.
inline constexpr size_t kLongestHistoryKey = 64;

// What is written together or not at all, in the order of the calls. Not thread-safe.
class HistoryChanges {
 public:
  HistoryChanges();
  ~HistoryChanges();
  HistoryChanges(HistoryChanges&&) noexcept;
  HistoryChanges& operator=(HistoryChanges&&) noexcept;

  void Put(absl::string_view key, absl::string_view value);
  void Delete(absl::string_view key);
  // All keys in [from, to).
  void DeleteRange(absl::string_view from, absl::string_view to);
  bool empty() const;
  // What it takes in the log.
  size_t bytes() const;

 private:
  friend class HistoryDatabase;
  std::unique_ptr<rocksdb::WriteBatch> batch_;
};

// What is on the disk, in bytes.
struct HistoryUsage {
  int64_t live = 0;     // of rows that are not deleted, about
  int64_t files = 0;    // what the folder takes of the disk, with what is deleted and not given back yet
  int64_t content = 0;  // of this, what its files hold: a log has some 35 MiB set aside for it
};

// Thread-safe. Calls may wait for the disk.
//
// Errors of all calls: RESOURCE_EXHAUSTED (reason STORAGE_FULL), DATA_LOSS (reason DB_CORRUPT), UNAVAILABLE (reason
// BACKEND_DOWN: I/O errors, no descriptors, not open after a Heal that failed).
class HistoryDatabase {
 public:
  // How the folder was found.
  enum class Found {
    kSound,
    kNew,       // there was nothing
    kRepaired,  // some rows may be missing; DATA_LOSS tells of those that are there and damaged
    kSetAside,  // nothing could be read: it is kept as PATH.damaged, in place of an older one, and this one is new
  };

  // Opens or makes the folder; `env` (null: RocksDB's own; outlives the database) is for tests, whose disks fail.
  // FAILED_PRECONDITION: its format is that of a later version. UNAVAILABLE also: another process has it open.
  static absl::StatusOr<std::unique_ptr<HistoryDatabase>> Open(const std::string& path, rocksdb::Env* env = nullptr);
  // Makes durable what was written, if that is possible.
  ~HistoryDatabase();
  HistoryDatabase(const HistoryDatabase&) = delete;
  HistoryDatabase& operator=(const HistoryDatabase&) = delete;

  // The worst since Open: Heal may come across what it had not.
  Found found() const;

  // After it the changes survive the death of the process. After an error it is as if they had never been (only after
  // a loss of power may they be there), and all further calls fail until Heal.
  absl::Status Write(const HistoryChanges& changes);
  // False: a write or a sync has failed, and Heal has not ended it yet.
  bool is_writable() const { return !failed_; }
  // Makes durable what was written. May run beside Write, which goes on. After an error, as Write: what the disk did
  // not take is written anew by Heal, never synced again.
  absl::Status Sync();
  // Makes it writable again after an error, and durable what was written; opens the folder anew where nothing else
  // helps, for which it waits for all other calls. For another try some time later.
  absl::Status Heal();

  // NOT_FOUND, too.
  absl::StatusOr<std::string> Get(absl::string_view key) const;
  // Calls `row` for the rows in [from, to) in their order, until it returns false; views are valid during the call,
  // which must call nothing of this class. `hole` is called, between them, for each range of keys [first, end) of which
  // some may have been and cannot be read.
  using Row = absl::FunctionRef<bool(absl::string_view key, absl::string_view value)>;
  using Hole = absl::FunctionRef<void(absl::string_view first, absl::string_view end)>;
  absl::Status ForEach(absl::string_view from, absl::string_view to, Row row, Hole hole) const;

  // Gives the space of deleted rows in [from, to) back to the disk; takes as long as it takes to copy what is left.
  absl::Status Compact(absl::string_view from, absl::string_view to);
  // The same for a range of which all keys are deleted and none is put meanwhile.
  absl::Status CompactDeleted(absl::string_view from, absl::string_view to);
  // Ends these two, wherever they are, with UNAVAILABLE, until the folder is opened anew.
  void StopCompacting();
  absl::StatusOr<HistoryUsage> Usage() const;

  // Whether damage keeps it from tidying up; it reads and writes, but the longer, the slower. Rebuild helps.
  bool needs_rebuild() const { return needs_rebuild_; }
  // Copies all that can be read into a new folder, and then makes the changes `more` there, one after the other; it
  // takes the place of the old one. `hole` as in ForEach. Takes the space of the copy for a while; all other calls
  // wait.
  absl::Status Rebuild(Hole hole, absl::Span<const HistoryChanges> more = {});

 private:
  HistoryDatabase(std::string path, rocksdb::Env* env);
  absl::Status OpenFolder() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status OpenOrRepair() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckFormat() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Reopen() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CopyTo(const std::string& path, Hole hole, absl::Span<const HistoryChanges> more) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Status Scan(absl::string_view from, absl::string_view to, Row row, Hole hole) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Status CheckUsable() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  rocksdb::Env* const env_;
  std::atomic<bool> needs_rebuild_ = false;
  const std::shared_ptr<rocksdb::EventListener> listener_;  // sets needs_rebuild_
  std::atomic<bool> failed_ = false;                        // a write or a sync has; Heal ends it

  mutable absl::Mutex mutex_;  // held shared by whoever uses the database
  Found found_ ABSL_GUARDED_BY(mutex_) = Found::kSound;
  std::unique_ptr<rocksdb::DB> db_ ABSL_GUARDED_BY(mutex_);  // null: not open
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_HISTORY_DATABASE_H_
