#include "server/store/sqlite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <new>

#include "core/base/error.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::HasSubstr;

DatabaseFormat FormatOf(int64_t check_up_to) {
  return {.application_id = 7,
          .synchronous = "FULL",
          .check_up_to = check_up_to,
          .oldest = 2,
          .migrations = {"CREATE TABLE t (x BLOB)"}};
}

// Makes a database of some 400 KiB, and damages the start of its last page.
std::string MakeDamaged(const TempDir& dir, const DatabaseFormat& format) {
  const std::string path = dir.File("t.db");
  {
    auto connection = WriterConnection::Open(path, format);
    EXPECT_THAT(connection, IsOk());
    for (int i = 0; i < 200; ++i) (*connection)->database().exec("INSERT INTO t VALUES (randomblob(2000))");
  }
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(path)) - 4096);
  file << std::string(8, '\x5a');
  return path;
}

TEST(WriterConnectionTest, LooksForDamageInWhatIsSmall) {
  const TempDir dir;
  const std::string path = MakeDamaged(dir, FormatOf(1 << 20));
  EXPECT_THAT(WriterConnection::Open(path, FormatOf(1 << 20)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("damaged")));
}

TEST(WriterConnectionTest, LooksForDamageInWhatIsLargeAfterADisorderlyEnd) {
  const TempDir dir;
  const std::string path = MakeDamaged(dir, FormatOf(1000));
  EXPECT_THAT(WriterConnection::Open(path, FormatOf(1000)), IsOk());
  dir.Write("t.db-wal", "");
  EXPECT_THAT(WriterConnection::Open(path, FormatOf(1000)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("damaged")));
}

// What may be different in a moment says nothing about the file: only damage may have it set aside.
TEST(SqliteStatusTest, OnlyDamageIsLoss) {
  const struct {
    int code;
    absl::StatusCode expected;
  } kCases[] = {
      {SQLITE_CORRUPT, absl::StatusCode::kDataLoss},          {SQLITE_NOTADB, absl::StatusCode::kDataLoss},
      {SQLITE_FULL, absl::StatusCode::kResourceExhausted},    {SQLITE_NOMEM, absl::StatusCode::kUnavailable},
      {SQLITE_IOERR, absl::StatusCode::kUnavailable},         {SQLITE_IOERR_READ, absl::StatusCode::kUnavailable},
      {SQLITE_IOERR_WRITE, absl::StatusCode::kUnavailable},   {SQLITE_IOERR_NOMEM, absl::StatusCode::kUnavailable},
      {SQLITE_IOERR_SHMOPEN, absl::StatusCode::kUnavailable}, {SQLITE_CANTOPEN, absl::StatusCode::kUnavailable},
      {SQLITE_BUSY, absl::StatusCode::kUnavailable},          {SQLITE_READONLY, absl::StatusCode::kUnavailable},
  };
  for (const auto& test_case : kCases) {
    const absl::Status status =
        CatchSqlite("try", [&]() -> absl::Status { throw SQLite::Exception("it failed", test_case.code); });
    EXPECT_THAT(status, StatusIs(test_case.expected, HasSubstr("it failed"))) << test_case.code;
    EXPECT_NE(core::GetReason(status), "") << test_case.code;
  }
}

TEST(SqliteStatusTest, MemoryThatCannotBeHadIsNoLoss) {
  const absl::Status status = CatchSqlite("read statistics", []() -> absl::Status { throw std::bad_alloc(); });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("read statistics")));
  EXPECT_EQ(core::GetReason(status), "BACKEND_DOWN");
}

TEST(WriterConnectionTest, AMigrationLeadsFromEachVersionThatIsRead) {
  const TempDir dir;
  const std::string path = dir.File("t.db");
  DatabaseFormat format = FormatOf(1 << 20);
  ASSERT_THAT(WriterConnection::Open(path, format), IsOk());
  format.migrations.push_back("CREATE TABLE u (y)");
  format.migrations.push_back("CREATE TABLE v (z)");
  EXPECT_THAT(OpenReader(path, format), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("older version")));
  for (int life = 0; life < 2; ++life) {
    auto connection = WriterConnection::Open(path, format);
    ASSERT_THAT(connection, IsOk());
    EXPECT_EQ(ReadPragma((*connection)->database(), "user_version"), 4);
    EXPECT_EQ((*connection)->database().execAndGet("SELECT count(*) FROM sqlite_schema").getInt(), 3);
  }
  EXPECT_THAT(OpenReader(path, format), IsOk());
  EXPECT_THAT(WriterConnection::Open(dir.File("new.db"), format), IsOk());
}

}  // namespace
}  // namespace gradwatch::server
