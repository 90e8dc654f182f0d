// Matchers for absl::Status and absl::StatusOr.
#ifndef GRADWATCH_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define GRADWATCH_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <gmock/gmock.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace gradwatch::testing {

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& statusor) {
  return statusor.status();
}

MATCHER(IsOk, negation ? "is not OK" : "is OK") {
  *result_listener << GetStatus(arg);
  return GetStatus(arg).ok();
}

// Code and a matcher of the message, for example StatusIs(absl::StatusCode::kNotFound, HasSubstr("job")).
MATCHER_P2(StatusIs, code, message_matcher, "has code " + absl::StatusCodeToString(code)) {
  *result_listener << GetStatus(arg);
  return GetStatus(arg).code() == code &&
         ::testing::ExplainMatchResult(message_matcher, std::string(GetStatus(arg).message()), result_listener);
}

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_STATUS_MATCHERS_H_
