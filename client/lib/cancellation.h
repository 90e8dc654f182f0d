// A switch that ends calls and waits from another thread, for example when the user presses Ctrl-C.
#ifndef GRADWATCH_CLIENT_LIB_CANCELLATION_H_
#define GRADWATCH_CLIENT_LIB_CANCELLATION_H_

#include <grpcpp/client_context.h>

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace gradwatch::client {

// Thread-safe. Not for signal handlers: a handler tells a thread, and the thread cancels.
class Cancellation {
 public:
  Cancellation() = default;
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  // Cancels all calls that are registered now or later and ends all waits. For ever; a second time does nothing.
  void Cancel();
  bool cancelled() const;
  // Waits for `duration`; false if it was cut short by Cancel.
  bool Wait(absl::Duration duration) const;

  // Registers a call for as long as this object lives, which must be less long than the context.
  class Registration {
   public:
    // `cancellation` may be null.
    Registration(Cancellation* cancellation, grpc::ClientContext* context);
    ~Registration();
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;

   private:
    Cancellation* const cancellation_;
    grpc::ClientContext* const context_;
  };

 private:
  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<grpc::ClientContext*> calls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_CANCELLATION_H_
