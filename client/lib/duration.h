// Durations in messages.
#ifndef GRADWATCH_CLIENT_LIB_DURATION_H_
#define GRADWATCH_CLIENT_LIB_DURATION_H_

#include <google/protobuf/duration.pb.h>

#include "absl/time/time.h"

namespace gradwatch::client {

// The duration, rounded to nanoseconds towards zero. Finite, of at most ten thousand years.
inline google::protobuf::Duration ToDuration(absl::Duration duration) {
  google::protobuf::Duration message;
  absl::Duration rest;
  message.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  message.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  return message;
}

inline absl::Duration FromDuration(const google::protobuf::Duration& message) {
  return absl::Seconds(message.seconds()) + absl::Nanoseconds(message.nanos());
}

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_DURATION_H_
