#include "server/base/grpc_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "google/rpc/error.pb.h"

namespace gradwatch::server {
namespace {

using ::testing::HasSubstr;

google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_LE(status.error_details().size(), 4096u);
  return details;
}

TEST(GrpcStatusTest, OkIsOk) {
  const grpc::Status status = ToGrpcStatus(absl::OkStatus());
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.error_details(), "");
}

TEST(GrpcStatusTest, CodesAreTheSame) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status = ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "why"));
    EXPECT_EQ(status.error_code(), code);
    EXPECT_EQ(status.error_message(), "why");
    EXPECT_EQ(DetailsOf(status).code(), code);
    EXPECT_EQ(DetailsOf(status).message(), "why");
  }
}

TEST(GrpcStatusTest, CarriesReasonAndFields) {
  const absl::Status error = core::InvalidField("spec.steps", "must be at least 1; got 0");
  const google::rpc::Status details = DetailsOf(ToGrpcStatus(error));
  ASSERT_EQ(details.details_size(), 2);
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "FIELD_VIOLATION");
  google::rpc::BadRequest request;
  ASSERT_TRUE(details.details(1).UnpackTo(&request));
  ASSERT_EQ(request.field_violations_size(), 1);
  EXPECT_EQ(request.field_violations(0).field(), "spec.steps");
}

TEST(GrpcStatusTest, KeepsPayloadsThatAreNoMessagesToItself) {
  absl::Status error = absl::InternalError("x");
  error.SetPayload("gradwatch/private", absl::Cord("secret"));
  EXPECT_EQ(DetailsOf(ToGrpcStatus(error)).details_size(), 0);
}

TEST(GrpcStatusTest, CutsTheMessageBetweenCharacters) {
  const struct {
    std::string message, expected;
  } kCases[] = {
      {std::string(2000, 'a'), std::string(1024, 'a')},
      {std::string(1023, 'a') + "\u00fc", std::string(1023, 'a')},
      {std::string(1022, 'a') + "\u00fc", std::string(1022, 'a') + "\u00fc"},
      {std::string(1021, 'a') + "\U0001f525", std::string(1021, 'a')},
      {"\u20ac\u00fc\U0001f525", "\u20ac\u00fc\U0001f525"},
  };
  for (const auto& test_case : kCases) {
    EXPECT_EQ(ToGrpcStatus(absl::InternalError(test_case.message)).error_message(), test_case.expected);
  }
}

TEST(GrpcStatusTest, ReplacesBytesThatAreNoUtf8) {
  const struct {
    const char* message;
    const char* expected;
  } kCases[] = {
      {"a\xff\xfe z", "a?? z"},      // never in UTF-8
      {"\xc3", "?"},                 // cut off
      {"\xc0\xaf", "??"},            // too long a form
      {"\xe0\x80\xaf", "???"},       // too long a form
      {"\xed\xa0\x80", "???"},       // surrogate
      {"\xf4\x90\x80\x80", "????"},  // beyond Unicode
      {"\xf0\x9f\x94\xa5", "\xf0\x9f\x94\xa5"},
      {"\xf0\x80\x80\x80", "????"},  // too long a form
  };
  for (const auto& test_case : kCases) {
    EXPECT_EQ(ToGrpcStatus(absl::InternalError(test_case.message)).error_message(), test_case.expected);
  }
}

TEST(GrpcStatusTest, KeepsToWhatFitsIntoTrailers) {
  core::FieldErrors errors;
  for (int i = 0; i < 20; ++i) errors.Add(absl::StrCat("field", i), std::string(400, 'x'));
  absl::Status error = errors.ToStatus();
  error.SetPayload("type.googleapis.com/google.rpc.DebugInfo", absl::Cord(std::string(5000, 'x')));
  const google::rpc::Status details = DetailsOf(ToGrpcStatus(error));
  ASSERT_EQ(details.details_size(), 2);
  EXPECT_THAT(details.details(0).type_url(), HasSubstr("ErrorInfo"));
  google::rpc::BadRequest request;
  ASSERT_TRUE(details.details(1).UnpackTo(&request));
  EXPECT_GE(request.field_violations_size(), 6);
  EXPECT_EQ(request.field_violations(0).field(), "field0");
}

}  // namespace
}  // namespace gradwatch::server
