#include "core/spec/spec_check.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::core {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::_;
using ::testing::HasSubstr;

class SpecCheckTest : public ::testing::Test {
 protected:
  SpecCheckTest() : roots_(*DataRoots::Create({dir_.path()})) {
    dir_.Write("table.csv", "x,y\n1,2\n2,4\n");
    spec_.set_steps(10);
    spec_.mutable_model()->add_layers()->mutable_dense()->set_units(1);
    spec_.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_SQUARED_ERROR);
    spec_.mutable_data()->set_batch_size(1);
    spec_.mutable_data()->mutable_csv()->set_path("table.csv");
    spec_.mutable_data()->mutable_csv()->add_inputs("x");
    spec_.mutable_data()->mutable_csv()->add_targets("y");
    spec_.mutable_optimizer()->set_learning_rate(0.1);
  }
  absl::StatusOr<ValidatedJob> Check(const SpecLimits& limits = SpecLimits()) {
    return DecodeSpecCheckAnswer(AnswerSpecCheck(EncodeSpecCheck(spec_, roots_, limits)));
  }

  TempDir dir_;
  DataRoots roots_;
  v1::JobSpec spec_;
};

TEST_F(SpecCheckTest, TheAnswerIsThatOfValidateJob) {
  const auto here = ValidateJob(spec_, roots_, SpecLimits());
  const auto there = Check();
  ASSERT_THAT(here, IsOk());
  ASSERT_THAT(there, IsOk());
  EXPECT_TRUE(MessageDifferencer::Equals(here->spec, there->spec));
  EXPECT_TRUE(MessageDifferencer::Equals(here->estimate, there->estimate));
  EXPECT_TRUE(MessageDifferencer::Equals(here->data, there->data));
  EXPECT_EQ(there->data.examples(), 2);
  EXPECT_TRUE(there->data.header());
  EXPECT_EQ(there->data.note(), "the first line is read as a header: x, y (csv.header: no makes it data)");
  ASSERT_EQ(here->tensors.size(), there->tensors.size());
  for (size_t i = 0; i < here->tensors.size(); ++i) {
    EXPECT_TRUE(MessageDifferencer::Equals(here->tensors[i], there->tensors[i]));
  }
}

TEST_F(SpecCheckTest, ErrorsComeWithAllTheyCarry) {
  spec_.mutable_data()->mutable_csv()->set_path("absent.csv");
  EXPECT_EQ(Check().status(), ValidateJob(spec_, roots_, SpecLimits()).status());
  EXPECT_THAT(Check(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent.csv")));
  spec_.set_steps(0);
  EXPECT_EQ(Check().status(), ValidateJob(spec_, roots_, SpecLimits()).status());
  EXPECT_EQ(GetFieldViolations(Check().status()).size(), 2u);
}

TEST_F(SpecCheckTest, LimitsGoAlong) {
  const absl::Status status = Check({.max_parameters = 1}).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 parameters exceed the limit of 1")));
  EXPECT_EQ(GetReason(status), "QUOTA_PARAMS");
  EXPECT_THAT(Check({.max_bytes = 1}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the limit is 1")));
}

TEST_F(SpecCheckTest, WhatIsCutShortIsNoAnswer) {
  const std::string answer = AnswerSpecCheck(EncodeSpecCheck(spec_, roots_, SpecLimits()));
  for (size_t size = 0; size < answer.size(); ++size) {
    EXPECT_THAT(DecodeSpecCheckAnswer(answer.substr(0, size)), StatusIs(absl::StatusCode::kDataLoss, _)) << size;
  }
  EXPECT_THAT(DecodeSpecCheckAnswer(AnswerSpecCheck("nonsense")), StatusIs(absl::StatusCode::kInvalidArgument, _));
}

}  // namespace
}  // namespace gradwatch::core
