#include "tests/faults/recording.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>
#include <utility>

namespace gradwatch::testing {
namespace {

// Whether a stream broke on the way and may be opened again.
bool IsBreak(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE || status.error_code() == grpc::StatusCode::CANCELLED ||
         status.error_code() == grpc::StatusCode::UNKNOWN || status.error_code() == grpc::StatusCode::INTERNAL;
}

constexpr int kMostTold = 5;  // differences of one kind; the rest says nothing new

}  // namespace

std::unique_ptr<Subscriber> Subscriber::OfJob(const Outside& outside, std::string job_id, bool events_only,
                                              int64_t cut_after) {
  std::unique_ptr<Subscriber> subscriber(new Subscriber);
  v1::WatchJobRequest request;
  request.set_job_id(std::move(job_id));
  request.set_from_beginning(true);
  request.set_events_only(events_only);
  subscriber->thread_ = std::thread([self = subscriber.get(), &outside, request, cut_after] {
    self->Run<v1::WatchJobRequest, v1::WatchJobResponse>(
        request, cut_after,
        [&](grpc::ClientContext* context, const auto& call) { return outside.watches->WatchJob(context, call); });
  });
  return subscriber;
}

std::unique_ptr<Subscriber> Subscriber::OfAlerts(const Outside& outside) {
  std::unique_ptr<Subscriber> subscriber(new Subscriber);
  v1::WatchAlertsRequest request;
  request.set_from_beginning(true);
  subscriber->thread_ = std::thread([self = subscriber.get(), &outside, request] {
    self->Run<v1::WatchAlertsRequest, v1::WatchAlertsResponse>(
        request, /*cut_after=*/0,
        [&](grpc::ClientContext* context, const auto& call) { return outside.alerts->WatchAlerts(context, call); });
  });
  return subscriber;
}

Subscriber::~Subscriber() { Stop(); }

template <typename Request, typename Response, typename Open>
void Subscriber::Run(Request request, int64_t cut_after, Open open) {
  for (;;) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);  // until the server is there again
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
      call_ = &context;
      ++recording_.streams;
    }
    const auto reader = open(&context, request);
    int64_t messages = 0;
    bool last = false;
    for (Response response; reader->Read(&response);) {
      absl::MutexLock lock(&mutex_);
      request.set_resume_token(response.resume_token());
      last = Record(response) || last;
      // What is on its way when a stream is cut belongs to the next one.
      if (++messages == cut_after) break;
    }
    context.TryCancel();
    for (Response late; reader->Read(&late);) {
    }
    const grpc::Status status = reader->Finish();
    absl::MutexLock lock(&mutex_);
    call_ = nullptr;
    if (last || stopping_) return;
    if (!status.ok() && !IsBreak(status)) {
      recording_.error = absl::StrCat(status.error_code(), " ", status.error_message());
      return;
    }
  }
}

bool Subscriber::Record(const v1::WatchJobResponse& response) {
  recording_.events.insert(recording_.events.end(), response.events().begin(), response.events().end());
  std::vector<StatisticsRange> ranges;
  for (const v1::StepReport& report : response.reports()) {
    ranges.push_back({report.attempt(), report.step(), report.step(), /*lost=*/false, report.control_revision(),
                      report.learning_rate(), report.clip().threshold()});
  }
  for (const v1::StatisticsLost& lost : response.lost()) {
    ranges.push_back({lost.attempt(), lost.first_step(), lost.last_step(), /*lost=*/true, 0, 0, 0});
  }
  // Each kind is in order by itself; together they are in the order of steps.
  std::stable_sort(ranges.begin(), ranges.end(), [](const StatisticsRange& a, const StatisticsRange& b) {
    return std::tie(a.attempt, a.first) < std::tie(b.attempt, b.first);
  });
  recording_.statistics.insert(recording_.statistics.end(), ranges.begin(), ranges.end());
  const auto reason = response.ended().reason();
  recording_.ended = reason == v1::WatchEnded::REASON_TERMINAL;
  return reason == v1::WatchEnded::REASON_TERMINAL || reason == v1::WatchEnded::REASON_DELETED;
}

bool Subscriber::Record(const v1::WatchAlertsResponse& response) {
  recording_.events.insert(recording_.events.end(), response.events().begin(), response.events().end());
  return false;
}

bool Subscriber::AwaitEvents(size_t count, absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return recording_.events.size() >= count || !recording_.error.empty();
  };
  mutex_.AwaitWithTimeout(absl::Condition(&enough), timeout);
  return recording_.events.size() >= count;
}

bool Subscriber::AwaitEnd(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto over = [this]()
                        ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return recording_.ended || !recording_.error.empty(); };
  mutex_.AwaitWithTimeout(absl::Condition(&over), timeout);
  return recording_.ended;
}

Recording Subscriber::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    if (call_ != nullptr) call_->TryCancel();
  }
  if (thread_.joinable()) thread_.join();
  absl::MutexLock lock(&mutex_);
  return std::move(recording_);
}

void CheckEvents(const std::string& who, const std::vector<v1::Event>& events, const std::vector<v1::Event>& expected) {
  EXPECT_EQ(events.size(), expected.size()) << who;
  int told = 0;
  for (size_t i = 0; i < events.size() && told < kMostTold; ++i) {
    if (events[i].number() != static_cast<int64_t>(i) + 1) {
      ADD_FAILURE() << who << ": event " << events[i].number() << " at place " << i + 1;
      ++told;
    } else if (i < expected.size() && events[i].SerializeAsString() != expected[i].SerializeAsString()) {
      ADD_FAILURE() << who << ": " << events[i].ShortDebugString() << "\ninstead of " << expected[i].ShortDebugString();
      ++told;
    }
  }
}

int64_t CheckStatistics(const std::string& who, const std::vector<StatisticsRange>& statistics, int64_t steps) {
  int64_t next = 0, lost = 0;
  int told = 0;
  for (const StatisticsRange& range : statistics) {
    if ((range.attempt != 1 || range.first != next || range.last < range.first) && told++ < kMostTold) {
      ADD_FAILURE() << who << ": attempt " << range.attempt << ", steps " << range.first << " to " << range.last
                    << (range.lost ? " (lost)" : "") << " where step " << next << " was next";
    }
    next = range.last + 1;
    if (range.lost) lost += range.last - range.first + 1;
  }
  EXPECT_EQ(next, steps) << who << ": steps told";
  return lost;
}

void CheckAlerts(const std::vector<v1::Event>& alerts, const std::map<std::string, std::vector<v1::Event>>& logs) {
  std::map<std::string, std::vector<v1::Event>> by_job;
  for (const v1::Event& event : alerts) {
    EXPECT_TRUE(logs.count(event.job_id()) > 0) << event.ShortDebugString();
    by_job[event.job_id()].push_back(event);
  }
  for (const auto& [job_id, log] : logs) {
    std::vector<std::string> expected, told;
    for (const v1::Event& event : log) {
      if (event.has_alert_changed()) expected.push_back(event.SerializeAsString());
    }
    for (const v1::Event& event : by_job[job_id]) told.push_back(event.SerializeAsString());
    EXPECT_EQ(told.size(), expected.size()) << job_id << ": changes of alerts told";
    EXPECT_TRUE(told == expected) << job_id << ": other changes of alerts, or another order";
  }
}

}  // namespace gradwatch::testing
