#include "core/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

TEST(FieldErrorsTest, NothingAddedIsOk) { EXPECT_THAT(FieldErrors().ToStatus(), IsOk()); }

TEST(FieldErrorsTest, TellsEveryFieldWithItsPath) {
  FieldErrors errors;
  errors.Add("steps", "must be at least 1; got 0");
  errors.AddStatus("model", InvalidField("layers[2].dense.units", "must be at least 1; got -3"));
  errors.AddStatus("data", absl::InvalidArgumentError("no source"));
  errors.AddStatus("controls", absl::OkStatus());
  const absl::Status status = errors.ToStatus();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("model.layers[2].dense.units: must be at least 1; got -3")));
  const auto violations = GetFieldViolations(status);
  ASSERT_EQ(violations.size(), 3u);
  EXPECT_EQ(violations[0].field, "steps");
  EXPECT_EQ(violations[1].field, "model.layers[2].dense.units");
  EXPECT_EQ(violations[2].field, "data");
  EXPECT_EQ(GetReason(status), "FIELD_VIOLATION");
}

TEST(FieldErrorsTest, IndexedPathsNeedNoDot) {
  FieldErrors errors;
  errors.AddStatus("rules", InvalidField("[1].name", "is empty"));
  EXPECT_EQ(GetFieldViolations(errors.ToStatus())[0].field, "rules[1].name");
}

TEST(FieldErrorsTest, KeepsToWhatFitsIntoTrailers) {
  FieldErrors errors;
  for (int i = 0; i < 100; ++i) errors.Add("field", "is wrong");
  const absl::Status status = errors.ToStatus();
  EXPECT_EQ(GetFieldViolations(status).size(), 20u);
  EXPECT_THAT(status.message(), HasSubstr("and 80 more"));
}

TEST(FieldErrorsTest, WhatCouldSteerATerminalIsEscaped) {
  const absl::Status status = InvalidField("labels.\x1b[2J", "got \"\x1b[31m\"");
  EXPECT_THAT(status.message(), ::testing::Not(HasSubstr("\x1b")));
  EXPECT_EQ(GetFieldViolations(WithFieldPrefix("spec", status))[0].description, "got \"\\x1b[31m\"");
}

TEST(OrOutOfMemoryTest, TellsInsteadOfThrowing) {
  const absl::Status status = OrOutOfMemory("for this", []() -> absl::Status { throw std::bad_alloc(); });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, "not enough memory for this"));
  EXPECT_EQ(GetReason(status), "OUT_OF_MEMORY");
  const auto long_text = [] { return absl::StatusOr<std::string>(std::string(~size_t{0} / 2, 'x')); };
  EXPECT_THAT(OrOutOfMemory("for this", long_text), StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_EQ(*OrOutOfMemory("for this", [] { return absl::StatusOr<int>(7); }), 7);
}

TEST(WithFieldPrefixTest, KeepsTheCodeAndNamesTheField) {
  const absl::Status plain = WithFieldPrefix("text.path", absl::NotFoundError("a.txt: no such file"));
  EXPECT_THAT(plain, StatusIs(absl::StatusCode::kNotFound, "text.path: a.txt: no such file"));
  const absl::Status twice = WithFieldPrefix("data", plain);
  EXPECT_THAT(twice, StatusIs(absl::StatusCode::kNotFound, "data.text.path: a.txt: no such file"));
  EXPECT_EQ(GetFieldViolations(twice)[0].field, "data.text.path");
  EXPECT_EQ(GetReason(twice), "FIELD_VIOLATION");
  EXPECT_EQ(GetReason(WithFieldPrefix("model", WithReason(absl::InternalError("odd"), "ODD"))), "ODD");
  EXPECT_THAT(WithFieldPrefix("data", absl::OkStatus()), IsOk());
}

TEST(WithReasonTest, CarriesReasonAndFacts) {
  const absl::Status status = WithReason(absl::AbortedError("changed"), "ETAG_MISMATCH", {{"etag", "7"}});
  EXPECT_EQ(GetReason(status), "ETAG_MISMATCH");
  EXPECT_EQ(GetErrorMetadata(status, "etag"), "7");
  EXPECT_EQ(GetErrorMetadata(status, "missing"), "");
  EXPECT_EQ(GetReason(absl::AbortedError("plain")), "");
}

}  // namespace
}  // namespace gradwatch::core
