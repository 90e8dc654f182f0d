#include "server/store/ledger_transaction.h"

#include <sqlite3.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "core/detect/episode.h"

namespace gradwatch::server {
namespace {

constexpr absl::Duration kRequestLifetime = absl::Hours(24);

constexpr char kPutJob[] = R"sql(
INSERT INTO jobs (uid, job_id, attach_token, handle, trainer_id, acked_notice, epoch, job)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (uid) DO UPDATE SET job_id = ?2, attach_token = ?3, handle = ?4, trainer_id = ?5, acked_notice = ?6,
                                epoch = ?7, job = ?8)sql";
// Writes nothing unless the number is the next one.
constexpr char kAppendEvent[] = R"sql(
INSERT INTO events (uid, number, job_id, kind, event)
SELECT ?1, ?2, ?3, ?4, ?5 WHERE ?2 = (SELECT coalesce(max(number), 0) + 1 FROM events WHERE uid = ?1))sql";
// The position stays that of the alert's first event. One that has gone away (?8) without having fired (2) has the
// state 0 in its column, also when it is written again: lists leave it out.
constexpr char kPutAlert[] = R"sql(
INSERT INTO alerts (position, alert_id, uid, job_id, state, severity, alert) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (alert_id) DO UPDATE
SET state = CASE WHEN ?8 AND state < 2 THEN 0 ELSE ?5 END, severity = ?6, alert = ?7 WHERE uid = ?3)sql";
constexpr char kPutSilence[] = R"sql(
INSERT INTO silences (silence_id, end_millis, silence) VALUES (?1, ?2, ?3)
ON CONFLICT (silence_id) DO UPDATE SET end_millis = ?2, silence = ?3)sql";

}  // namespace

SqliteTransaction::SqliteTransaction(SQLite::Database* database, const core::Clock* clock)
    : database_(database),
      clock_(clock),
      begin_(*database, "BEGIN IMMEDIATE"),
      commit_(*database, "COMMIT"),
      rollback_(*database, "ROLLBACK"),
      savepoint_(*database, "SAVEPOINT operation"),
      release_(*database, "RELEASE operation"),
      rollback_to_(*database, "ROLLBACK TO operation"),
      put_job_(*database, kPutJob),
      delete_job_(*database, "DELETE FROM jobs WHERE uid = ?1"),
      delete_events_(*database, "DELETE FROM events WHERE uid = ?1"),
      delete_alerts_(*database, "DELETE FROM alerts WHERE uid = ?1"),
      put_removal_(*database, "INSERT INTO removals (uid, attempts) VALUES (?1, ?2)"),
      delete_removal_(*database, "DELETE FROM removals WHERE uid = ?1"),
      append_event_(*database, kAppendEvent),
      put_alert_(*database, kPutAlert),
      find_request_(*database, "SELECT digest, response FROM requests WHERE request_id = ?1 AND create_millis > ?2"),
      put_request_(*database,
                   "INSERT INTO requests (request_id, digest, response, create_millis) VALUES (?1, ?2, ?3, ?4)"),
      prune_requests_(*database, "DELETE FROM requests WHERE create_millis <= ?1"),
      find_alert_(*database, "SELECT uid, alert FROM alerts WHERE alert_id = ?1"),
      put_silence_(*database, kPutSilence),
      delete_silence_(*database, "DELETE FROM silences WHERE silence_id = ?1"),
      prune_silences_(*database, "DELETE FROM silences WHERE end_millis <= ?1") {}

template <typename Body>
auto SqliteTransaction::Do(absl::string_view what, Body body) -> decltype(body()) {
  if (!group_.ok()) return group_;
  auto result = CatchSqlite(what, std::move(body));
  if constexpr (std::is_same_v<decltype(result), absl::Status>) {
    if (!result.ok()) last_error_ = result;
  } else {
    if (!result.ok()) last_error_ = result.status();
  }
  return result;
}

