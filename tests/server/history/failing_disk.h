// Disks that fail, for what lies on RocksDB.
#ifndef GRADWATCH_TESTS_SERVER_HISTORY_FAILING_DISK_H_
#define GRADWATCH_TESTS_SERVER_HISTORY_FAILING_DISK_H_

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"

namespace gradwatch::server {

// A disk that is full, fails to sync, says that it has and has not, or ends the process, when it is told so.
class FailingFiles final : public rocksdb::FileSystemWrapper {
 public:
  FailingFiles() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "FailingFiles"; }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* context) override {
    if (before_table != nullptr && absl::EndsWith(path, ".sst")) before_table();
    std::unique_ptr<rocksdb::FSWritableFile> real;
    const rocksdb::IOStatus status = FileSystemWrapper::NewWritableFile(path, options, &real, context);
    if (status.ok()) *file = std::make_unique<File>(std::move(real), this, absl::EndsWith(path, ".log"));
    return status;
  }

  rocksdb::IOStatus NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                        rocksdb::IODebugContext* context) override {
    std::unique_ptr<rocksdb::FSRandomAccessFile> real;
    const rocksdb::IOStatus status = FileSystemWrapper::NewRandomAccessFile(path, options, &real, context);
    if (status.ok()) *file = std::make_unique<Table>(std::move(real), this);
    return status;
  }

  // In a folder with a file `unreadable` it is.
  rocksdb::IOStatus NewSequentialFile(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                      rocksdb::IODebugContext* context) override {
    if (std::filesystem::exists(std::filesystem::path(path).parent_path() / "unreadable"))
      return rocksdb::IOStatus::Corruption("unreadable");
    if (FailsToRead()) return rocksdb::IOStatus::IOError("Input/output error");
    return FileSystemWrapper::NewSequentialFile(path, options, file, context);
  }

  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* context) override {
    std::unique_ptr<rocksdb::FSDirectory> real;
    const rocksdb::IOStatus status = FileSystemWrapper::NewDirectory(path, options, &real, context);
    if (status.ok()) *directory = std::make_unique<Directory>(std::move(real), this);
    return status;
  }

  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* context) override {
    CountToTheEnd([] {});
    return FileSystemWrapper::RenameFile(from, to, options, context);
  }
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* context) override {
    CountToTheEnd([] {});
    return FileSystemWrapper::DeleteFile(path, options, context);
  }

  // The process is killed at this of the writes, syncs, renamings and deletions that come, a write half done; 0: it is
  // not.
  std::atomic<int64_t> dies_at = 0;
  std::atomic<bool> is_full = false;
  std::atomic<bool> cannot_sync = false;
  std::atomic<bool> skips_sync = false;
  std::atomic<int> log_syncs = 0;         // that were asked for
  std::atomic<bool> cannot_read = false;  // tables, for a reason that says nothing about what they hold
  std::atomic<int> read_errors = 0;       // so many reads fail
  // Called before each read of a table, on the thread that reads. Set before the database is opened.
  std::function<void()> before_read;
  // The same before a table is written, and before a log is made durable.
  std::function<void()> before_table, before_log_sync;

 private:
  template <typename LastDeed>
  void CountToTheEnd(const LastDeed& last_deed) {
    if (dies_at <= 0 || --dies_at != 0) return;
    last_deed();
    kill(getpid(), SIGKILL);
  }

  bool FailsToRead() {
    int errors = read_errors;
    while (errors > 0 && !read_errors.compare_exchange_weak(errors, errors - 1)) continue;
    return errors > 0;
  }

  class File final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, FailingFiles* files, bool is_log)
        : FSWritableFileOwnerWrapper(std::move(file)), files_(*files), is_log_(is_log) {}
    using FSWritableFileOwnerWrapper::Append;
    using FSWritableFileOwnerWrapper::PositionedAppend;
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* context) override {
      const auto half = [&] {
        FSWritableFileOwnerWrapper::Append({data.data(), data.size() / 2}, options, context).PermitUncheckedError();
        FSWritableFileOwnerWrapper::Flush(options, context).PermitUncheckedError();
      };
      files_.CountToTheEnd(half);
      if (!files_.is_full) return FSWritableFileOwnerWrapper::Append(data, options, context);
      half();  // what still fits
      return rocksdb::IOStatus::NoSpace("no space left");
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             const rocksdb::DataVerificationInfo&, rocksdb::IODebugContext* context) override {
      return Append(data, options, context);
    }
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* context) override {
      files_.CountToTheEnd([] {});
      if (is_log_) ++files_.log_syncs;
      if (is_log_ && files_.before_log_sync != nullptr) files_.before_log_sync();
      if (files_.skips_sync) return rocksdb::IOStatus::OK();
      if (files_.cannot_sync) return rocksdb::IOStatus::IOError("Input/output error");
      return FSWritableFileOwnerWrapper::Sync(options, context);
    }
    rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* context) override {
      return Sync(options, context);
    }

   private:
    FailingFiles& files_;
    const bool is_log_;
  };
  class Table final : public rocksdb::FSRandomAccessFileOwnerWrapper {
   public:
    Table(std::unique_ptr<rocksdb::FSRandomAccessFile> file, FailingFiles* files)
        : FSRandomAccessFileOwnerWrapper(std::move(file)), files_(*files) {}
    rocksdb::IOStatus Read(uint64_t offset, size_t size, const rocksdb::IOOptions& options, rocksdb::Slice* result,
                           char* scratch, rocksdb::IODebugContext* context) const override {
      if (files_.before_read != nullptr) files_.before_read();
      if (files_.FailsToRead()) return rocksdb::IOStatus::IOError("Input/output error");
      if (files_.cannot_read) return rocksdb::IOStatus::IOError("Connection timed out");
      return FSRandomAccessFileOwnerWrapper::Read(offset, size, options, result, scratch, context);
    }

   private:
    FailingFiles& files_;
  };
  class Directory final : public rocksdb::FSDirectoryWrapper {
   public:
    Directory(std::unique_ptr<rocksdb::FSDirectory> directory, FailingFiles* files)
        : FSDirectoryWrapper(std::move(directory)), files_(*files) {}
    rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* context) override {
      return files_.skips_sync ? rocksdb::IOStatus::OK() : FSDirectoryWrapper::Fsync(options, context);
    }
    rocksdb::IOStatus FsyncWithDirOptions(const rocksdb::IOOptions& options, rocksdb::IODebugContext* context,
                                          const rocksdb::DirFsyncOptions& why) override {
      return files_.skips_sync ? rocksdb::IOStatus::OK()
                               : FSDirectoryWrapper::FsyncWithDirOptions(options, context, why);
    }

   private:
    FailingFiles& files_;
  };
};

// The environment with such a disk.
struct FailingDisk {
  std::shared_ptr<FailingFiles> files = std::make_shared<FailingFiles>();
  std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(files);
};

// One that skips syncing, for what is opened hundreds of times and never loses power.
inline rocksdb::Env* QuickDisk() {
  static const FailingDisk* const disk = [] {
    auto* made = new FailingDisk;
    made->files->skips_sync = true;
    return made;
  }();
  return disk->env.get();
}

}  // namespace gradwatch::server

#endif  // GRADWATCH_TESTS_SERVER_HISTORY_FAILING_DISK_H_
