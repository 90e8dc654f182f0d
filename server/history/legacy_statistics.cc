#include "server/history/legacy_statistics.h"

#include <SQLiteCpp/Column.h>
#include <SQLiteCpp/Statement.h>
#include <spdlog/spdlog.h>
#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "core/base/status_macros.h"
#include "server/base/data_folder.h"
#include "server/history/history_rows.h"

namespace gradwatch::server {
namespace {

namespace fs = std::filesystem;

// Of one append.
constexpr size_t kAppendBytes = size_t{1} << 20;

const DatabaseFormat& LegacyFormat() {
  static const auto* const format = new DatabaseFormat{
      .application_id = 0x67775331,  // "gwS1"
      .synchronous = "NORMAL",
      .check_up_to = 0,
      .oldest = 2,
      .migrations = {""},
  };
  return *format;
}

int64_t Checksum(int64_t start, absl::string_view bytes) {
  if (bytes.empty()) return start;  // zlib takes a null pointer for a new beginning
  return static_cast<int64_t>(
      crc32_z(static_cast<uLong>(start), reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

struct LegacyKey {
  int32_t attempt = 0;
  int64_t first_step = 0, last_step = 0, previous_step = -1;
  int64_t checksum = 0;
};

std::optional<LegacyKey> ReadKey(SQLite::Statement& row) {
  LegacyKey key{row.getColumn(0).getInt(), row.getColumn(1).getInt64(), row.getColumn(2).getInt64(),
                row.getColumn(3).getInt64(), row.getColumn(4).getInt64()};
  if (key.checksum != LegacyKeyChecksum(key.attempt, key.first_step, key.last_step, key.previous_step)) {
    return std::nullopt;
  }
  return key;
}

std::vector<EncodedReport> ReadEntries(SQLite::Statement& row, const LegacyKey& key) {
  const SQLite::Column blob = row.getColumn(6);
  const absl::string_view bytes(static_cast<const char*>(blob.getBlob()), static_cast<size_t>(blob.getBytes()));
  if (LegacyChecksum(key.checksum, bytes) == row.getColumn(5).getInt64()) {
    auto entries = SplitReports(key.attempt, bytes);
    if (entries.ok()) return *std::move(entries);
  }
  return {EncodeLost(key.attempt, key.first_step, key.last_step, kDamagedReason)};
}

// Moves one database after the other.
class Mover {
 public:
  Mover(std::string folder, StatisticsStore* store, absl::FunctionRef<bool()> is_stopped)
      : folder_(std::move(folder)), store_(*store), is_stopped_(is_stopped) {}

  absl::Status Move() {
    const std::vector<std::string> uids = OldestFirst();
    if (!uids.empty()) spdlog::info("the statistics of {} jobs are moved into the new store", uids.size());
    for (size_t i = 0; i < uids.size(); ++i) {
      GW_RETURN_IF_ERROR(MoveJob(uids[i]));
      spdlog::info("statistics of job {} are moved ({} of {})", uids[i], i + 1, uids.size());
    }
    std::error_code ignored;  // it may hold what was set aside
    fs::remove(folder_, ignored);
    return absl::OkStatus();
  }

 private:
  // So that retention drops the oldest first.
  std::vector<std::string> OldestFirst() const {
    std::vector<std::pair<fs::file_time_type, std::string>> files;
    std::error_code error;
    for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
      const std::string uid = it->path().stem();
      if (it->path().extension() != ".db" || !CheckUid(uid).ok()) continue;
      std::error_code ignored;
      files.emplace_back(it->last_write_time(ignored), uid);
    }
    std::sort(files.begin(), files.end());
    std::vector<std::string> uids;
    for (auto& [time, uid] : files) uids.push_back(std::move(uid));
    return uids;
  }

  absl::Status MoveJob(const std::string& uid) {
    const std::string path = absl::StrCat(folder_, "/", uid, ".db");
    absl::Status of_store;  // what the database itself cannot give is its own trouble
    const absl::Status status = Copy(uid, path, &of_store);
    GW_RETURN_IF_ERROR(of_store);
    if (absl::IsUnavailable(status) || absl::IsResourceExhausted(status)) {
      spdlog::error("statistics of job {} stay where they are: {}", uid, status.ToString());
      return absl::OkStatus();
    }
    if (!status.ok()) spdlog::error("statistics of job {} are set aside: {}", uid, status.ToString());
    // What was moved is durable first.
    GW_RETURN_IF_ERROR(Settle());
    for (const char* suffix : kFileSuffixes) {
      std::error_code ignored;
      if (status.ok()) {
        fs::remove(path + suffix, ignored);
      } else {
        fs::remove_all(path + ".damaged" + suffix, ignored);
        fs::rename(path + suffix, path + ".damaged" + suffix, ignored);
      }
    }
    return SyncFolder(folder_);
  }

  absl::Status Copy(const std::string& uid, const std::string& path, absl::Status* of_store) {
    absl::StatusOr<std::unique_ptr<LegacyStatistics>> legacy = LegacyStatistics::Open(path);
    if (absl::IsNotFound(legacy.status())) return absl::OkStatus();  // nobody has written to it
    GW_RETURN_IF_ERROR(legacy.status());
    std::vector<EncodedReport> waiting;
    size_t bytes = 0;
    const auto flush = [&] {
      bytes = 0;
      *of_store = waiting.empty() ? absl::OkStatus() : Append(uid, std::exchange(waiting, {}));
      return *of_store;
    };
    const auto add = [&](std::vector<EncodedReport> batch) -> absl::Status {
      const bool is_of_another = !waiting.empty() && waiting.front().attempt != batch.front().attempt;
      if (is_of_another || bytes >= kAppendBytes) GW_RETURN_IF_ERROR(flush());
      for (const EncodedReport& entry : batch) bytes += entry.bytes->size();
      std::move(batch.begin(), batch.end(), std::back_inserter(waiting));
      return absl::OkStatus();
    };
    bool passed_over = false;
    const absl::Status status = (*legacy)->ForEachBatch(add, &passed_over);
    GW_RETURN_IF_ERROR(*of_store);
    GW_RETURN_IF_ERROR(flush());
    if (passed_over) spdlog::error("statistics of job {}: a part of what was stored is damaged", uid);
    return status;
  }

  absl::Status Append(const std::string& uid, std::vector<EncodedReport> entries) {
    if (is_stopped_()) return absl::CancelledError("the server ends");
    absl::Notification over;
    absl::Status result;
    store_.Append(uid, std::move(entries), [&](const absl::Status& status, auto) {
      result = status;
      over.Notify();
    });
    over.WaitForNotification();
    return result;
  }

  absl::Status Settle() {
    absl::Notification over;
    absl::Status result;
    store_.Settle([&](const absl::Status& status) {
      result = status;
      over.Notify();
    });
    over.WaitForNotification();
    return result;
  }

  const std::string folder_;
  StatisticsStore& store_;
  const absl::FunctionRef<bool()> is_stopped_;
};

}  // namespace

int64_t LegacyKeyChecksum(int32_t attempt, int64_t first_step, int64_t last_step, int64_t previous_step) {
  return Checksum(0, absl::StrCat(attempt, "/", first_step, "/", last_step, "/", previous_step, "/"));
}

int64_t LegacyChecksum(int64_t key_checksum, absl::string_view reports) { return Checksum(key_checksum, reports); }

absl::StatusOr<std::unique_ptr<LegacyStatistics>> LegacyStatistics::Open(const std::string& path) {
  GW_ASSIGN_OR_RETURN(auto database, OpenReader(path, LegacyFormat()));
  return CatchSqlite("open the statistics", [&]() -> absl::StatusOr<std::unique_ptr<LegacyStatistics>> {
    return std::make_unique<LegacyStatistics>(std::move(database));
  });
}

LegacyStatistics::LegacyStatistics(std::unique_ptr<SQLite::Database> database)
    : database_(std::move(database)),
      all_(*database_,
           "SELECT attempt, first_step, last_step, previous_step, key_crc, crc, reports FROM batches "
           "ORDER BY attempt, last_step") {}

absl::Status LegacyStatistics::ForEachBatch(absl::FunctionRef<absl::Status(std::vector<EncodedReport>)> each,
                                            bool* passed_over) {
  return CatchSqlite("read statistics", [&]() -> absl::Status {
    StatementUse use(all_);
    int32_t attempt = 0;
    int64_t last_step = -1;
    while (use->executeStep()) {
      const std::optional<LegacyKey> key = ReadKey(all_);
      *passed_over = *passed_over || !key.has_value();
      if (!key.has_value()) continue;
      if (std::exchange(attempt, key->attempt) != key->attempt) last_step = -1;
      if (key->last_step <= last_step) continue;  // a page that SQLite comes by twice
      std::vector<EncodedReport> batch;
      if (key->previous_step > last_step && key->previous_step < key->first_step) {
        batch.push_back(EncodeLost(attempt, last_step + 1, key->previous_step, kDamagedReason));
      }
      for (EncodedReport& entry : ReadEntries(all_, *key)) {
        if (entry.step > last_step) batch.push_back(std::move(entry));
      }
      last_step = key->last_step;
      if (!batch.empty()) GW_RETURN_IF_ERROR(each(std::move(batch)));
    }
    return absl::OkStatus();
  });
}

absl::Status MoveLegacyStatistics(const std::string& folder, StatisticsStore* store,
                                  absl::FunctionRef<bool()> is_stopped) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) return absl::OkStatus();
  return Mover(folder, store, is_stopped).Move();
}

}  // namespace gradwatch::server
