// Finds numbers that are not finite, wherever they stand in a message.
#ifndef GRADWATCH_CORE_SPEC_FINITE_H_
#define GRADWATCH_CORE_SPEC_FINITE_H_

#include <google/protobuf/message.h>

#include "absl/status/status.h"

namespace gradwatch::core {

// INVALID_ARGUMENT with the path and the value of every NaN and infinity in `message`, those within its messages too.
absl::Status CheckFinite(const google::protobuf::Message& message);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_SPEC_FINITE_H_
