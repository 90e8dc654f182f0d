#include "server/rpc/ack_pacer.h"

#include <utility>

#include "core/base/thread_name.h"

namespace gradwatch::server {

AckPacer::AckPacer()
    : thread_([this] {
        core::NameThisThread("acks");
        Run();
      }) {}

AckPacer::~AckPacer() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  thread_.join();
}

void AckPacer::Later(absl::AnyInvocable<void()> send) {
  absl::MutexLock lock(&mutex_);
  waiting_.push_back(std::move(send));
}

void AckPacer::Run() {
  while (true) {
    std::vector<absl::AnyInvocable<void()>> due;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &AckPacer::HasWork));
      mutex_.AwaitWithTimeout(absl::Condition(&closing_), kWait);
      if (closing_) return;
      due.swap(waiting_);
    }
    for (absl::AnyInvocable<void()>& send : due) send();
  }
}

}  // namespace gradwatch::server
