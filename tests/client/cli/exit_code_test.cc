#include "client/cli/exit_code.h"

#include <gtest/gtest.h>

namespace gradwatch::cli {
namespace {

TEST(ExitCodeTest, EachStatusHasItsCode) {
  const struct {
    absl::StatusCode status;
    int exit_code;
  } cases[] = {
      {absl::StatusCode::kOk, 0},
      {absl::StatusCode::kInternal, 1},
      {absl::StatusCode::kUnknown, 1},
      {absl::StatusCode::kUnimplemented, 1},
      {absl::StatusCode::kDataLoss, 1},
      {absl::StatusCode::kInvalidArgument, 2},
      {absl::StatusCode::kOutOfRange, 2},
      {absl::StatusCode::kUnavailable, 3},
      {absl::StatusCode::kUnauthenticated, 4},
      {absl::StatusCode::kPermissionDenied, 4},
      {absl::StatusCode::kNotFound, 5},
      {absl::StatusCode::kAlreadyExists, 6},
      {absl::StatusCode::kFailedPrecondition, 6},
      {absl::StatusCode::kAborted, 6},
      {absl::StatusCode::kResourceExhausted, 7},
      {absl::StatusCode::kDeadlineExceeded, 124},
      {absl::StatusCode::kCancelled, 130},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(static_cast<int>(ExitCodeOf(absl::Status(c.status, ""))), c.exit_code) << static_cast<int>(c.status);
  }
}

TEST(ExitCodeTest, EachEndOfAJobHasItsCode) {
  EXPECT_EQ(static_cast<int>(ExitCodeOf(v1::JOB_STATE_SUCCEEDED)), 0);
  EXPECT_EQ(static_cast<int>(ExitCodeOf(v1::JOB_STATE_FAILED)), 1);
  EXPECT_EQ(static_cast<int>(ExitCodeOf(v1::JOB_STATE_STOPPED)), 8);
  EXPECT_EQ(static_cast<int>(ExitCodeOf(v1::JOB_STATE_RUNNING)), 1);
}

}  // namespace
}  // namespace gradwatch::cli
