// Times in messages, for clients, which know nothing of core/.
#ifndef GRADWATCH_CLIENT_LIB_TIMESTAMP_H_
#define GRADWATCH_CLIENT_LIB_TIMESTAMP_H_

#include <google/protobuf/timestamp.pb.h>

#include "absl/time/time.h"

namespace gradwatch::client {

// The time, rounded down to nanoseconds; times before 1970 too.
inline google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  const int64_t seconds = absl::ToUnixSeconds(time);  // rounds down, so the rest is not negative
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(seconds);
  timestamp.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return timestamp;
}

inline absl::Time FromTimestamp(const google::protobuf::Timestamp& timestamp) {
  return absl::FromUnixSeconds(timestamp.seconds()) + absl::Nanoseconds(timestamp.nanos());
}

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_TIMESTAMP_H_
