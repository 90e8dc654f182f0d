// Makes Abseil's mutex visible to the thread sanitizer; linked into every program of the tsan build, and only there.
//
// Debian's Abseil and gRPC are built without the sanitizer, so it cannot see that absl::Mutex orders anything and would
// call every hand-over through one a race. The functions below stand before Abseil's own of the same names (the dynamic
// linker takes the program's first), call them, and tell the sanitizer what they mean. Accesses inside of a call are
// ignored: Abseil evaluates other threads' conditions there, under the lock.
#include <dlfcn.h>

#include <cstdlib>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}

namespace {

// Accesses of this thread are not looked at while one of these lives.
class Ignore {
 public:
  Ignore() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Ignore() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};

// Abseil's own function behind the present one.
template <typename Function>
Function Next(const char* symbol) {
  void* found = dlsym(RTLD_NEXT, symbol);
  if (found == nullptr) std::abort();
  return reinterpret_cast<Function>(found);
}

}  // namespace

// Member functions are called through their mangled names, `this` being the first argument.
#define GW_NEXT(Result, symbol, ...) static const auto next = Next<Result (*)(__VA_ARGS__)>(symbol)

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  GW_NEXT(void, "_ZN4absl7debian35Mutex4LockEv", Mutex*);
  {
    Ignore ignore;
    next(this);
  }
  __tsan_acquire(this);
}

void Mutex::Unlock() {
  GW_NEXT(void, "_ZN4absl7debian35Mutex6UnlockEv", Mutex*);
  __tsan_release(this);
  Ignore ignore;
  next(this);
}

bool Mutex::TryLock() {
  GW_NEXT(bool, "_ZN4absl7debian35Mutex7TryLockEv", Mutex*);
  const bool locked = [this] {
    Ignore ignore;
    return next(this);
  }();
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::ReaderLock() {
  GW_NEXT(void, "_ZN4absl7debian35Mutex10ReaderLockEv", Mutex*);
  {
    Ignore ignore;
    next(this);
  }
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  GW_NEXT(void, "_ZN4absl7debian35Mutex12ReaderUnlockEv", Mutex*);
  __tsan_release(this);
  Ignore ignore;
  next(this);
}

void Mutex::Await(const Condition& condition) {
  GW_NEXT(void, "_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE", Mutex*, const Condition&);
  __tsan_release(this);
  {
    Ignore ignore;
    next(this, condition);
  }
  __tsan_acquire(this);
}

void Mutex::LockWhen(const Condition& condition) {
  GW_NEXT(void, "_ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE", Mutex*, const Condition&);
  {
    Ignore ignore;
    next(this, condition);
  }
  __tsan_acquire(this);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  GW_NEXT(bool, "_ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE", Mutex*, const Condition&,
          Duration);
  __tsan_release(this);
  const bool held = [&] {
    Ignore ignore;
    return next(this, condition, timeout);
  }();
  __tsan_acquire(this);
  return held;
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  GW_NEXT(bool, "_ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE", Mutex*, const Condition&,
          Time);
  __tsan_release(this);
  const bool held = [&] {
    Ignore ignore;
    return next(this, condition, deadline);
  }();
  __tsan_acquire(this);
  return held;
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  GW_NEXT(bool, "_ZN4absl7debian35Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE", Mutex*, const Condition&,
          Duration);
  const bool held = [&] {
    Ignore ignore;
    return next(this, condition, timeout);
  }();
  __tsan_acquire(this);
  return held;
}

void CondVar::Wait(Mutex* mutex) {
  GW_NEXT(void, "_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE", CondVar*, Mutex*);
  __tsan_release(mutex);
  {
    Ignore ignore;
    next(this, mutex);
  }
  __tsan_acquire(mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  GW_NEXT(bool, "_ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE", CondVar*, Mutex*, Duration);
  __tsan_release(mutex);
  const bool timed_out = [&] {
    Ignore ignore;
    return next(this, mutex, timeout);
  }();
  __tsan_acquire(mutex);
  return timed_out;
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  GW_NEXT(bool, "_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE", CondVar*, Mutex*, Time);
  __tsan_release(mutex);
  const bool timed_out = [&] {
    Ignore ignore;
    return next(this, mutex, deadline);
  }();
  __tsan_acquire(mutex);
  return timed_out;
}

// Where it has been notified already, waiting takes no mutex.
void Notification::Notify() {
  GW_NEXT(void, "_ZN4absl7debian312Notification6NotifyEv", Notification*);
  __tsan_release(this);
  next(this);
}

void Notification::WaitForNotification() const {
  GW_NEXT(void, "_ZNK4absl7debian312Notification19WaitForNotificationEv", const Notification*);
  next(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  GW_NEXT(bool, "_ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE", const Notification*,
          Duration);
  const bool notified = next(this, timeout);
  __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl
