// One change of one job: a new record and the events that say what changed, written together and then published.
//
//   JobEdit edit(context, entry, transaction);
//   edit.MoveTo(v1::JOB_STATE_RUNNING, "");
//   GW_RETURN_IF_ERROR(edit.Write());
//   ...what else may fail...
//   edit.Publish();
#ifndef GRADWATCH_SERVER_JOB_JOB_EDIT_H_
#define GRADWATCH_SERVER_JOB_JOB_EDIT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "server/job/job_context.h"

namespace gradwatch::server {

// Lives within one operation of the ledger. Dropped without Publish, it has changed nothing.
class JobEdit {
 public:
  // Starts from the working record, which must be there, with the live figures merged in.
  JobEdit(JobContext* context, std::shared_ptr<JobEntry> entry, LedgerTransaction* transaction);
  // Starts from the first record of a new job.
  JobEdit(JobContext* context, std::shared_ptr<JobEntry> entry, LedgerTransaction* transaction, JobRecord first);

  JobRecord& record() { return *record_; }
  v1::Job& job() { return record_->row.job; }

  // Adds an event: its content is set; number, attempt and job are filled in.
  void Append(v1::Event event);
  // Moves the job to `state` by way of the states between, an event each; nothing if it is there already. False: there
  // is no way, and nothing has changed.
  bool MoveTo(v1::JobState state, const std::string& reason);
  // Ends the job: changes of controls that are still asked for are dropped, alerts that are on are resolved, and it
  // moves to the final `state`. `reason` becomes Job.failure if that is FAILED.
  void End(v1::JobState state, const std::string& reason);
  void AppendDetached(const std::string& reason);

  // Writes the record and the events.
  absl::Status Write();
  // After Write: the change holds for later operations, and for everybody once it is committed; then `then` runs.
  // Nothing that may fail must come after it in the operation.
  void Publish(absl::AnyInvocable<void()> then = nullptr);

 private:
  JobContext* const context_;
  const std::shared_ptr<JobEntry> entry_;
  LedgerTransaction* const transaction_;
  const std::shared_ptr<JobRecord> record_;
  std::vector<v1::Event> events_;
  std::vector<int64_t> positions_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_JOB_EDIT_H_
