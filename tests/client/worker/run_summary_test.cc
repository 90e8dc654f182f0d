#include "client/worker/run_summary.h"

#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <limits>

namespace gradwatch::worker {
namespace {

using google::protobuf::Struct;
using ::testing::HasSubstr;
using ::testing::Not;

RunSummary Summary() {
  RunSummary summary;
  summary.result.steps_done = 1234;
  summary.result.first_loss = 2.5;
  summary.result.final_loss = 0.125;
  summary.result.parameters_sha256 = "abc";
  summary.steps_per_second = 1000.5;
  summary.alerts = {{"non_finite", 1}, {"norm_spike", 2}};
  summary.parameters = 99;
  summary.estimated_bytes = 3 << 20;
  summary.peak_bytes = 5 << 19;
  return summary;
}

Struct Parse(const std::string& json) {
  Struct object;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &object);
  EXPECT_TRUE(status.ok()) << json;
  return object;
}

TEST(RunSummaryTest, JsonHasEverything) {
  const std::string json = ToJson(Summary());
  EXPECT_THAT(json, Not(HasSubstr("\n")));
  const Struct object = Parse(json);
  const auto& fields = object.fields();
  EXPECT_EQ(fields.at("state").string_value(), "succeeded");
  EXPECT_EQ(fields.at("steps").number_value(), 1234);
  EXPECT_EQ(fields.at("steps_per_second").number_value(), 1000.5);
  EXPECT_EQ(fields.at("first_loss").number_value(), 2.5);
  EXPECT_EQ(fields.at("final_loss").number_value(), 0.125);
  EXPECT_EQ(fields.at("parameters").number_value(), 99);
  EXPECT_EQ(fields.at("estimated_bytes").number_value(), 3 << 20);
  EXPECT_EQ(fields.at("peak_bytes").number_value(), 5 << 19);
  EXPECT_EQ(fields.at("parameters_sha256").string_value(), "abc");
  EXPECT_NE(fields.at("engine_variant").string_value(), "");
  EXPECT_EQ(fields.at("alerts").struct_value().fields().at("non_finite").number_value(), 1);
  EXPECT_EQ(fields.at("alerts").struct_value().fields().at("norm_spike").number_value(), 2);
  EXPECT_EQ(fields.count("failure"), 0u);
}

TEST(RunSummaryTest, JsonOfAFailureIsWhole) {
  RunSummary summary = Summary();
  summary.result.state = v1::JOB_STATE_FAILED;
  summary.result.failure = "a \"quoted\"\nword";
  summary.result.final_loss = std::numeric_limits<double>::quiet_NaN();
  summary.alerts.clear();
  const Struct object = Parse(ToJson(summary));
  EXPECT_EQ(object.fields().at("state").string_value(), "failed");
  EXPECT_EQ(object.fields().at("failure").string_value(), summary.result.failure);
  EXPECT_EQ(object.fields().at("final_loss").string_value(), "NaN");
  EXPECT_TRUE(object.fields().at("alerts").struct_value().fields().empty());
}

TEST(RunSummaryTest, ALossThatWasNotMeasuredIsNoNumber) {
  RunSummary summary = Summary();
  summary.result.first_loss.reset();
  summary.result.final_loss.reset();
  const Struct object = Parse(ToJson(summary));
  for (const char* field : {"first_loss", "final_loss"}) {
    EXPECT_EQ(object.fields().at(field).kind_case(), google::protobuf::Value::kNullValue) << field;
  }
  EXPECT_THAT(ToTable(summary), HasSubstr("\nloss               not measured\n"));
}

TEST(RunSummaryTest, WhatWasTakenForGrantedAboutTheDataIsTold) {
  EXPECT_EQ(Parse(ToJson(Summary())).fields().count("data_note"), 0u) << "only if there is something";
  EXPECT_THAT(ToTable(Summary()), Not(HasSubstr("\ndata ")));
  RunSummary summary = Summary();
  summary.data_note = "a header: \x1b[31m\"city\"";
  EXPECT_EQ(Parse(ToJson(summary)).fields().at("data_note").string_value(), summary.data_note);
  EXPECT_THAT(ToTable(summary), HasSubstr("\ndata               a header: \\x1b[31m\"city\"\n"));
}

TEST(RunSummaryTest, TableIsForPeople) {
  const std::string table = ToTable(Summary());
  EXPECT_THAT(table, HasSubstr("succeeded\n"));
  EXPECT_THAT(table, HasSubstr("1234\n"));
  EXPECT_THAT(table, HasSubstr("2.5 to 0.125\n"));
  EXPECT_THAT(table, HasSubstr("2.5 MiB, estimated 3.0 MiB"));
  EXPECT_THAT(table, HasSubstr("alert norm_spike   2\n"));
}

}  // namespace
}  // namespace gradwatch::worker
