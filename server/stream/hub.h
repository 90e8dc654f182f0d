// Wakes subscribers when there is something new, on threads of its own, so that nobody who publishes waits for a
// reader.
#ifndef GRADWATCH_SERVER_STREAM_HUB_H_
#define GRADWATCH_SERVER_STREAM_HUB_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace gradwatch::server {

// Somebody who reads a topic by a cursor of its own.
class Subscriber {
 public:
  virtual ~Subscriber() = default;
  // There may be something new, or the subscriber asked to be woken. Runs on a hub thread, never twice at once for one
  // subscriber; may read the store; must not wait for a client.
  virtual void OnWake() = 0;
};

// Thread-safe. Topics are names: a job's uid, or kAlertsTopic.
class Hub {
 public:
  static constexpr absl::string_view kAlertsTopic = "alerts";

  // Starts `threads` >= 1 dispatcher threads.
  explicit Hub(int threads);
  // No OnWake runs after it returns.
  ~Hub();

  // From now on `subscriber` is woken by Notify(topic). The hub keeps it alive until Unsubscribe.
  void Subscribe(absl::string_view topic, std::shared_ptr<Subscriber> subscriber);
  // No OnWake begins after it returns (one may be running). Safe from within OnWake.
  void Unsubscribe(absl::string_view topic, const std::shared_ptr<Subscriber>& subscriber);

  // Something new is in `topic`. Never blocks; wake-ups that are already queued are not queued again.
  void Notify(absl::string_view topic);
  // Wakes one subscriber, for example when its write is done. Does nothing for one that is not subscribed.
  void Wake(const std::shared_ptr<Subscriber>& subscriber);

  // Number of subscribers.
  int64_t subscribers() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_HUB_H_
