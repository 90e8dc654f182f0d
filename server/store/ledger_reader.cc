#include <iterator>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/store/ledger.h"
#include "server/store/main_format.h"
#include "server/store/reader_pool.h"
#include "server/store/sqlite.h"

namespace gradwatch::server {
namespace {

// As many as threads read at once in practice: dispatchers and the workers of calls.
constexpr size_t kMaxIdleReaders = 8;

// Alerts that are looked at for one page, of which only those of some rules are listed.
constexpr int64_t kMostRows = 10'000;

// ?3 is a set of states as bits, 0 for all. The state 0 is that of alerts which went away without having fired.
constexpr char kListAlerts[] = R"sql(
SELECT position, alert FROM alerts
WHERE position < ?1 AND severity >= ?2 AND ((?3 = 0 AND state > 0) OR (?3 >> state) & 1)
ORDER BY position DESC LIMIT ?4)sql";
constexpr char kListAlertsOfJob[] = R"sql(
SELECT position, alert FROM alerts
WHERE position < ?1 AND severity >= ?2 AND ((?3 = 0 AND state > 0) OR (?3 >> state) & 1) AND job_id = ?5
ORDER BY position DESC LIMIT ?4)sql";

// A reading connection with its statements.
struct MainReader {
  explicit MainReader(std::unique_ptr<SQLite::Database> opened)
      : database(std::move(opened)),
        events(*database, "SELECT position, event FROM events WHERE uid = ?1 AND number > ?2 ORDER BY number LIMIT ?3"),
        all_events(*database, "SELECT position, event FROM events WHERE position > ?1 ORDER BY position LIMIT ?2"),
        alert_events(*database,
                     "SELECT position, event FROM events WHERE kind = 9 AND position > ?1 ORDER BY position LIMIT ?2"),
        alert_events_of_job(*database,
                            "SELECT position, event FROM events WHERE kind = 9 AND position > ?1 AND job_id = ?3 "
                            "ORDER BY position LIMIT ?2"),
        // AUTOINCREMENT's own memory: the newest events may be gone with their job.
        last_position(*database, "SELECT seq FROM sqlite_sequence WHERE name = 'events'"),
        list_alerts(*database, kListAlerts),
        list_alerts_of_job(*database, kListAlertsOfJob),
        get_alert(*database, "SELECT alert FROM alerts WHERE alert_id = ?1") {}

  static absl::StatusOr<std::unique_ptr<MainReader>> Open(const std::string& path) {
    GW_ASSIGN_OR_RETURN(auto database, OpenReader(path, MainFormat()));
    return CatchSqlite("open the database for reading", [&]() -> absl::StatusOr<std::unique_ptr<MainReader>> {
      return std::make_unique<MainReader>(std::move(database));
    });
  }

  std::unique_ptr<SQLite::Database> database;
  SQLite::Statement events, all_events, alert_events, alert_events_of_job, last_position;
  SQLite::Statement list_alerts, list_alerts_of_job, get_alert;
};

absl::StatusOr<std::vector<LedgerReader::StoredEvent>> ReadRows(StatementUse& use, size_t max_bytes) {
  std::vector<LedgerReader::StoredEvent> events;
  size_t bytes = 0;
  while ((events.empty() || bytes < max_bytes) && use->executeStep()) {
    LedgerReader::StoredEvent& stored = events.emplace_back();
    stored.position = use->getColumn(0).getInt64();
    GW_RETURN_IF_ERROR(ParseColumn(use->getColumn(1), &stored.event));
    bytes += static_cast<size_t>(use->getColumn(1).getBytes());
  }
  return events;
}

// A set as bits; 0: every state.
int64_t StateBits(const std::vector<v1::AlertState>& states) {
  int64_t bits = 0;
  for (const v1::AlertState state : states) {
    if (state >= 0 && state < 63) bits |= int64_t{1} << state;
  }
  return bits;
}

class SqliteLedgerReader final : public LedgerReader {
 public:
  explicit SqliteLedgerReader(std::string path) : path_(std::move(path)), pool_(kMaxIdleReaders) {}

  absl::StatusOr<std::vector<StoredEvent>> ReadEvents(absl::string_view uid, int64_t after, int limit,
                                                      size_t max_bytes) override {
    return Read("read events", [&](MainReader& reader) -> absl::StatusOr<std::vector<StoredEvent>> {
      StatementUse use(reader.events);
      use->bind(1, std::string(uid));
      use->bind(2, after);
      use->bind(3, limit);
      return ReadRows(use, max_bytes);
    });
  }

