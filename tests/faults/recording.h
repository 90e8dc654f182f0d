// What a subscriber was given over all its streams, and what must be true of it whatever was killed meanwhile.
#ifndef GRADWATCH_TESTS_FAULTS_RECORDING_H_
#define GRADWATCH_TESTS_FAULTS_RECORDING_H_

#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tests/support/long_wait.h"
#include "tests/support/outside.h"

namespace gradwatch::testing {

// The statistics of one step, or the word that those of a range are lost.
struct StatisticsRange {
  int32_t attempt = 0;
  int64_t first = 0;
  int64_t last = 0;
  bool lost = false;
  // What the step used; a lost range has none.
  int64_t revision = 0;
  double learning_rate = 0;
  double threshold = 0;  // 0: nothing was limited
};

struct Recording {
  std::string error;  // what ended the subscription too early; empty: nothing
  std::vector<v1::Event> events;
  std::vector<StatisticsRange> statistics;
  int64_t streams = 0;  // that were opened
  bool ended = false;   // the stream said that the job has ended
};

// Watches on a thread of its own and comes back with the last token whenever a stream breaks. `outside` must outlive
// it.
class Subscriber {
 public:
  // A job, from the beginning. `cut_after`: it also cuts its own stream after so many messages, again and again; 0:
  // never.
  static std::unique_ptr<Subscriber> OfJob(const Outside& outside, std::string job_id, bool events_only,
                                           int64_t cut_after);
  // The alerts of all jobs, from the beginning.
  static std::unique_ptr<Subscriber> OfAlerts(const Outside& outside);
  ~Subscriber();

  // Waits until so many events have come; false: not in time.
  bool AwaitEvents(size_t count, absl::Duration timeout = kLongWait);
  // Waits until the job's end was told.
  bool AwaitEnd(absl::Duration timeout = kLongWait);
  // Ends the subscription and returns what came.
  Recording Stop();

 private:
  Subscriber() = default;
  // Opens streams until one says that it is the last, an error that is for good, or Stop.
  template <typename Request, typename Response, typename Open>
  void Run(Request request, int64_t cut_after, Open open);
  // Records a message. True: it is the last one of all.
  bool Record(const v1::WatchJobResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Record(const v1::WatchAlertsResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  Recording recording_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* call_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;
};

// All of these add failures to the test. Events are numbered from 1 without gap or double, and are those of `expected`.
void CheckEvents(const std::string& who, const std::vector<v1::Event>& events, const std::vector<v1::Event>& expected);
// Every step from 0 to before `steps` is there or said to be lost, in order, none twice. Returns how many are lost.
int64_t CheckStatistics(const std::string& who, const std::vector<StatisticsRange>& statistics, int64_t steps);
// The alerts' stream has all changes of alerts that the jobs' logs have, in each job's order, and nothing else.
void CheckAlerts(const std::vector<v1::Event>& alerts, const std::map<std::string, std::vector<v1::Event>>& logs);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_FAULTS_RECORDING_H_
