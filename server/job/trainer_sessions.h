// What attached trainers say: hello, reports, notices, and that they are gone.
#ifndef GRADWATCH_SERVER_JOB_TRAINER_SESSIONS_H_
#define GRADWATCH_SERVER_JOB_TRAINER_SESSIONS_H_

#include <memory>
#include <string>

#include "server/job/job_context.h"
#include "server/job/job_edit.h"
#include "server/job/job_manager.h"
#include "server/job/supervisor.h"

namespace gradwatch::server {

// Thread-safe. See JobManager for the public methods.
//
// Attaching takes three steps: the old stream is fenced off (on the ledger's thread), what it had sent is waited for
// and the last stored step is read, and the trainer is welcomed (on the ledger's thread again). So the step in the
// welcome is exact: nothing is lost and nothing counted twice.
class TrainerSessions {
 public:
  using Attachment = JobManager::Attachment;
  using Link = std::shared_ptr<TrainerLink>;

  TrainerSessions(JobContext* context, Supervisor* supervisor) : context_(context), supervisor_(supervisor) {}

  void Attach(v1::TrainerHello hello, Link link, JobManager::Done<Attachment> done);
  void OnReports(const Attachment& attachment, const Link& link, v1::ReportBatch batch,
                 absl::AnyInvocable<void()> accepted);
  void OnNotices(const Attachment& attachment, const Link& link, v1::NoticeBatch batch,
                 absl::AnyInvocable<void()> accepted);
  void OnDetached(const Attachment& attachment, const Link& link, const std::string& reason);

 private:
  using Entry = std::shared_ptr<JobEntry>;

  // The ledger's thread: gives the job to `link` and closes the link that had it. The job's entry.
  absl::StatusOr<Entry> Fence(const v1::TrainerHello& hello, const Link& link);
  void ReadLastStep(v1::TrainerHello hello, Link link, Entry entry, JobManager::Done<Attachment> done);
  // The ledger's thread: makes the attachment an event and sends the welcome.
  absl::StatusOr<Attachment> Welcome(const v1::TrainerHello& hello, const Link& link, const Entry& entry,
                                     int64_t last_step, LedgerTransaction& transaction);

  // The entry of an attachment; null: the job is gone, and the link is closed.
  Entry FindAttached(const Attachment& attachment, const Link& link) const;
  void StoreReports(const Entry& entry, const Link& link, std::vector<EncodedReport> reports,
                    const LiveFigures& figures, absl::AnyInvocable<void()> accepted);
  void RecordLost(const Entry& entry, const Link& link, std::vector<v1::StepRange> lost);

  // The ledger's thread: makes notices events; the number of the last notice that is then durable.
  absl::StatusOr<int64_t> Record(const v1::NoticeBatch& batch, const Link& link, const Entry& entry,
                                 LedgerTransaction& transaction);

  JobContext* const context_;
  Supervisor* const supervisor_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_TRAINER_SESSIONS_H_
