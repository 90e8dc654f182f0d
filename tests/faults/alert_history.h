// Alerts of a job as its log tells them, and as the same spec raises them without a server.
#ifndef GRADWATCH_TESTS_FAULTS_ALERT_HISTORY_H_
#define GRADWATCH_TESTS_FAULTS_ALERT_HISTORY_H_

#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gradwatch/v1/event.pb.h"
#include "gradwatch/v1/job.pb.h"
#include "tests/support/process.h"

namespace gradwatch::testing {

inline absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

// A run of a spec by `gradwatch-worker train`, without a server.
class LocalRun {
 public:
  // Starts it; its spec is kept in `folder`.
  LocalRun(const std::string& folder, const v1::JobSpec& spec);

  // Episodes by rule, once it has ended. Adds a failure to the test if it does not succeed in time.
  std::map<std::string, int64_t> AwaitAlerts(absl::Duration timeout);

 private:
  std::unique_ptr<Process> process_;
};

// The episodes of a rule that a log tells.
struct Episodes {
  int64_t fired = 0;
  int64_t resolved = 0;
  std::map<int32_t, std::vector<v1::Alert>> changes;  // by the number of the episode
};

// By rule. Adds a failure to the test where an episode does not fire once and, as that of a job that has ended, is not
// resolved once after it.
std::map<std::string, Episodes> ReadAlerts(const std::vector<v1::Event>& events);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_FAULTS_ALERT_HISTORY_H_
