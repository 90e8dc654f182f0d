// The main database: jobs, events, alerts, silences and request ids, changed by one thread, durable before anybody is
// told.
//
// Everything that changes the state of a job is an Operation that runs on the ledger's thread inside a database
// transaction. Operations that wait together share one transaction and one sync (group commit). What they changed
// becomes visible, and what they promised is answered, only after the commit: see LedgerTransaction::OnCommit.
#ifndef GRADWATCH_SERVER_STORE_LEDGER_H_
#define GRADWATCH_SERVER_STORE_LEDGER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/clock.h"
#include "gradwatch/v1/event.pb.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::server {

// What is stored of a job.
struct JobRow {
  v1::Job job;                    // last_loss and other live figures as of the last event
  std::string attach_token = {};  // secret of the trainer that may attach
  std::string handle = {};        // of a trainer that this server started (Launcher::Launch); empty: none
  std::string trainer_id = {};    // of the trainer that holds the job, or held it last; empty: none did yet
  int64_t acked_notice = 0;       // last notice of the present attempt that is durable
  int64_t epoch = 0;              // of that trainer's tenure (TrainerWelcome.epoch)
};

// The view that an operation has of the database. Used on the ledger's thread only.
class LedgerTransaction {
 public:
  virtual ~LedgerTransaction() = default;

  // Writes a job (by its uid), all of it.
  virtual absl::Status PutJob(const JobRow& row) = 0;
  // Removes a job with its events and alerts. That the files of its `attempts` attempts are still to be removed is kept
  // until FilesRemoved.
  virtual absl::Status DeleteJob(absl::string_view uid, int32_t attempts) = 0;
  virtual absl::Status FilesRemoved(absl::string_view uid) = 0;
  // Appends `event`, whose number the caller has set (job's last + 1) and whose time is set here, to the log of the job
  // `uid`; an alert_changed event also stores its alert. Returns the event's position among the events of all jobs,
  // which rises and has no meaning but order.
  virtual absl::StatusOr<int64_t> AppendEvent(absl::string_view uid, v1::Event* event) = 0;

  // The response stored under a request id, if any, with the digest of the request that it answered.
  struct StoredResponse {
    std::string request_digest;
    std::string response;
  };
  virtual absl::StatusOr<std::optional<StoredResponse>> FindRequest(absl::string_view request_id) = 0;
  // Keeps a response for 24 hours, whatever becomes of the job that it is about.
  virtual absl::Status PutRequest(absl::string_view request_id, const StoredResponse& response) = 0;

  // The present state of an alert, with the uid of its job, if there is one.
  virtual absl::StatusOr<std::optional<std::pair<std::string, v1::Alert>>> FindAlert(absl::string_view alert_id) = 0;

  // Writes a silence (by its silence_id), all of it; what has ended goes.
  virtual absl::Status PutSilence(const v1::Silence& silence) = 0;
  virtual absl::Status DeleteSilence(absl::string_view silence_id) = 0;

  // Runs `done` on the ledger's thread after the commit, with OK, or with the error of the commit (nothing was stored)
  // or of this operation. In the order of calls, over all operations of a group.
  virtual void OnCommit(absl::AnyInvocable<void(const absl::Status&)> done) = 0;
};

// Thread-safe.
class Ledger {
 public:
  // An operation that returns an error is rolled back by itself; the others of its group are not touched.
  using Operation = absl::AnyInvocable<absl::Status(LedgerTransaction&)>;

  // Opens or makes `path`, migrates it, checks it (quick_check), and starts the thread. DATA_LOSS: the file is damaged;
  // FAILED_PRECONDITION: made by another version that this one cannot read; UNAVAILABLE: it cannot be opened.
  static absl::StatusOr<std::unique_ptr<Ledger>> Open(const std::string& path, const core::Clock* clock);
  // Runs what was submitted, then joins the thread.
  virtual ~Ledger() = default;

  // Queues an operation; never blocks. Operations run in the order of submission.
  virtual void Submit(Operation operation) = 0;

  // All jobs, oldest first. For start-up.
  virtual absl::StatusOr<std::vector<JobRow>> LoadJobs() = 0;
  // Silences that have not ended, oldest first. For start-up.
  virtual absl::StatusOr<std::vector<v1::Silence>> LoadSilences() = 0;
  // Deleted jobs whose files may still be there.
  struct Removal {
    std::string uid;
    int32_t attempts = 0;
  };
  virtual absl::StatusOr<std::vector<Removal>> LoadRemovals() = 0;
  // Made with the database; resume tokens hold within one.
  virtual const std::string& log_epoch() const = 0;
};

// Reads the main database beside the ledger's thread. Thread-safe; every call is a short read of what is committed.
class LedgerReader {
 public:
  static absl::StatusOr<std::unique_ptr<LedgerReader>> Open(const std::string& path);
  virtual ~LedgerReader() = default;

  // An event with its position among all events.
  struct StoredEvent {
    int64_t position = 0;
    v1::Event event;
  };
  // Each of these reads stops after `limit` rows, or earlier as soon as the messages have `max_bytes` bytes, the last
  // of them included; at least one if there is one. Only an empty answer says that there is nothing more. Events of the
  // job `uid` with numbers above `after`, in order.
  virtual absl::StatusOr<std::vector<StoredEvent>> ReadEvents(absl::string_view uid, int64_t after, int limit,
                                                              size_t max_bytes) = 0;
  // Events of all jobs with positions above `after`, in order.
  virtual absl::StatusOr<std::vector<StoredEvent>> ReadAllEvents(int64_t after, int limit, size_t max_bytes) = 0;
  // Alert events of all jobs (or of the job with the id `job_id`, if not empty) with positions above `after`, in order.
  virtual absl::StatusOr<std::vector<StoredEvent>> ReadAlertEvents(absl::string_view job_id, int64_t after, int limit,
                                                                   size_t max_bytes) = 0;
  // The last position that was ever given, also if its job was deleted since; 0: none.
  virtual absl::StatusOr<int64_t> LastPosition() = 0;

  struct AlertFilter {
    std::string job_id = {};                  // empty: all
    std::vector<v1::AlertState> states = {};  // empty: all
    v1::Severity min_severity = v1::SEVERITY_UNSPECIFIED;
    std::vector<std::string> rules = {};  // by name; empty: all
    int64_t before = 0;                   // only alerts below this position; 0: from the newest
    int limit = 100;
    size_t max_bytes = size_t{1} << 20;  // the page ends as soon as it has so many
  };
  struct StoredAlert {
    int64_t position = 0;  // of the alert's first event
    v1::Alert alert;
  };
  struct AlertPage {
    std::vector<StoredAlert> alerts;  // newest first
    bool more = false;                // there may be more
    int64_t last = 0;                 // the position to go on below
  };
  // Without those that were pending and went away before they fired, as their summary says (core::kDidNotFire): of them
  // only GetAlert and the events tell. One that still held when its run ended or its trainer was gone is listed.
  virtual absl::StatusOr<AlertPage> ListAlerts(const AlertFilter& filter) = 0;
  // NOT_FOUND.
  virtual absl::StatusOr<v1::Alert> GetAlert(absl::string_view alert_id) = 0;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STORE_LEDGER_H_
