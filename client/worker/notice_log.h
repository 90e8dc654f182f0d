// What must not be lost on its way to the server: numbered, and kept until the server says that it is durable there.
#ifndef GRADWATCH_CLIENT_WORKER_NOTICE_LOG_H_
#define GRADWATCH_CLIENT_WORKER_NOTICE_LOG_H_

#include <cstdint>
#include <deque>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gradwatch/v1/trainer_service.pb.h"

namespace gradwatch::worker {

// Thread-safe. Bounded by what may be added: alerts by their budget (core/detect/alert_budget.h), which takes
// waiting_alerts() into account, so that at most 4,096 wait, of about 1.5 KiB each, and 8 KiB where names of tensors
// are as long as they may be; outcomes of edits by the 10,000 that may wait at the server, of about 200 bytes each.
// That is 8 MiB in the worst flood of a job with names of usual length, 34 MiB at the very most, and in most jobs
// nothing.
class NoticeLog {
 public:
  // Gives the notice the next number, from 1, and keeps it. Notices must be added in the order of steps_done.
  void Add(v1::Notice notice);
  // Forgets all notices up to `number`.
  void Acknowledge(int64_t number);

  // The notice with this number; none if it does not exist yet or is acknowledged.
  std::optional<v1::Notice> Get(int64_t number) const;
  // Whether the server knows everything that was added.
  bool AllAcknowledged() const;
  // The last notice that is acknowledged; 0: none.
  int64_t acknowledged() const;
  // How many transitions of alerts are not acknowledged.
  int64_t waiting_alerts() const;

 private:
  mutable absl::Mutex mutex_;
  int64_t acknowledged_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<v1::Notice> notices_ ABSL_GUARDED_BY(mutex_);  // numbers from acknowledged_ + 1
  int64_t waiting_alerts_ ABSL_GUARDED_BY(mutex_) = 0;      // of notices_
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_NOTICE_LOG_H_
