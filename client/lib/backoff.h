// How long to wait before trying again: full jitter, so that many clients do not come back at the same moment.
#ifndef GRADWATCH_CLIENT_LIB_BACKOFF_H_
#define GRADWATCH_CLIENT_LIB_BACKOFF_H_

#include <functional>

#include "absl/time/time.h"

namespace gradwatch::client {

// Not thread-safe.
class Backoff {
 public:
  // `uniform` draws from [0, 1); null: a generator of its own.
  Backoff(absl::Duration initial, absl::Duration max, std::function<double()> uniform = nullptr);

  // A random part of a bound that starts at `initial` and doubles with each call, up to `max`.
  absl::Duration Next();
  // Starts again at `initial`.
  void Reset() { bound_ = initial_; }

 private:
  const absl::Duration initial_;
  const absl::Duration max_;
  const std::function<double()> uniform_;
  absl::Duration bound_;
};

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_BACKOFF_H_
