// One budget of memory for the rings of all jobs.
//
// What does not fit is given back at once: first by jobs that have ended, the longest unused first, then by the
// largest. Nothing is lost by it: readers that are behind a ring read the store.
#ifndef GRADWATCH_SERVER_STREAM_RING_BUDGET_H_
#define GRADWATCH_SERVER_STREAM_RING_BUDGET_H_

#include <cstddef>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace gradwatch::server {

// Whoever holds memory of the budget.
class RingOwner {
 public:
  virtual ~RingOwner() = default;
  // Gives back the oldest until at most `bytes` are left; returns what is held then. Runs under the budget's lock: it
  // must not call the budget.
  virtual size_t Shrink(size_t bytes) = 0;
};

// Thread-safe. Outlives its owners.
class RingBudget {
 public:
  // A job that has ended gives its rings back so long after its last entry: its watchers are reading the end just then.
  static constexpr absl::Duration kKeepEnded = absl::Seconds(5);

  // `total_bytes`: of all rings together. `per_ring_bytes`: what one ring may hold at most; see JobChannel.
  RingBudget(size_t total_bytes, size_t per_ring_bytes);

  size_t per_ring_bytes() const { return per_ring_bytes_; }

  // `owner` holds more than before; `ended`: nothing more is expected of it. May shrink any owner, this one too; the
  // caller holds no lock that Shrink takes.
  void Grown(RingOwner* owner, bool ended) ABSL_LOCKS_EXCLUDED(mutex_);
  // `owner` goes. No Shrink of it runs after this returns.
  void Leave(RingOwner* owner) ABSL_LOCKS_EXCLUDED(mutex_);
  // It is `now` (monotonic); called about every second. Gives what was freed back to the system too, if it is much:
  // that may take some milliseconds.
  void Tick(absl::Duration now) ABSL_LOCKS_EXCLUDED(mutex_);

  // What all rings hold now.
  size_t used_bytes() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Holding {
    size_t bytes = 0;
    bool ended = false;
    int64_t last_use = 0;                    // by count_
    std::optional<absl::Duration> ended_at;  // the first tick since its last use
  };
  using Holdings = absl::flat_hash_map<RingOwner*, Holding>;

  // Whether so much has been freed that the system should have it.
  bool GiveBackEnded(absl::Duration now) ABSL_LOCKS_EXCLUDED(mutex_);
  void MakeRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Holdings::iterator Victim() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ShrinkTo(Holdings::iterator holding, size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t total_bytes_;
  const size_t per_ring_bytes_;
  mutable absl::Mutex mutex_;
  Holdings holdings_ ABSL_GUARDED_BY(mutex_);  // of those that hold something
  size_t used_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t freed_ ABSL_GUARDED_BY(mutex_) = 0;  // since the system was given something back
  int64_t count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_RING_BUDGET_H_
