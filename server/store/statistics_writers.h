// The databases of statistics that are being written to: opened when needed, kept open for a while, made durable every
// second, removed or set aside.
#ifndef GRADWATCH_SERVER_STORE_STATISTICS_WRITERS_H_
#define GRADWATCH_SERVER_STORE_STATISTICS_WRITERS_H_

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "server/base/executor.h"
#include "server/store/statistics_database.h"

namespace gradwatch::server {

// The database of the job `uid` in `folder`. INVALID_ARGUMENT: no uid, which must be safe as the name of a file.
absl::StatusOr<std::string> StatisticsPath(absl::string_view folder, absl::string_view uid);

// Not thread-safe.
class StatisticsWriters {
 public:
  // `executor`: where files are removed. `max_open`: how many databases are kept open, at least one.
  StatisticsWriters(std::string folder, const core::Clock* clock, Executor* executor, size_t max_open)
      : folder_(std::move(folder)), clock_(clock), executor_(executor), max_open_(max_open) {}
  // Makes durable what was written.
  ~StatisticsWriters();

  // Writes for one job, in one transaction. After a failure its database is left alone for a second, in which the
  // failure is the answer: what fails is often tried again at once.
  absl::Status Write(absl::string_view uid, const std::vector<const std::vector<EncodedReport>*>& reports);
  // Removes the files of a job: they lose their names at once, and the executor removes them and runs `done`.
  void Remove(absl::string_view uid, absl::AnyInvocable<void()> done);
  // Renames them; see StatisticsStore::SetAside.
  void SetAside(absl::string_view uid);
  // Removes what SQLite keeps beside the database of a job that has none any more.
  void Sweep(absl::string_view uid);

  // How long Maintain may wait; zero or less: not at all.
  absl::Duration UntilMaintenance() const;
  // Makes durable what is due longest, one database at a time, so that others' syncs and writes come between; and
  // closes what was not used for long.
  void Maintain();

 private:
  struct Open {
    std::string uid;
    std::unique_ptr<StatisticsWriter> writer;
    absl::Duration used;   // monotonic time
    bool written = false;  // since the last checkpoint
    absl::Duration due;    // of the next one, if it was written to; monotonic time
  };
  struct Failure {
    absl::Status status;
    absl::Duration until;  // monotonic time
  };

  absl::Status TryWrite(absl::string_view uid, const std::vector<const std::vector<EncodedReport>*>& reports);
  // The writer of a job, moved to the front of those that are open.
  absl::StatusOr<Open*> OpenWriter(absl::string_view uid);
  void CheckpointIfWritten(Open& open);
  void Forget(absl::string_view uid);
  void ForgetOldFailures();

  const std::string folder_;
  const core::Clock* const clock_;
  Executor* const executor_;
  const size_t max_open_;
  std::list<Open> open_;  // the last used first
  std::map<std::string, Failure, std::less<>> failures_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STORE_STATISTICS_WRITERS_H_
