#include "server/api/watch_session.h"

#include <utility>

#include "server/base/shutting_down.h"

namespace gradwatch::server {

WatchSession::WatchSession(Hub* hub, const core::Clock* clock, Admission::Watch admitted,
                           std::vector<std::string> topics)
    : hub_(hub), clock_(clock), topics_(std::move(topics)), admitted_(std::move(admitted)) {}

void WatchSession::Start(WatchSink* sink) {
  last_write_ns_ = absl::ToInt64Nanoseconds(clock_->Monotonic());
  {
    absl::MutexLock lock(&mutex_);
    sink_ = sink;
  }
  for (const std::string& topic : topics_) hub_->Subscribe(topic, shared_from_this());
  Wake();
}

Lane WatchSession::OnWake(Lane lane) {
  if (finished_) return Lane::kLive;
  if (writing_) return lane;  // woken again when it is done
  Output output = Next(lane);
  const bool behind = output.behind && !output.end.has_value();
  Deliver(std::move(output));
  return behind ? Lane::kCatchUp : Lane::kLive;
}

WatchSession::Output WatchSession::Next(Lane lane) {
  if (gone_) return {.message = std::nullopt, .end = absl::CancelledError("the peer has gone")};
  if (shutting_down_) {
    return {.message = MakeShutdown(), .end = ShuttingDown()};
  }
  Output output = Produce(lane);
  if (output.behind) return output;
  const bool due = bookmark_due_.exchange(false);
  if (!due || output.message.has_value() || output.end.has_value()) return output;
  told_events_ = false;
  output.message = MakeBookmark();
  return output;
}

void WatchSession::Deliver(Output output) {
  if (!output.message.has_value() && !output.end.has_value()) return;
  WatchSink* sink = nullptr;  // stays until OnDone, which comes after Finish only
  {
    absl::MutexLock lock(&mutex_);
    sink = sink_;
  }
  if (output.message.has_value()) {
    last_write_ns_ = absl::ToInt64Nanoseconds(clock_->Monotonic());
    writing_ = true;
    if (output.has_events) told_events_ = true;
  }
  if (!output.end.has_value()) return sink->Write(*std::move(output.message));
  finished_ = true;
  admitted_.Close(output.end->code());
  sink->Finish(std::move(output.message), *output.end);
}

void WatchSession::Tick(absl::Duration now) {
  const absl::Duration quiet = now - absl::Nanoseconds(last_write_ns_.load());
  if (writing_ && quiet >= kStalled) {
    Abandon();
  } else if (!writing_ && quiet >= (told_events_ ? kBookmarkAfterEvents : kBookmarkEvery)) {
    bookmark_due_ = true;
    Wake();
  }
}

void WatchSession::BeginShutdown() {
  shutting_down_ = true;
  Wake();
}

// OnGone, which this may bring about, takes no lock.
void WatchSession::Abandon() {
  gone_ = true;
  {
    absl::MutexLock lock(&mutex_);
    if (sink_ != nullptr) sink_->Cancel();
  }
  Wake();
}

void WatchSession::OnWritten(bool ok) {
  if (!ok) gone_ = true;
  writing_ = false;
  Wake();
}

void WatchSession::OnGone() {
  gone_ = true;
  Wake();
}

void WatchSession::OnDone() {
  {
    absl::MutexLock lock(&mutex_);
    sink_ = nullptr;
  }
  for (const std::string& topic : topics_) hub_->Unsubscribe(topic, shared_from_this());
}

}  // namespace gradwatch::server
