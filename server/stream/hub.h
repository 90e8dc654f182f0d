// Wakes subscribers when there is something new, on threads of its own, so that nobody who publishes waits for a
// reader, and nobody who follows what is new waits for those who read what is old.
#ifndef GRADWATCH_SERVER_STREAM_HUB_H_
#define GRADWATCH_SERVER_STREAM_HUB_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace gradwatch::server {

// Where a subscriber runs. Each lane has threads of its own; those of kCatchUp give way to the others where cores are
// few.
enum class Lane {
  kLive,     // takes a little, from memory
  kCatchUp,  // takes much, or from the stores
};

// Somebody who reads topics by a cursor of its own.
class Subscriber {
 public:
  virtual ~Subscriber() = default;
  // There may be something new, or the subscriber asked to be woken. Runs on a thread of `lane`, first of kLive, never
  // twice at once for one subscriber; must not wait for a client. Returns the lane on which to run next; another than
  // `lane`: there it is run at once.
  virtual Lane OnWake(Lane lane) = 0;
};

// Thread-safe. Topics are names: a job's uid, or one of these.
class Hub {
 public:
  static constexpr absl::string_view kEventsTopic = "events";    // there is a new event of any job; goes first
  static constexpr absl::string_view kFiguresTopic = "figures";  // a second has passed

  // Starts the threads of both lanes, at least one each.
  Hub(int live_threads, int catch_up_threads);
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
