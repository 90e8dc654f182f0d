// What attached trainers say: hello, reports, notices, and that they are gone.
#ifndef GRADWATCH_SERVER_JOB_TRAINER_SESSION_H_
#define GRADWATCH_SERVER_JOB_TRAINER_SESSION_H_

#include <memory>
#include <string>

#include "server/job/job_context.h"
#include "server/job/recovery.h"
#include "server/job/supervisor.h"

namespace gradwatch::server {

// Thread-safe. See JobManager for the public methods.
class TrainerSessions {
 public:
  using Attachment = JobManager::Attachment;
  using Link = std::shared_ptr<TrainerLink>;

  TrainerSessions(JobContext* context, Supervisor* supervisor, Recovery* recovery)
      : context_(context), supervisor_(supervisor), recovery_(recovery) {}

  void Attach(v1::TrainerHello hello, Link link, JobManager::Done<Attachment> done);
  void OnReports(const Attachment& attachment, const Link& link, v1::ReportBatch batch,
                 absl::AnyInvocable<void()> accepted);
  void OnNotices(const Attachment& attachment, const Link& link, v1::NoticeBatch batch,
                 absl::AnyInvocable<void()> accepted);
  void OnDetached(const Attachment& attachment, const Link& link, const std::string& reason);

 private:
  using Entry = std::shared_ptr<JobEntry>;

  // The entry of an attachment; null: the job is gone, and the link is closed.
  Entry FindAttached(const Attachment& attachment, const Link& link) const;
  void StoreReports(const Entry& entry, const Link& link, AcceptedBatch batch, absl::AnyInvocable<void()> accepted);
  // The ledger's thread: makes notices events; the number of the last notice that is then durable.
  absl::StatusOr<int64_t> Record(const v1::NoticeBatch& batch, const Link& link, const Entry& entry,
                                 LedgerTransaction& transaction);

  JobContext* const context_;
  Supervisor* const supervisor_;
  Recovery* const recovery_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_TRAINER_SESSION_H_
