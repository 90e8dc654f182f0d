// Counts calls, errors and latencies of each operation, for whoever watches the server.
#ifndef GRADWATCH_SERVER_API_CALL_METRICS_H_
#define GRADWATCH_SERVER_API_CALL_METRICS_H_

#include <array>
#include <cstdint>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/api/operations.h"

namespace gradwatch::server {

// Thread-safe.
class CallMetrics {
 public:
  // Upper bounds of the latency histogram, in seconds; above the last there is one bucket more.
  static constexpr std::array<double, 14> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                     0.25,  0.5,    1,     2.5,  5,     10,   30};

  struct Figures {
    int64_t calls = 0;                           // that began, those that were refused at the door included
    int64_t open = 0;                            // that have not ended
    std::map<absl::StatusCode, int64_t> errors;  // that ended so; OK is none
    // Of calls that ended, whatever the code.
    std::array<int64_t, kBounds.size() + 1> latencies = {};
    double seconds = 0;  // of all together
  };

  void Begin(Operation operation);
  // `took`: from Begin on.
  void End(Operation operation, absl::StatusCode code, absl::Duration took);
  Figures Read(Operation operation) const;

 private:
  struct Slot {
    mutable absl::Mutex mutex;
    Figures figures ABSL_GUARDED_BY(mutex);
  };
  std::array<Slot, kOperations> slots_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_CALL_METRICS_H_
