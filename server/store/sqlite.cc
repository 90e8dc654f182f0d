#include "server/store/sqlite.h"

#include <spdlog/spdlog.h>
#include <sqlite3.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"

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
  const auto newest = static_cast<int64_t>(format.migrations.size());
  if (version > newest) {
    return NotOurs(absl::StrCat("has version ", version, ", made by a newer gradwatch; this one knows ", newest));
  }
  return version;
}

absl::Status QuickCheck(SQLite::Database& database) {
  const std::string verdict = database.execAndGet("PRAGMA quick_check(1)").getString();
  if (verdict == "ok") return absl::OkStatus();
  return core::WithReason(absl::DataLossError(absl::StrCat("the database is damaged: ", verdict)), "DB_CORRUPT");
}

// All steps in one transaction: after a crash the database has the old version or the new one.
void Migrate(SQLite::Database& database, const DatabaseFormat& format, int64_t version) {
  const auto newest = static_cast<int64_t>(format.migrations.size());
  if (version == newest) return;
  database.exec("BEGIN IMMEDIATE");
  for (int64_t step = version; step < newest; ++step) database.exec(format.migrations[step]);
  database.exec(absl::StrCat("PRAGMA application_id = ", format.application_id));
  database.exec(absl::StrCat("PRAGMA user_version = ", newest));
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

void BindBlob(SQLite::Statement& statement, int index, const std::string& bytes) {
  statement.bindNoCopy(index, static_cast<const void*>(bytes.data()), static_cast<int>(bytes.size()));
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
  return CatchSqlite("open the database", [&]() -> Result {
    SQLite::Database database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE | SQLite::OPEN_NOMUTEX,
                              kBusyTimeoutMs);
    database.exec("PRAGMA mmap_size = 0");
    GW_ASSIGN_OR_RETURN(const int64_t version, ReadVersion(database, format));
    if (format.check_at_open) GW_RETURN_IF_ERROR(QuickCheck(database));
    database.exec("PRAGMA journal_mode = WAL");
    database.exec(absl::StrCat("PRAGMA synchronous = ", format.synchronous));
    Migrate(database, format, version);
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
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return absl::NotFoundError("there is no such database");
  return CatchSqlite("open the database for reading", [&]() -> Result {
    auto database =
        std::make_unique<SQLite::Database>(path, SQLite::OPEN_READONLY | SQLite::OPEN_NOMUTEX, kBusyTimeoutMs);
    database->exec("PRAGMA mmap_size = 0; PRAGMA wal_autocheckpoint = 0");
    GW_ASSIGN_OR_RETURN(const int64_t version, ReadVersion(*database, format));
    if (version == 0) return absl::NotFoundError("the database is empty");
    if (version != static_cast<int64_t>(format.migrations.size())) return NotOurs("is of an older version");
    return database;
  });
}

}  // namespace gradwatch::server
