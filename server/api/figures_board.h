// How the running jobs are doing, asked once and encoded once for all who watch it.
#ifndef GRADWATCH_SERVER_API_FIGURES_BOARD_H_
#define GRADWATCH_SERVER_API_FIGURES_BOARD_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/base/encoding.h"
#include "server/job/job_manager.h"

namespace gradwatch::server {

// Thread-safe.
class FiguresBoard {
 public:
  // `jobs` outlives it.
  explicit FiguresBoard(const JobManager* jobs) : jobs_(jobs) {}

  // Somebody watches from now on, until Leave. The first to come brings the board up to date.
  void Join() ABSL_LOCKS_EXCLUDED(mutex_);
  void Leave() ABSL_LOCKS_EXCLUDED(mutex_);
  // Looks anew if somebody watches; called about every second. True: something has changed.
  bool Refresh() ABSL_LOCKS_EXCLUDED(mutex_);

  // Fields `figures` of WatchJobsResponse, of the jobs whose figures have changed since `*seen` (0: all); moves it.
  std::vector<SharedBytes> Changed(int64_t* seen) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Entry {
    int64_t version = 0;
    SharedBytes bytes;
  };

  bool Look() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const JobManager* const jobs_;
  mutable absl::Mutex mutex_;
  int watchers_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t version_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);  // by uid
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_FIGURES_BOARD_H_
