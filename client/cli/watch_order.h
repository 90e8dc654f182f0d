// Puts what a job's stream brings into the order in which it happened. History comes from two logs, events before
// reports: as it comes, "succeeded" would be told before step 0.
#ifndef GRADWATCH_CLIENT_CLI_WATCH_ORDER_H_
#define GRADWATCH_CLIENT_CLI_WATCH_ORDER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <variant>
#include <vector>

#include "gradwatch/v1/watch_service.pb.h"

namespace gradwatch::cli {

// Events stay in the order of their numbers. Each is held back until the reports of the steps that were done when it
// happened were given out, or until the stream is past them. An alert stands behind the report of its step where that
// is here or, as steps go by, due within a second; else it waits only for those before: a validation may take minutes.
// What happens in a new attempt while the stream is open, alerts among it, waits for nothing: neither for what is left
// of earlier attempts nor for its own first report, which may come minutes later. Nor does an alert that fires while
// the stream is open wait where many reports are to come before it. Not thread-safe.
class WatchOrder {
 public:
  using Item = std::variant<v1::Event, v1::StepReport, v1::ConflatedPoint, v1::StatisticsLost>;

  // `has_last_step`: what lies behind some step is not to be shown, so no alert comes before the reports.
  explicit WatchOrder(const v1::WatchJobRequest& request, bool has_last_step = false);

  // What is to be shown after this message, in order. Takes the content out of the message.
  std::vector<Item> Take(v1::WatchJobResponse* message);
  // All that is held back: for a stream that ends before it is past it.
  std::vector<Item> Flush();
  bool holds_back() const { return !held_.empty(); }

 private:
  // Attempt and step: the last report before something.
  using Place = std::pair<int32_t, int64_t>;

  // A report, a point or what is lost, with its first and its last step.
  struct Row {
    Place first, last;
    Item item;
  };

  std::vector<Row> TakeRows(v1::WatchJobResponse* message);
  void Start(const v1::WatchStarted& started);
  Place PlaceOf(const v1::Event& event) const;
  void Release(const Place& reached, std::vector<Item>* items);
  bool IsFarAhead(const v1::Event& event) const;
  void ReleaseWhatIsUrgent(std::vector<Item>* items);
  void Give(size_t events, std::vector<Item>* items);

  // Whether the report of this step has come, or is due soon.
  bool IsDue(const Place& step) const { return steps_are_quick_ || step <= arriving_; }

  const v1::WatchJobRequest::StartCase start_;
  const int64_t from_step_;
  const int64_t every_;
  const bool conflated_;
  const bool events_only_;
  const bool has_last_step_;
  bool started_ = false;
  int64_t last_event_ = 0;    // those after it happened while the stream was open
  Place reached_ = {1, -1};   // no report is before the first attempt
  Place arriving_ = {1, -1};  // the last report of the message that is being taken
  bool steps_are_quick_ = false;
  std::deque<v1::Event> held_;
};

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_WATCH_ORDER_H_
