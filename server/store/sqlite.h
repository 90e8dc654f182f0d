// SQLite as the stores use it: opened by fixed rules, errors as statuses, one writing connection a database.
//
// Of all connections to a database only the writer changes it and moves the write-ahead log into the file (a
// checkpoint): SQLite before 3.51.3 can damage a file when two connections do that at once.
#ifndef GRADWATCH_SERVER_STORE_SQLITE_H_
#define GRADWATCH_SERVER_STORE_SQLITE_H_

#include <SQLiteCpp/Column.h>
#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Exception.h>
#include <SQLiteCpp/Statement.h>
#include <google/protobuf/message.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwatch::server {

// Exit code of the process when a sync has failed. The kernel may have thrown the data away, and another sync would
// then seem to succeed; only a restart reads what is really there.
inline constexpr int kExitSyncFailed = 70;

// What the files of a database have behind its path.
inline constexpr const char* kFileSuffixes[] = {"", "-wal", "-shm"};

// `what` says what was tried. RESOURCE_EXHAUSTED (reason STORAGE_FULL), DATA_LOSS (reason DB_CORRUPT), UNAVAILABLE
// (reason BACKEND_DOWN: locked, unreadable, I/O error, no memory), ALREADY_EXISTS (a constraint), INTERNAL (anything
// else). Does not return after a failed sync: it logs and ends the process with kExitSyncFailed.
absl::Status SqliteStatus(absl::string_view what, const SQLite::Exception& error);
// The same for what is not SQLite's doing, mostly memory that could not be had: UNAVAILABLE (reason BACKEND_DOWN). It
// says nothing about the database.
absl::Status FailedForNow(absl::string_view what, const std::exception& error);

// Runs `body`, which returns a Status or StatusOr and may throw as SQLiteCpp does; no exception leaves.
template <typename Body>
auto CatchSqlite(absl::string_view what, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const SQLite::Exception& error) {
    return SqliteStatus(what, error);
  } catch (const std::exception& error) {
    return FailedForNow(what, error);
  }
}

// Makes a kept statement ready for its next use when the scope ends, so that it holds no lock.
class StatementUse {
 public:
  explicit StatementUse(SQLite::Statement& statement) : statement_(statement) {}
  ~StatementUse() { statement_.tryReset(); }
  StatementUse(const StatementUse&) = delete;
  StatementUse& operator=(const StatementUse&) = delete;
  SQLite::Statement* operator->() { return &statement_; }

 private:
  SQLite::Statement& statement_;
};

// Binds `bytes` as a blob without a copy; they live until the statement is reset.
void BindBlob(SQLite::Statement& statement, int index, const std::string& bytes);

// The message in a blob. DATA_LOSS (reason DB_CORRUPT): it is none.
absl::Status ParseColumn(const SQLite::Column& column, google::protobuf::Message* message);

// What a database of ours looks like.
struct DatabaseFormat {
  int32_t application_id;   // in the file's header
  const char* synchronous;  // FULL or NORMAL
  int64_t check_up_to;      // see WriterConnection::Open; in bytes, 0: never
  int64_t oldest;           // the version that can still be migrated; older ones are refused
  std::vector<const char*>
      migrations;  // [0] makes the tables of `oldest`, [i] leads from version oldest + i - 1 to the next

  int64_t newest() const { return oldest + static_cast<int64_t>(migrations.size()) - 1; }
};

// The connection that writes. Not thread-safe.
class WriterConnection {
 public:
  // Opens or makes the database and brings it to the newest version; its files are private to the user. Looks for
  // damage by quick_check, which reads the whole file, if that has up to check_up_to bytes or was not closed in an
  // orderly way, so that a large one opens fast when nothing has happened. DATA_LOSS:
  // damaged; FAILED_PRECONDITION: of another program or of a version that this one cannot read, nothing was changed;
  // PERMISSION_DENIED: what is there is no file, or none that may be read; UNAVAILABLE: it cannot be opened now.
  static absl::StatusOr<std::unique_ptr<WriterConnection>> Open(const std::string& path, const DatabaseFormat& format);

  SQLite::Database& database() { return database_; }
  // Pages in the write-ahead log after the last commit.
  int wal_pages() const { return wal_pages_; }
  // Moves the write-ahead log into the file and syncs it, as far as readers allow; whether that was all of it.
  absl::StatusOr<bool> Checkpoint();

 private:
  explicit WriterConnection(SQLite::Database database);

  SQLite::Database database_;
  int wal_pages_ = 0;
};

// Opens a connection that only reads. NOT_FOUND: there is no database, or nobody has written to it; other errors as
// WriterConnection::Open.
absl::StatusOr<std::unique_ptr<SQLite::Database>> OpenReader(const std::string& path, const DatabaseFormat& format);

// The number that a PRAGMA of this name gives. Throws as SQLiteCpp does.
int64_t ReadPragma(SQLite::Database& database, const std::string& name);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STORE_SQLITE_H_
