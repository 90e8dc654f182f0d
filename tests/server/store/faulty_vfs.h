// SQLite's file system with a switch for each fault; in force for databases opened while it lives.
#ifndef GRADWATCH_TESTS_SERVER_STORE_FAULTY_VFS_H_
#define GRADWATCH_TESTS_SERVER_STORE_FAULTY_VFS_H_

#include <sqlite3.h>

#include <atomic>
#include <map>
#include <mutex>

namespace gradwatch::server {

// At most one at a time.
class FaultyVfs {
 public:
  FaultyVfs() : vfs_(*sqlite3_vfs_find(nullptr)) {
    real_ = sqlite3_vfs_find(nullptr);
    full = unwritable = unsyncable = unlockable = false;
    vfs_.zName = "faulty";
    vfs_.xOpen = &Open;
    sqlite3_vfs_register(&vfs_, /*makeDflt=*/1);
  }
  ~FaultyVfs() { sqlite3_vfs_unregister(&vfs_); }
  FaultyVfs(const FaultyVfs&) = delete;
  FaultyVfs& operator=(const FaultyVfs&) = delete;

  static inline std::atomic<bool> full{false};        // the disk is full
  static inline std::atomic<bool> unwritable{false};  // writes fail
  static inline std::atomic<bool> unsyncable{false};  // syncs fail
  static inline std::atomic<bool> unlockable{false};  // transactions cannot begin

 private:
  static int Open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
    const int code = real_->xOpen(real_, name, file, flags, out_flags);
    if (file->pMethods != nullptr) file->pMethods = FaultyMethods(file->pMethods);
    return code;
  }

  // The table of methods that puts the faults before those of `real`. There are two real ones: for files that are
  // locked and for those that are not; they write and sync alike.
  static const sqlite3_io_methods* FaultyMethods(const sqlite3_io_methods* real) {
    static std::mutex mutex;
    static auto* const tables = new std::map<const sqlite3_io_methods*, sqlite3_io_methods>();
    static const sqlite3_io_methods* const first = real;
    std::lock_guard lock(mutex);
    auto [table, is_new] = tables->try_emplace(real, *real);
    if (is_new) {
      table->second.xWrite = [](sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
        if (full) return SQLITE_FULL;
        if (unwritable) return SQLITE_IOERR_WRITE;
        return first->xWrite(file, bytes, count, offset);
      };
      table->second.xSync = [](sqlite3_file* file, int flags) {
        return unsyncable ? SQLITE_IOERR_FSYNC : first->xSync(file, flags);
      };
    }
    if (is_new && real->xShmLock != nullptr) {
      static const sqlite3_io_methods* const shared = real;
      table->second.xShmLock = [](sqlite3_file* file, int offset, int count, int flags) {
        const bool locks = (flags & SQLITE_SHM_LOCK) != 0;
        return locks && unlockable ? SQLITE_IOERR_LOCK : shared->xShmLock(file, offset, count, flags);
      };
    }
    return &table->second;
  }

  static inline sqlite3_vfs* real_ = nullptr;
  sqlite3_vfs vfs_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_TESTS_SERVER_STORE_FAULTY_VFS_H_
