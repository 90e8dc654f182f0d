#include "server/store/sqlite.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/base/data_folder.h"

namespace gradwatch::server {
namespace {

constexpr int kBusyTimeoutMs = 5000;

[[noreturn]] void ExitAfterFailedSync(absl::string_view what, const char* message) {
  spdlog::critical("{}: {}: the disk did not take what was written; exiting, a restart reads what is really there",
                   std::string(what), message);
  spdlog::default_logger()->flush();
  std::_Exit(kExitSyncFailed);
}

absl::Status NotOurs(absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat("the database ", why));
}

// The version of the database; 0: it is empty.
absl::StatusOr<int64_t> ReadVersion(SQLite::Database& database, const DatabaseFormat& format) {
  const int64_t application_id = ReadPragma(database, "application_id");
  const int64_t version = ReadPragma(database, "user_version");
  if (application_id == 0 && version == 0 && database.execAndGet("SELECT count(*) FROM sqlite_schema").getInt() == 0) {
    return 0;
  }
  if (application_id != format.application_id) return NotOurs("was made by another program");
  if (version > format.newest()) {
    return NotOurs(
        absl::StrCat("has version ", version, ", made by a newer gradwatch; this one knows ", format.newest()));
  }
  if (version < format.oldest) {
    return NotOurs(absl::StrCat("has version ", version,
                                ", made by a gradwatch before its first release; this one reads ", format.oldest,
                                " and later: begin with an empty data folder"));
  }
  return version;
}

absl::Status CannotBeRead(const std::string& file, absl::string_view why) {
  return core::WithReason(absl::PermissionDeniedError(absl::StrCat(file, " cannot be read: ", why)), "DB_UNREADABLE");
}

// Makes a file of a database private and says what keeps SQLite from reading it. NOT_FOUND. Never opens it: to close a
// descriptor of a file ends all locks that the process has on it.
absl::Status CheckFile(const std::string& file) {
  struct stat info = {};
  if (stat(file.c_str(), &info) != 0) {
    const int error = errno;
    if (error == EACCES || error == ELOOP || error == ENOTDIR) return CannotBeRead(file, std::strerror(error));
    if (error != ENOENT) return absl::UnavailableError(absl::StrCat(file, ": ", std::strerror(error)));
    if (lstat(file.c_str(), &info) == 0) return CannotBeRead(file, "the link leads nowhere");
    return absl::NotFoundError("there is no such database");
  }
  if (!S_ISREG(info.st_mode)) return CannotBeRead(file, "it is no file");
  if ((info.st_mode & 07777) != kPrivateFile) static_cast<void>(chmod(file.c_str(), kPrivateFile));
  if (access(file.c_str(), R_OK) != 0) return CannotBeRead(file, std::strerror(errno));
  return absl::OkStatus();
}

// The same for a whole database; NOT_FOUND: its main file is not there.
absl::Status CheckFiles(const std::string& path) {
  for (const char* suffix : kFileSuffixes) {
    const absl::Status status = CheckFile(absl::StrCat(path, suffix));
    if (!status.ok() && !(absl::IsNotFound(status) && *suffix != 0)) return status;
  }
  return absl::OkStatus();
}

// An empty file, which SQLite takes for a new database; what it puts beside gets the same mode.
absl::Status MakeFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kPrivateFile);
  if (file < 0) return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  static_cast<void>(fchmod(file, kPrivateFile));
  close(file);
  return absl::OkStatus();
}

// After the tables of a new database were made.
void SyncFolderOf(const std::string& path) {
  const absl::Status status = SyncFolder(std::filesystem::absolute(path).parent_path().string());
  if (!status.ok()) ExitAfterFailedSync("sync the folder of a new database", std::string(status.message()).c_str());
}

absl::Status QuickCheck(SQLite::Database& database) {
  const std::string verdict = database.execAndGet("PRAGMA quick_check(1)").getString();
  if (verdict == "ok") return absl::OkStatus();
  return core::WithReason(absl::DataLossError(absl::StrCat("the database is damaged: ", verdict)), "DB_CORRUPT");
}

// SQLite removes its log when the last connection closes.
bool MustCheck(const std::string& path, const DatabaseFormat& format) {
  std::error_code ignored;
  return format.check_up_to > 0 &&
         (std::filesystem::exists(path + "-wal", ignored) ||
          static_cast<int64_t>(std::filesystem::file_size(path, ignored)) <= format.check_up_to);
}

// All steps in one transaction: after a crash the database has the old version or the new one.
void Migrate(SQLite::Database& database, const DatabaseFormat& format, int64_t version) {
  if (version == format.newest()) return;
  database.exec("BEGIN IMMEDIATE");
  for (int64_t step = version == 0 ? 0 : version - format.oldest + 1; step < std::ssize(format.migrations); ++step) {
    database.exec(format.migrations[step]);
  }
  database.exec(absl::StrCat("PRAGMA application_id = ", format.application_id));
  database.exec(absl::StrCat("PRAGMA user_version = ", format.newest()));
  database.exec("COMMIT");
}

