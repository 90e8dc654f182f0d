// The jobs of which something is stored.
#ifndef GRADWATCH_SERVER_HISTORY_HISTORY_JOBS_H_
#define GRADWATCH_SERVER_HISTORY_HISTORY_JOBS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "server/history/history_database.h"
#include "server/history/job_history.h"

namespace gradwatch::server {

// Thread-safe.
class HistoryJobs {
 public:
  using Job = std::shared_ptr<JobHistory>;

  // `database` outlives it.
  explicit HistoryJobs(const HistoryDatabase* database) : database_(database) {}

  // Null: nothing is stored of it.
  Job Find(absl::string_view uid) const {
    absl::ReaderMutexLock lock(&mutex_);
    const auto found = jobs_.find(uid);
    return found == jobs_.end() ? nullptr : found->second;
  }
  Job FindOrMake(absl::string_view uid) {
    absl::MutexLock lock(&mutex_);
    auto found = jobs_.find(uid);
    if (found == jobs_.end()) {
      found = jobs_.emplace(uid, std::make_shared<JobHistory>(std::string(uid), database_, &load_)).first;
    }
    return found->second;
  }
  // Nobody finds it any more; what is made under its uid is another.
  void Remove(absl::string_view uid) {
    absl::MutexLock lock(&mutex_);
    const auto found = jobs_.find(uid);
    if (found == jobs_.end()) return;
    found->second->SetRemoved();
    jobs_.erase(found);
  }
  // By uid.
  std::vector<Job> All() const {
    absl::ReaderMutexLock lock(&mutex_);
    std::vector<Job> all;
    for (const auto& [uid, job] : jobs_) all.push_back(job);
    return all;
  }
  // Bytes that are committed and not taken apart yet; of open blocks.
  int64_t waiting_bytes() const { return load_.waiting; }
  int64_t open_bytes() const { return load_.open; }

 private:
  const HistoryDatabase* const database_;
  HistoryLoad load_;  // outlives the jobs
  mutable absl::Mutex mutex_;
  std::map<std::string, Job, std::less<>> jobs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_HISTORY_JOBS_H_