absl::Status SqliteTransaction::DoStatement(absl::string_view what, SQLite::Statement& statement) {
  return Do(what, [&]() -> absl::Status {
    StatementUse use(statement);
    use->exec();
    return absl::OkStatus();
  });
}

template <typename Value>
void SqliteTransaction::Run(SQLite::Statement& statement, const Value& value) {
  StatementUse use(statement);
  use->bind(1, value);
  use->exec();
}

bool SqliteTransaction::TransactionIsGone() const { return sqlite3_get_autocommit(database_->getHandle()) != 0; }

void SqliteTransaction::Begin() {
  group_ = absl::OkStatus();
  last_error_ = absl::OkStatus();
  callbacks_.clear();
  group_ = DoStatement("begin a transaction", begin_);
}

void SqliteTransaction::Execute(Ledger::Operation& operation) {
  const size_t first_callback = callbacks_.size();
  if (group_.ok()) group_ = DoStatement("begin an operation", savepoint_);
  // An operation runs also when the group has failed: its calls then say so, and so do its callbacks.
  const absl::Status status = operation(*this);
  for (size_t i = first_callback; i < callbacks_.size(); ++i) callbacks_[i].operation = status;
  if (!group_.ok()) return;
  if (TransactionIsGone()) {
    group_ = last_error_.ok() ? absl::InternalError("the transaction ended early") : last_error_;
    return;
  }
  if (!status.ok()) group_ = DoStatement("undo an operation", rollback_to_);
  if (group_.ok()) group_ = DoStatement("end an operation", release_);
}

void SqliteTransaction::Commit() {
  if (group_.ok()) group_ = DoStatement("commit", commit_);
  if (!TransactionIsGone()) {
    try {
      StatementUse(rollback_)->exec();
    } catch (const SQLite::Exception& error) {
      group_.Update(SqliteStatus("roll back", error));
    }
  }
  std::vector<Callback> callbacks = std::move(callbacks_);
  callbacks_.clear();
  for (Callback& callback : callbacks) callback.done(group_.ok() ? callback.operation : group_);
}

void SqliteTransaction::OnCommit(absl::AnyInvocable<void(const absl::Status&)> done) {
  callbacks_.push_back({std::move(done), absl::OkStatus()});
}

