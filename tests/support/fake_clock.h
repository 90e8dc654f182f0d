// A clock that stands still until a test moves it.
#ifndef GRADWATCH_TESTS_SUPPORT_FAKE_CLOCK_H_
#define GRADWATCH_TESTS_SUPPORT_FAKE_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/clock.h"

namespace gradwatch::testing {

// Thread-safe.
class FakeClock final : public core::Clock {
 public:
  absl::Time Now() const override {
    absl::MutexLock lock(&mutex_);
    return absl::FromUnixSeconds(1'700'000'000) + since_start_;
  }
  absl::Duration Monotonic() const override {
    absl::MutexLock lock(&mutex_);
    return since_start_;
  }
  void Advance(absl::Duration duration) {
    absl::MutexLock lock(&mutex_);
    since_start_ += duration;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Duration since_start_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_FAKE_CLOCK_H_
