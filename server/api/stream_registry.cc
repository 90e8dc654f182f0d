#include "server/api/stream_registry.h"

#include <utility>

namespace gradwatch::server {

void StreamRegistry::Add(std::shared_ptr<ManagedStream> stream) {
  {
    absl::MutexLock lock(&mutex_);
    streams_.insert(stream);
    if (!shutting_down_) return;
  }
  stream->BeginShutdown();
}

void StreamRegistry::Remove(const std::shared_ptr<ManagedStream>& stream) {
  absl::MutexLock lock(&mutex_);
  streams_.erase(stream);
}

void StreamRegistry::Tick(absl::Duration now) {
  for (const auto& stream : All()) stream->Tick(now);
}

void StreamRegistry::ShutDown(absl::Duration grace) {
  {
    absl::MutexLock lock(&mutex_);
    shutting_down_ = true;
  }
  for (const auto& stream : All()) stream->BeginShutdown();
  if (AwaitEmpty(grace)) return;
  for (const auto& stream : All()) stream->Abandon();
  AwaitEmpty(absl::Seconds(1));
}

size_t StreamRegistry::size() const {
  absl::MutexLock lock(&mutex_);
  return streams_.size();
}

std::vector<std::shared_ptr<ManagedStream>> StreamRegistry::All() const {
  absl::MutexLock lock(&mutex_);
  return {streams_.begin(), streams_.end()};
}

bool StreamRegistry::AwaitEmpty(absl::Duration time) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(this, &StreamRegistry::Empty), time);
}

}  // namespace gradwatch::server
