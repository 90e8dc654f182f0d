// Time as a thing that is handed in, so that tests can make it.
#ifndef GRADWATCH_CORE_BASE_CLOCK_H_
#define GRADWATCH_CORE_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace gradwatch::core {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // The calendar's time; may jump. For people only.
  virtual absl::Time Now() const = 0;
  // Time since some fixed moment; never goes back. For durations and deadlines.
  virtual absl::Duration Monotonic() const = 0;
};

// The machine's clock; lives for ever.
const Clock& RealClock();

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_CLOCK_H_
