#include "server/job/job_entry.h"

#include <utility>

namespace gradwatch::server {

JobEntry::JobEntry(std::string uid, std::string job_id, int64_t order, std::shared_ptr<JobChannel> channel)
    : uid(std::move(uid)), job_id(std::move(job_id)), order(order), channel(std::move(channel)) {}

std::shared_ptr<const JobRecord> JobEntry::published() const {
  absl::MutexLock lock(&mutex_);
  return published_;
}

void JobEntry::Publish(std::shared_ptr<const JobRecord> record) {
  absl::MutexLock lock(&mutex_);
  published_ = std::move(record);
}

std::optional<v1::Job> JobEntry::Snapshot() const {
  const auto record = published();
  if (record == nullptr) return std::nullopt;
  v1::Job job = record->row.job;
  if (!record->ended()) MergeFigures(intake.figures(), &job);
  return job;
}

}  // namespace gradwatch::server
