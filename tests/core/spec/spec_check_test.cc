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
  EXPECT_EQ(
      there->data.note(),
      "the first line is read as a header, since none of its cells is a number: x, y (csv.header: no makes it data)");
  EXPECT_EQ(there->spec.data().csv().header(), v1::CsvData::HEADER_YES);
  ASSERT_EQ(here->tensors.size(), there->tensors.size());
  for (size_t i = 0; i < here->tensors.size(); ++i) {
    EXPECT_TRUE(MessageDifferencer::Equals(here->tensors[i], there->tensors[i]));
  }
}

// Whatever the table has become, it is read as it was when it was checked.
TEST_F(SpecCheckTest, HowTheFirstLineWasReadIsSaidFromThenOn) {
  spec_.mutable_data()->mutable_csv()->set_inputs(0, "0");
  spec_.mutable_data()->mutable_csv()->set_targets(0, "1");
  const struct {
    const char* text;
    bool is_header;
    const char* later;
  } cases[] = {{"x,y\n1,2\n2,4\n", true, "5.5,6.5\n1,2\n2,4\n"}, {"1,2\n2,4\n", false, "x,1\n2,4\n"}};
  for (const auto& c : cases) {
    dir_.Write("table.csv", c.text);
    const auto job = Check();
    ASSERT_THAT(job, IsOk());
    EXPECT_EQ(job->data.header(), c.is_header);
    EXPECT_NE(job->data.note(), "");
    const v1::CsvData& csv = job->spec.data().csv();
    EXPECT_EQ(csv.header(), c.is_header ? v1::CsvData::HEADER_YES : v1::CsvData::HEADER_NO);
    dir_.Write("table.csv", c.later);
    const auto again = ValidateJob(job->spec, roots_, SpecLimits());
    if (c.is_header) {
      ASSERT_THAT(again, IsOk());
      EXPECT_EQ(again->data.examples(), 2) << "its first line is numbers now, and a header";
      EXPECT_EQ(again->data.note(), "");
      EXPECT_TRUE(MessageDifferencer::Equals(again->spec, job->spec));
    } else {
      EXPECT_THAT(again,
                  StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 1, column 1 (position 0): \"x\"")));
    }
  }
  v1::JobSpec other = spec_;
  other.mutable_data()->mutable_spirals();
  other.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY);
  other.mutable_model()->mutable_layers(0)->mutable_dense()->set_units(2);
  const auto job = ValidateJob(other, roots_, SpecLimits());
  ASSERT_THAT(job, IsOk());
  EXPECT_FALSE(job->spec.data().has_csv()) << "what is no table stays what it is";
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
