#include "client/cli/json.h"

#include <gtest/gtest.h>

#include <limits>

#include "gradwatch/v1/job.pb.h"

namespace gradwatch::cli {
namespace {

TEST(JsonTest, NumbersReadBackAndNonFiniteOnesAreStrings) {
  EXPECT_EQ(JsonNumber(0.1), "0.1");
  EXPECT_EQ(JsonNumber(3), "3");
  EXPECT_EQ(JsonNumber(1e300), "1e+300");
  EXPECT_EQ(JsonNumber(std::numeric_limits<double>::quiet_NaN()), "\"NaN\"");
  EXPECT_EQ(JsonNumber(std::numeric_limits<double>::infinity()), "\"Infinity\"");
  EXPECT_EQ(JsonNumber(-std::numeric_limits<double>::infinity()), "\"-Infinity\"");
}

TEST(JsonTest, FieldsOfAMessageHaveTheirProtoNamesAndDefaults) {
  v1::StepReport report;
  report.set_step(int64_t{1} << 60);
  report.mutable_clip()->set_action(v1::ClipOutcome::ACTION_NOT_NEEDED);
  report.mutable_time()->set_seconds(1'700'000'000);
  EXPECT_EQ(JsonObject().AddFields(report).Build(),
            "{\"attempt\":0,\"step\":1152921504606846976,\"loss\":0,\"learning_rate\":0,"
            "\"control_revision\":0,\"nan_count\":0,\"pos_inf_count\":0,\"neg_inf_count\":0,\"clip\":{"
            "\"action\":\"not_needed\",\"coefficient\":0,\"tensors_clipped\":0,"
            "\"elements_clipped\":0,\"units_clipped\":0,\"moments_reset\":false},"
            "\"step_seconds\":0,\"time\":\"2023-11-14T22:13:20Z\",\"tensors\":[],\"layers\":[]}");
}

TEST(JsonTest, FieldsThatCanBeUnsetAreLeftOut) {
  v1::CheckpointSpec checkpoints;
  EXPECT_EQ(JsonObject().Add("a", 1).AddFields(checkpoints).Build(), "{\"a\":1}");
  checkpoints.set_keep(3);
  EXPECT_EQ(JsonObject().Add("a", 1).AddFields(checkpoints).Build(), "{\"a\":1,\"keep\":3}");
}

TEST(JsonTest, WhatIsEscapedStaysSoInYaml) {
  EXPECT_EQ(JsonToYaml(JsonObject().Add("name", "\x1b[31m \xe2\x80\xae").Build()), "name: \"\\x1b[31m \\u202e\"");
}

TEST(JsonTest, BecomesYaml) {
  EXPECT_EQ(JsonToYaml(R"({"job":"x","old":{"mode":"none"},"steps":[1,2],"empty":[]})"),
            "job: x\nold:\n  mode: none\nsteps:\n  - 1\n  - 2\nempty: []");
}

}  // namespace
}  // namespace gradwatch::cli
