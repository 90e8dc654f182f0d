// The open transaction of the ledger: what an operation sees, and the life of a group of operations around it.
#ifndef GRADWATCH_SERVER_STORE_LEDGER_TRANSACTION_H_
#define GRADWATCH_SERVER_STORE_LEDGER_TRANSACTION_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "server/store/ledger.h"
#include "server/store/sqlite.h"

namespace gradwatch::server {

// One object serves all groups, one after the other: Begin, Execute for each operation, Commit. Not thread-safe.
class SqliteTransaction final : public LedgerTransaction {
 public:
  // The database has the main format. Throws as SQLiteCpp does.
  SqliteTransaction(SQLite::Database* database, const core::Clock* clock);

  void Begin();
  // Runs `operation`; if it fails, what it wrote is undone.
  void Execute(Ledger::Operation& operation);
  // Ends the group, then runs what OnCommit was given. That may submit new operations.
  void Commit();

  absl::Status PutJob(const JobRow& row) override;
  absl::Status DeleteJob(absl::string_view uid, int32_t attempts) override;
  absl::Status FilesRemoved(absl::string_view uid) override;
  absl::StatusOr<int64_t> AppendEvent(absl::string_view uid, v1::Event* event) override;
  absl::StatusOr<std::optional<StoredResponse>> FindRequest(absl::string_view request_id) override;
  absl::Status PutRequest(absl::string_view request_id, const StoredResponse& response) override;
  absl::StatusOr<std::optional<std::pair<std::string, v1::Alert>>> FindAlert(absl::string_view alert_id) override;
  absl::Status PutSilence(const v1::Silence& silence) override;
  absl::Status DeleteSilence(absl::string_view silence_id) override;
  void OnCommit(absl::AnyInvocable<void(const absl::Status&)> done) override;

 private:
  struct Callback {
    absl::AnyInvocable<void(const absl::Status&)> done;
    absl::Status operation;  // what its operation returned
  };

  // Runs `body` unless the group has failed already, and remembers what went wrong.
  template <typename Body>
  auto Do(absl::string_view what, Body body) -> decltype(body());
  absl::Status DoStatement(absl::string_view what, SQLite::Statement& statement);
  absl::Status PutAlert(absl::string_view uid, int64_t position, const v1::Alert& alert);
  // SQLite undoes a whole transaction by itself after some errors, such as a full disk.
  bool TransactionIsGone() const;
  int64_t OldestKeptMillis() const;
  // Runs a statement with one parameter.
  template <typename Value>
  static void Run(SQLite::Statement& statement, const Value& value);

  SQLite::Database* const database_;
  const core::Clock* const clock_;
  SQLite::Statement begin_, commit_, rollback_, savepoint_, release_, rollback_to_;
  SQLite::Statement put_job_, delete_job_, delete_events_, delete_alerts_, put_removal_, delete_removal_;
  SQLite::Statement append_event_, put_alert_, find_request_, put_request_, prune_requests_;
  SQLite::Statement find_alert_, put_silence_, delete_silence_, prune_silences_;

  absl::Status group_;       // an error: nothing of the group is stored
  absl::Status last_error_;  // of a statement
  std::vector<Callback> callbacks_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STORE_LEDGER_TRANSACTION_H_
