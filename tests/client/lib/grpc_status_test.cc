#include "client/lib/grpc_status.h"

#include <gmock/gmock.h>

#include "client/lib/channel.h"
#include "tests/support/fake_server.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::client {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::Reason;
using ::gradwatch::testing::RichStatus;
using ::gradwatch::testing::StatusIs;
using ::testing::IsEmpty;

TEST(GrpcStatusTest, KeepsCodeAndMessage) {
  EXPECT_THAT(ToAbslStatus(grpc::Status::OK), IsOk());
  EXPECT_THAT(ToAbslStatus(grpc::Status(grpc::StatusCode::NOT_FOUND, "no job \"x\"")),
              StatusIs(absl::StatusCode::kNotFound, "no job \"x\""));
  EXPECT_THAT(ToAbslStatus(grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "who")),
              StatusIs(absl::StatusCode::kUnauthenticated, "who"));
}

TEST(GrpcStatusTest, ReadsTheDetailsBack) {
  google::rpc::BadRequest bad_request;
  auto* violation = bad_request.add_field_violations();
  violation->set_field("spec.steps");
  violation->set_description("is -1, must be at least 1");
  google::rpc::ErrorInfo info = Reason("FIELD_VIOLATION");
  (*info.mutable_metadata())["etag"] = "e2";
  const absl::Status status =
      ToAbslStatus(RichStatus(grpc::StatusCode::INVALID_ARGUMENT, "bad spec", info, bad_request));
  ASSERT_EQ(GetFieldViolations(status).size(), 1u);
  EXPECT_EQ(GetFieldViolations(status)[0].field(), "spec.steps");
  EXPECT_EQ(GetFieldViolations(status)[0].description(), "is -1, must be at least 1");
  EXPECT_EQ(GetReason(status), "FIELD_VIOLATION");
  EXPECT_EQ(GetErrorMetadata(status, "etag"), "e2");
  EXPECT_EQ(GetErrorMetadata(status, "other"), "");
  EXPECT_TRUE(status.GetPayload("type.googleapis.com/google.rpc.BadRequest").has_value());
}

TEST(GrpcStatusTest, StandsDetailsThatCannotBeRead) {
  const absl::Status status = ToAbslStatus(grpc::Status(grpc::StatusCode::INTERNAL, "m", "\xff\xff"));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal, "m"));
  EXPECT_THAT(GetFieldViolations(status), IsEmpty());
  EXPECT_EQ(GetReason(status), "");
}

TEST(DescribeStatusTest, TellsAFailedConnectionInPlainWords) {
  const grpc::Status refused(grpc::StatusCode::UNAVAILABLE,
                             "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7700: Failed to "
                             "connect to remote host: Connection refused");
  EXPECT_TRUE(IsConnectFailure(refused));
  EXPECT_THAT(DescribeStatus(refused, "127.0.0.1:7700"),
              StatusIs(absl::StatusCode::kUnavailable, "no server at 127.0.0.1:7700 (connection refused)"));
  EXPECT_THAT(DescribeStatus(grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"), "a"),
              StatusIs(absl::StatusCode::kDeadlineExceeded, "time is up"));
  const grpc::Status starting(grpc::StatusCode::UNAVAILABLE, "the server is starting");
  EXPECT_FALSE(IsConnectFailure(starting));
  EXPECT_THAT(DescribeStatus(starting, "a"), StatusIs(absl::StatusCode::kUnavailable, "the server is starting"));
}

TEST(IsBrokenStreamTest, KnowsWhatMayBeOpenedAgain) {
  EXPECT_TRUE(IsBrokenStream(grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed")));
  EXPECT_TRUE(IsBrokenStream(grpc::Status(grpc::StatusCode::CANCELLED, "")));
  EXPECT_TRUE(IsBrokenStream(grpc::Status(grpc::StatusCode::INTERNAL, "Received RST_STREAM with error code 2")));
  EXPECT_TRUE(IsBrokenStream(grpc::Status(grpc::StatusCode::UNKNOWN, "Stream removed")));
  EXPECT_FALSE(IsBrokenStream(grpc::Status(grpc::StatusCode::INTERNAL, "invariant")));
  EXPECT_FALSE(IsBrokenStream(grpc::Status(grpc::StatusCode::OUT_OF_RANGE, "history was dropped")));
  EXPECT_FALSE(IsBrokenStream(grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "")));
}

}  // namespace
}  // namespace gradwatch::client