absl::Status SqliteTransaction::PutJob(const JobRow& row) {
  return Do("store a job", [&]() -> absl::Status {
    const std::string job = row.job.SerializeAsString();
    StatementUse use(put_job_);
    use->bind(1, row.job.uid());
    use->bind(2, row.job.job_id());
    use->bind(3, row.attach_token);
    use->bind(4, row.handle);
    use->bind(5, row.trainer_id);
    use->bind(6, row.acked_notice);
    use->bind(7, row.epoch);
    BindBlob(put_job_, 8, job);
    use->exec();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteJob(absl::string_view uid, int32_t attempts) {
  return Do("delete a job", [&]() -> absl::Status {
    for (SQLite::Statement* statement : {&delete_alerts_, &delete_events_, &delete_job_}) {
      Run(*statement, std::string(uid));
    }
    StatementUse use(put_removal_);
    use->bind(1, std::string(uid));
    use->bind(2, attempts);
    use->exec();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::FilesRemoved(absl::string_view uid) {
  return Do("end a removal", [&]() -> absl::Status {
    Run(delete_removal_, std::string(uid));
    return absl::OkStatus();
  });
}

absl::StatusOr<int64_t> SqliteTransaction::AppendEvent(absl::string_view uid, v1::Event* event) {
  return Do("append an event", [&]() -> absl::StatusOr<int64_t> {
    *event->mutable_time() = core::ToTimestamp(clock_->Now());
    const std::string bytes = event->SerializeAsString();
    int changed = 0;
    {
      StatementUse use(append_event_);
      use->bind(1, std::string(uid));
      use->bind(2, event->number());
      use->bind(3, event->job_id());
      use->bind(4, static_cast<int32_t>(event->what_case()));
      BindBlob(append_event_, 5, bytes);
      changed = use->exec();
    }
    if (changed != 1) {
      return absl::InternalError(absl::StrCat("event ", event->number(), " of job ", uid, " is not the next one"));
    }
    const int64_t position = database_->getLastInsertRowid();
    if (event->has_alert_changed()) {
      GW_RETURN_IF_ERROR(PutAlert(uid, position, event->alert_changed().alert()));
    }
    return position;
  });
}

absl::Status SqliteTransaction::PutAlert(absl::string_view uid, int64_t position, const v1::Alert& alert) {
  const std::string bytes = alert.SerializeAsString();
  StatementUse use(put_alert_);
  use->bind(1, position);
  use->bind(2, alert.alert_id());
  use->bind(3, std::string(uid));
  use->bind(4, alert.job_id());
  use->bind(5, static_cast<int32_t>(alert.state()));
  use->bind(6, static_cast<int32_t>(alert.severity()));
  BindBlob(put_alert_, 7, bytes);
  const bool went_away =
      alert.state() == v1::ALERT_STATE_RESOLVED && absl::StartsWith(alert.summary(), core::kDidNotFire);
  use->bind(8, static_cast<int32_t>(went_away));
  if (use->exec() == 1) return absl::OkStatus();
  return core::InvalidField("alert_id", absl::StrCat(alert.alert_id(), " is an alert of another job"));
}

int64_t SqliteTransaction::OldestKeptMillis() const { return absl::ToUnixMillis(clock_->Now() - kRequestLifetime); }

absl::StatusOr<std::optional<LedgerTransaction::StoredResponse>> SqliteTransaction::FindRequest(
    absl::string_view request_id) {
  return Do("find a request", [&]() -> absl::StatusOr<std::optional<StoredResponse>> {
    StatementUse use(find_request_);
    use->bind(1, std::string(request_id));
    use->bind(2, OldestKeptMillis());
    if (!use->executeStep()) return std::nullopt;
    return StoredResponse{use->getColumn(0).getString(), use->getColumn(1).getString()};
  });
}

absl::Status SqliteTransaction::PutRequest(absl::string_view request_id, const StoredResponse& response) {
  return Do("store a request", [&]() -> absl::Status {
    Run(prune_requests_, OldestKeptMillis());
    StatementUse use(put_request_);
    use->bind(1, std::string(request_id));
    BindBlob(put_request_, 2, response.request_digest);
    BindBlob(put_request_, 3, response.response);
    use->bind(4, absl::ToUnixMillis(clock_->Now()));
    use->exec();
    return absl::OkStatus();
  });
}

absl::StatusOr<std::optional<std::pair<std::string, v1::Alert>>> SqliteTransaction::FindAlert(
    absl::string_view alert_id) {
  using Found = std::optional<std::pair<std::string, v1::Alert>>;
  return Do("find an alert", [&]() -> absl::StatusOr<Found> {
    StatementUse use(find_alert_);
    use->bind(1, std::string(alert_id));
    if (!use->executeStep()) return Found();
    std::pair<std::string, v1::Alert> found;
    found.first = use->getColumn(0).getString();
    GW_RETURN_IF_ERROR(ParseColumn(use->getColumn(1), &found.second));
    return Found(std::move(found));
  });
}

absl::Status SqliteTransaction::PutSilence(const v1::Silence& silence) {
  return Do("store a silence", [&]() -> absl::Status {
    Run(prune_silences_, absl::ToUnixMillis(clock_->Now()));
    const std::string bytes = silence.SerializeAsString();
    StatementUse use(put_silence_);
    use->bind(1, silence.silence_id());
    use->bind(2, absl::ToUnixMillis(core::FromTimestamp(silence.end_time())));
    BindBlob(put_silence_, 3, bytes);
    use->exec();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteSilence(absl::string_view silence_id) {
  return Do("delete a silence", [&]() -> absl::Status {
    Run(delete_silence_, std::string(silence_id));
    return absl::OkStatus();
  });
}

}  // namespace gradwatch::server