  absl::StatusOr<std::vector<StoredEvent>> ReadAllEvents(int64_t after, int limit, size_t max_bytes) override {
    return Read("read all events", [&](MainReader& reader) -> absl::StatusOr<std::vector<StoredEvent>> {
      StatementUse use(reader.all_events);
      use->bind(1, after);
      use->bind(2, limit);
      return ReadRows(use, max_bytes);
    });
  }

  absl::StatusOr<std::vector<StoredEvent>> ReadAlertEvents(absl::string_view job_id, int64_t after, int limit,
                                                           size_t max_bytes) override {
    return Read("read alert events", [&](MainReader& reader) -> absl::StatusOr<std::vector<StoredEvent>> {
      StatementUse use(job_id.empty() ? reader.alert_events : reader.alert_events_of_job);
      use->bind(1, after);
      use->bind(2, limit);
      if (!job_id.empty()) use->bind(3, std::string(job_id));
      return ReadRows(use, max_bytes);
    });
  }

  absl::StatusOr<int64_t> LastPosition() override {
    return Read("read the last position", [&](MainReader& reader) -> absl::StatusOr<int64_t> {
      StatementUse use(reader.last_position);
      return use->executeStep() ? use->getColumn(0).getInt64() : 0;
    });
  }

  absl::StatusOr<AlertPage> ListAlerts(const AlertFilter& filter) override {
    return Read("list alerts", [&](MainReader& reader) -> absl::StatusOr<AlertPage> {
      StatementUse use(filter.job_id.empty() ? reader.list_alerts : reader.list_alerts_of_job);
      use->bind(1, filter.before > 0 ? filter.before : INT64_MAX);
      use->bind(2, static_cast<int32_t>(filter.min_severity));
      use->bind(3, StateBits(filter.states));
      use->bind(4, filter.rules.empty() ? int64_t{filter.limit} + 1 : -1);
      if (!filter.job_id.empty()) use->bind(5, filter.job_id);
      AlertPage page;
      size_t bytes = 0;
      for (int64_t rows = 0; use->executeStep(); ++rows) {
        StoredAlert stored;
        stored.position = use->getColumn(0).getInt64();
        GW_RETURN_IF_ERROR(ParseColumn(use->getColumn(1), &stored.alert));
        page.more = std::ssize(page.alerts) >= filter.limit || (!page.alerts.empty() && bytes >= filter.max_bytes) ||
                    rows == kMostRows;
        if (page.more) break;
        page.last = stored.position;
        if (!filter.rules.empty() && !absl::c_linear_search(filter.rules, stored.alert.rule())) continue;
        page.alerts.push_back(std::move(stored));
        bytes += static_cast<size_t>(use->getColumn(1).getBytes());
      }
      return page;
    });
  }

  absl::StatusOr<v1::Alert> GetAlert(absl::string_view alert_id) override {
    GW_ASSIGN_OR_RETURN(std::optional<v1::Alert> alert,
                        Read("get an alert", [&](MainReader& reader) -> absl::StatusOr<std::optional<v1::Alert>> {
                          StatementUse use(reader.get_alert);
                          use->bind(1, std::string(alert_id));
                          if (!use->executeStep()) return std::nullopt;
                          v1::Alert found;
                          GW_RETURN_IF_ERROR(ParseColumn(use->getColumn(0), &found));
                          return found;
                        }));
    if (alert.has_value()) return *std::move(alert);
    return core::WithReason(absl::NotFoundError(absl::StrCat("no alert \"", alert_id, "\"")), "ALERT_NOT_FOUND");
  }

 private:
  // Runs `body` with a reader of our own.
  template <typename Body>
  auto Read(absl::string_view what, Body body) -> decltype(body(std::declval<MainReader&>())) {
    return pool_.Use(
        "", [&] { return MainReader::Open(path_); },
        [&](MainReader& reader) { return CatchSqlite(what, [&] { return body(reader); }); });
  }

  const std::string path_;
  ReaderPool<MainReader> pool_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LedgerReader>> LedgerReader::Open(const std::string& path) {
  auto reader = std::make_unique<SqliteLedgerReader>(path);
  GW_RETURN_IF_ERROR(reader->LastPosition().status());  // tells now what is wrong with the file
  return reader;
}

}  // namespace gradwatch::server
