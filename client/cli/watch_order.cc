#include "client/cli/watch_order.h"

#include <algorithm>
#include <limits>

namespace gradwatch::cli {
namespace {

// A job whose log is longer than this shows the first of its events early rather than take ever more memory.
constexpr size_t kMaxHeld = 10'000;

// A stream with more reports than this before that of an alert reads what is old, or more than it can take.
constexpr int64_t kMostAwaited = 256;

// Of steps that take less the report is waited for.
constexpr double kQuickSeconds = 1;

// Whether it is an alert that comes within its step, whose report follows.
bool IsWithinItsStep(const v1::Event& event) {
  const bool is_alert = event.has_alert_changed() && !event.alert_changed().acknowledgement();
  return is_alert && event.alert_changed().alert().step() + 1 >= event.steps_done();
}

// The last step that was done when an event happened, which may be further than the server knew; -1: none was.
int64_t StepBefore(const v1::Event& event) {
  const int64_t told = event.has_adjusted() ? event.adjusted().adjustment().effective_step() - 1 : -1;
  return std::max(event.steps_done() - 1, told);
}

}  // namespace

WatchOrder::WatchOrder(const v1::WatchJobRequest& request, bool has_last_step)
    : start_(request.start_case()),
      from_step_(request.from_step()),
      every_(std::max<int64_t>(request.every_steps(), 1)),
      conflated_(request.delivery() == v1::WatchJobRequest::DELIVERY_CONFLATED),
      events_only_(request.events_only()),
      has_last_step_(has_last_step) {}

std::vector<WatchOrder::Item> WatchOrder::Take(v1::WatchJobResponse* message) {
  if (message->has_started()) {
    if (!started_) Start(message->started());
    last_event_ = std::max(last_event_, message->started().last_event());
  }
  std::vector<Item> items;
  for (v1::Event& event : *message->mutable_events()) {
    held_.push_back(std::move(event));
    if (held_.size() > kMaxHeld) Give(1, &items);
  }
  std::vector<Row> rows = TakeRows(message);
  arriving_ = rows.empty() ? reached_ : rows.back().last;
  for (Row& row : rows) {
    Release({row.first.first, row.first.second - 1}, &items);
    reached_ = std::max(reached_, row.last);
    items.push_back(std::move(row.item));
  }
  // With the end, or a sign of life of a stream that is complete up to now, nothing before it is still to come.
  const bool is_past = events_only_ || message->has_ended() || message->has_bookmark_time();
  Release(is_past ? Place(std::numeric_limits<int32_t>::max(), 0) : reached_, &items);
  ReleaseWhatIsUrgent(&items);
  return items;
}

// In the order of their first steps; reports, points and lost ranges come in lists of their own.
std::vector<WatchOrder::Row> WatchOrder::TakeRows(v1::WatchJobResponse* message) {
  std::vector<Row> rows;
  for (v1::StatisticsLost& lost : *message->mutable_lost()) {
    rows.push_back({{lost.attempt(), lost.first_step()}, {lost.attempt(), lost.last_step()}, std::move(lost)});
  }
  for (v1::ConflatedPoint& point : *message->mutable_points()) {
    rows.push_back({{point.attempt(), point.first_step()}, {point.attempt(), point.last_step()}, std::move(point)});
  }
  for (v1::StepReport& report : *message->mutable_reports()) {
    const Place place(report.attempt(), report.step());
    if (report.step_seconds() > 0) steps_are_quick_ = report.step_seconds() < kQuickSeconds;
    rows.push_back({place, place, std::move(report)});
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.first < b.first; });
  return rows;
}

std::vector<WatchOrder::Item> WatchOrder::Flush() {
  std::vector<Item> items;
  Release({std::numeric_limits<int32_t>::max(), 0}, &items);
  return items;
}

// Where a resumed stream goes on is the server's secret; its first report will tell.
void WatchOrder::Start(const v1::WatchStarted& started) {
  started_ = true;
  const int32_t attempt = std::max(started.job().attempt(), 1);
  if (start_ == v1::WatchJobRequest::kFromStep) reached_ = {attempt, from_step_ - 1};
  if (start_ == v1::WatchJobRequest::START_NOT_SET) reached_ = {attempt, started.job().steps_done() - 1};
}

// With a filter on steps, the last report that will come before it; conflated, the last point that is closed by then.
WatchOrder::Place WatchOrder::PlaceOf(const v1::Event& event) const {
  int64_t step = StepBefore(event);
  if (IsWithinItsStep(event)) {
    step = event.alert_changed().alert().step();
    if (!IsDue({event.attempt(), step})) --step;
  }
  if (step < 0) return {event.attempt(), -1};
  return {event.attempt(), conflated_ ? (step + 1) / every_ * every_ - 1 : step - step % every_};
}

void WatchOrder::Release(const Place& reached, std::vector<Item>* items) {
  while (!held_.empty() && PlaceOf(held_.front()) <= reached) Give(1, items);
}

bool WatchOrder::IsFarAhead(const v1::Event& event) const {
  const Place place = PlaceOf(event);
  return !has_last_step_ && place.first == reached_.first && (place.second - reached_.second) / every_ > kMostAwaited;
}

// Of what happened while the stream was open. Events before it go with it: they keep their order.
void WatchOrder::ReleaseWhatIsUrgent(std::vector<Item>* items) {
  if (!started_) return;
  const auto is_urgent = [this](const v1::Event& event) {
    if (event.number() <= last_event_) return false;
    return event.attempt() > reached_.first || (event.has_alert_changed() && IsFarAhead(event));
  };
  const auto last = std::find_if(held_.rbegin(), held_.rend(), is_urgent);
  Give(static_cast<size_t>(held_.rend() - last), items);
}

void WatchOrder::Give(size_t events, std::vector<Item>* items) {
  for (; events > 0; --events) {
    items->emplace_back(std::move(held_.front()));
    held_.pop_front();
  }
}

}  // namespace gradwatch::cli