absl::StatusCode CodeOf(int sqlite_code) {
  switch (sqlite_code) {
    case SQLITE_FULL:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_PROTOCOL:
    case SQLITE_NOMEM:
      return absl::StatusCode::kUnavailable;
    case SQLITE_CONSTRAINT:
      return absl::StatusCode::kAlreadyExists;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::string_view ReasonOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kResourceExhausted:
      return "STORAGE_FULL";
    case absl::StatusCode::kDataLoss:
      return "DB_CORRUPT";
    case absl::StatusCode::kUnavailable:
      return "BACKEND_DOWN";
    default:
      return "";
  }
}

}  // namespace

absl::Status SqliteStatus(absl::string_view what, const SQLite::Exception& error) {
  const int extended = error.getExtendedErrorCode();
  if (extended == SQLITE_IOERR_FSYNC || extended == SQLITE_IOERR_DIR_FSYNC) ExitAfterFailedSync(what, error.what());
  const absl::StatusCode code = CodeOf(error.getErrorCode() & 0xff);
  const bool full = code == absl::StatusCode::kResourceExhausted;
  absl::Status status(code, absl::StrCat(what, full ? ": the server's disk is full: " : ": ", error.what()));
  const absl::string_view reason = ReasonOf(code);
  return reason.empty() ? status : core::WithReason(std::move(status), reason);
}

absl::Status FailedForNow(absl::string_view what, const std::exception& error) {
  return core::WithReason(absl::UnavailableError(absl::StrCat(what, ": ", error.what())), "BACKEND_DOWN");
}

void BindBlob(SQLite::Statement& statement, int index, const std::string& bytes) {
  statement.bindNoCopy(index, static_cast<const void*>(bytes.data()), static_cast<int>(bytes.size()));
}

absl::Status ParseColumn(const SQLite::Column& column, google::protobuf::Message* message) {
  // An empty blob is a null pointer, which the parser takes with length 0.
  const void* const bytes = column.getBlob();
  if (message->ParseFromArray(bytes, column.getBytes())) return absl::OkStatus();
  return core::WithReason(
      absl::DataLossError(absl::StrCat("a stored ", message->GetDescriptor()->name(), " cannot be read")),
      "DB_CORRUPT");
}

int64_t ReadPragma(SQLite::Database& database, const std::string& name) {
  return database.execAndGet(absl::StrCat("PRAGMA ", name)).getInt64();
}

WriterConnection::WriterConnection(SQLite::Database database) : database_(std::move(database)) {
  const auto remember = [](void* pages, sqlite3*, const char*, int count) {
    *static_cast<int*>(pages) = count;
    return SQLITE_OK;
  };
  // Replaces SQLite's own checkpoint after a commit, which would swallow a failed sync.
  sqlite3_wal_hook(database_.getHandle(), remember, &wal_pages_);
}

absl::StatusOr<std::unique_ptr<WriterConnection>> WriterConnection::Open(const std::string& path,
                                                                         const DatabaseFormat& format) {
  using Result = absl::StatusOr<std::unique_ptr<WriterConnection>>;
  absl::Status place = CheckFiles(path);
  if (absl::IsNotFound(place)) place = MakeFile(path);
  if (!place.ok()) return place;
  const bool check = MustCheck(path, format);
  return CatchSqlite("open the database", [&]() -> Result {
    SQLite::Database database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_NOMUTEX, kBusyTimeoutMs);
    database.exec("PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON");
    GW_ASSIGN_OR_RETURN(const int64_t version, ReadVersion(database, format));
    if (check) GW_RETURN_IF_ERROR(QuickCheck(database));
    database.exec("PRAGMA journal_mode = WAL");
    database.exec(absl::StrCat("PRAGMA synchronous = ", format.synchronous));
    Migrate(database, format, version);
    if (version == 0) SyncFolderOf(path);
    return std::unique_ptr<WriterConnection>(new WriterConnection(std::move(database)));
  });
}

absl::StatusOr<bool> WriterConnection::Checkpoint() {
  return CatchSqlite("checkpoint the database", [&]() -> absl::StatusOr<bool> {
    int frames = 0, moved = 0;
    const int code =
        sqlite3_wal_checkpoint_v2(database_.getHandle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, &frames, &moved);
    wal_pages_ = 0;
    if (code == SQLITE_BUSY) return false;  // another program is at it
    database_.check(code);
    return moved == frames;
  });
}

absl::StatusOr<std::unique_ptr<SQLite::Database>> OpenReader(const std::string& path, const DatabaseFormat& format) {
  using Result = absl::StatusOr<std::unique_ptr<SQLite::Database>>;
  GW_RETURN_IF_ERROR(CheckFiles(path));
  return CatchSqlite("open the database for reading", [&]() -> Result {
    auto database =
        std::make_unique<SQLite::Database>(path, SQLite::OPEN_READONLY | SQLite::OPEN_NOMUTEX, kBusyTimeoutMs);
    database->exec("PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON; PRAGMA wal_autocheckpoint = 0");
    GW_ASSIGN_OR_RETURN(const int64_t version, ReadVersion(*database, format));
    if (version == 0) return absl::NotFoundError("the database is empty");
    if (version != format.newest()) return NotOurs("is of an older version");
    return database;
  });
}

}  // namespace gradwatch::server
