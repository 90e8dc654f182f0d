#include "client/lib/spec_writer.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "client/lib/spec_reader.h"
#include "gradwatch/v1/job_service.pb.h"
#include "gradwatch/v1/telemetry.pb.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::client {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::gradwatch::testing::IsOk;

v1::JobSpec Spec() {
  return *ParseJobSpec(R"(
display_name: "yes"
model: {layers: [{dense: {units: 5, bias: false}}, {last_step: }], loss: {function: huber, delta: 0.1}}
steps: 9007199254740993
threads: 0
labels: {b: x y, a: ""}
)",
                       SpecSyntax::kYaml, "spec");
}

TEST(SpecWriterTest, WritesCompactJson) {
  EXPECT_EQ(
      FormatMessage(Spec(), OutputSyntax::kJson),
      R"({"display_name":"yes","model":{"layers":[{"dense":{"units":5,"bias":false}},{"last_step":{}}],)"
      R"("loss":{"function":"huber","delta":0.1}},"steps":9007199254740993,"threads":0,"labels":{"a":"","b":"x y"}})");
  EXPECT_EQ(FormatMessage(v1::JobSpec(), OutputSyntax::kJson), "{}");
}

TEST(SpecWriterTest, WritesPrettyJson) {
  EXPECT_EQ(FormatMessage(Spec().model(), OutputSyntax::kJsonPretty), R"({
  "layers": [
    {
      "dense": {
        "units": 5,
        "bias": false
      }
    },
    {
      "last_step": {}
    }
  ],
  "loss": {
    "function": "huber",
    "delta": 0.1
  }
})");
}

TEST(SpecWriterTest, WritesYaml) {
  EXPECT_EQ(FormatMessage(Spec(), OutputSyntax::kYaml), R"(display_name: "yes"
model:
  layers:
    - dense:
        units: 5
        bias: false
    - last_step: {}
  loss:
    function: huber
    delta: 0.1
steps: 9007199254740993
threads: 0
labels:
  a: ""
  b: "x y")");
  EXPECT_EQ(FormatMessage(v1::JobSpec(), OutputSyntax::kYaml), "{}");
}

TEST(SpecWriterTest, WritesTextproto) {
  EXPECT_EQ(FormatMessage(Spec().model().loss(), OutputSyntax::kTextproto),
            "function: LOSS_FUNCTION_HUBER\ndelta: 0.1");
}

TEST(SpecWriterTest, WritesDefaultsWhenAsked) {
  EXPECT_EQ(FormatMessage(v1::Dense(), OutputSyntax::kJson, {.include_defaults = true}), R"({"units":0})");
  EXPECT_EQ(FormatMessage(v1::ClipSettings(), OutputSyntax::kJson, {.include_defaults = true}),
            R"({"mode":"unspecified","threshold":0,"non_finite":"unspecified","overrides":[]})");
  EXPECT_EQ(FormatMessage(v1::CsvData(), OutputSyntax::kYaml, {.include_defaults = true}),
            "path: \"\"\ninputs: []\ntargets: []\nheader: unspecified");
}

TEST(SpecWriterTest, SpecialNumbersAreTold) {
  v1::ClipSettings clip;
  const struct {
    double value;
    const char* json;
    const char* yaml;
  } cases[] = {
      {std::nan(""), R"({"threshold":"NaN"})", "threshold: .nan"},
      {std::numeric_limits<double>::infinity(), R"({"threshold":"Infinity"})", "threshold: .inf"},
      {-std::numeric_limits<double>::infinity(), R"({"threshold":"-Infinity"})", "threshold: -.inf"},
      {-0.0, R"({"threshold":-0})", "threshold: -0"},
      {1e300, R"({"threshold":1e+300})", "threshold: 1e+300"},
      {0.1 + 0.2, R"({"threshold":0.30000000000000004})", "threshold: 0.30000000000000004"},
  };
  for (const auto& c : cases) {
    clip.set_threshold(c.value);
    EXPECT_EQ(FormatMessage(clip, OutputSyntax::kJson), c.json);
    EXPECT_EQ(FormatMessage(clip, OutputSyntax::kYaml), c.yaml);
  }
}

TEST(SpecWriterTest, TimesAndMasksAreText) {
  v1::Job job;
  job.mutable_create_time()->set_seconds(1769857200);
  job.mutable_create_time()->set_nanos(250'000'000);
  EXPECT_EQ(FormatMessage(job, OutputSyntax::kJson), R"({"create_time":"2026-01-31T11:00:00.25Z"})");
  EXPECT_EQ(FormatMessage(job, OutputSyntax::kYaml), R"(create_time: "2026-01-31T11:00:00.25Z")");
  v1::Retention retention;
  retention.mutable_max_age()->set_seconds(604'800);
  EXPECT_EQ(FormatMessage(retention, OutputSyntax::kJson), R"({"max_age":"604800s"})");
  retention.mutable_max_age()->set_seconds(-1);
  retention.mutable_max_age()->set_nanos(-250'000'000);
  EXPECT_EQ(FormatMessage(retention, OutputSyntax::kJson), R"({"max_age":"-1.25s"})");
  v1::AdjustJobRequest request;
  request.mutable_update_mask()->add_paths("clip.mode");
  request.mutable_update_mask()->add_paths("report_every");
  EXPECT_EQ(FormatMessage(request, OutputSyntax::kJson), R"({"update_mask":"clip.mode,report_every"})");
}

TEST(SpecWriterTest, UnknownEnumValuesAreNumbers) {
  v1::Loss loss;
  loss.set_function(static_cast<v1::LossFunction>(77));
  EXPECT_EQ(FormatMessage(loss, OutputSyntax::kJson), R"({"function":77})");
}

// Fills messages at random: every type of field, every kind of number and of text.
class RandomMessage {
 public:
  explicit RandomMessage(uint32_t seed) : random_(seed) {}

  void Fill(Message* message, int depth) {
    const auto* const type = message->GetDescriptor();
    if (type->full_name() == "google.protobuf.Timestamp" || type->full_name() == "google.protobuf.Duration") {
      message->GetReflection()->SetInt64(message, type->FindFieldByName("seconds"), random_() % 253402300800);
      message->GetReflection()->SetInt32(message, type->FindFieldByName("nanos"), random_() % 1'000'000'000);
      return;
    }
    for (int i = 0; i < type->field_count(); ++i) {
      if (type->field(i)->is_map() || random_() % 2 == 0) continue;
      const int count = type->field(i)->is_repeated() ? static_cast<int>(random_() % 3) : 1;
      for (int k = 0; k < count; ++k) SetField(message, type->field(i), depth);
    }
  }

 private:
  // Sets a field or adds an element to it.
  void SetField(Message* message, const FieldDescriptor* field, int depth) {
    const auto* const reflection = message->GetReflection();
#define GW_SET(Name, value) \
  field->is_repeated() ? reflection->Add##Name(message, field, value) : reflection->Set##Name(message, field, value)
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return GW_SET(Int32, static_cast<int32_t>(random_()));
      case FieldDescriptor::CPPTYPE_INT64:
        return GW_SET(Int64, static_cast<int64_t>(random_()));
      case FieldDescriptor::CPPTYPE_UINT32:
        return GW_SET(UInt32, static_cast<uint32_t>(random_()));
      case FieldDescriptor::CPPTYPE_UINT64:
        return GW_SET(UInt64, random_());
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return GW_SET(Double, Number());
      case FieldDescriptor::CPPTYPE_FLOAT:
        return GW_SET(Float, static_cast<float>(Number()));
      case FieldDescriptor::CPPTYPE_BOOL:
        return GW_SET(Bool, random_() % 2 == 0);
      case FieldDescriptor::CPPTYPE_ENUM:
        return GW_SET(EnumValue, field->enum_type()->value(random_() % field->enum_type()->value_count())->number());
      case FieldDescriptor::CPPTYPE_STRING:
        return GW_SET(String, Text());
      case FieldDescriptor::CPPTYPE_MESSAGE:
        if (depth == 0) return;
        return Fill(
            field->is_repeated() ? reflection->AddMessage(message, field) : reflection->MutableMessage(message, field),
            depth - 1);
    }
#undef GW_SET
  }

  double Number() {
    const double special[] = {std::nan(""), HUGE_VAL, -HUGE_VAL, 0, -0.0, 5e-324, 1.7976931348623157e308};
    if (random_() % 4 == 0) return special[random_() % std::size(special)];
    return std::ldexp(static_cast<double>(static_cast<int64_t>(random_())), static_cast<int>(random_() % 400) - 200);
  }

  std::string Text() {
    const char* const pieces[] = {"a",
                                  "Z",
                                  "0",
                                  ".5",
                                  " ",
                                  "  ",
                                  "\n",
                                  "\r",
                                  "\t",
                                  ":",
                                  ": ",
                                  "#",
                                  " #",
                                  "- ",
                                  "-",
                                  "?",
                                  "[",
                                  "]",
                                  "{",
                                  "}",
                                  ",",
                                  "&",
                                  "*",
                                  "!",
                                  "|",
                                  ">",
                                  "'",
                                  "\"",
                                  "%",
                                  "@",
                                  "`",
                                  "\\",
                                  "~",
                                  "null",
                                  "true",
                                  "no",
                                  "\x01",
                                  "\x1f",
                                  "\x7f",
                                  "\xc2\x85",
                                  "\xc2\xa0",
                                  "\xe2\x80\xa8",
                                  "\xef\xbb\xbf",
                                  "\xf0\x9f\x98\x80",
                                  "\xc3\xa9",
                                  "\\u",
                                  "<<",
                                  "="};
    std::string text;
    for (uint64_t length = random_() % 6; length > 0; --length) text += pieces[random_() % std::size(pieces)];
    return text;
  }

  std::mt19937_64 random_;
};

TEST(SlowSpecWriterTest, EverySyntaxReadsBackTheSame) {
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    v1::JobSpec spec;
    v1::StepReport report;
    v1::Job job;
    for (Message* const original :
         {static_cast<Message*>(&spec), static_cast<Message*>(&report), static_cast<Message*>(&job)}) {
      RandomMessage(seed).Fill(original, 6);
      const struct {
        OutputSyntax written;
        SpecSyntax read;
      } cases[] = {{OutputSyntax::kJson, SpecSyntax::kJson},
                   {OutputSyntax::kJsonPretty, SpecSyntax::kJson},
                   {OutputSyntax::kYaml, SpecSyntax::kYaml},
                   {OutputSyntax::kTextproto, SpecSyntax::kTextproto}};
      for (const auto& c : cases) {
        const std::string text = FormatMessage(*original, c.written);
        std::unique_ptr<Message> copy(original->New());
        const absl::Status status = ParseMessage(text, c.read, "text", copy.get());
        ASSERT_THAT(status, IsOk()) << text;
        // Bytes, so that NaN equals NaN and -0 does not equal 0.
        ASSERT_EQ(copy->SerializeAsString(), original->SerializeAsString()) << text;
      }
    }
  }
}

// What we write as JSON is JSON for others too: protobuf's own strict parser takes it, enum words aside.
TEST(SpecWriterTest, OthersReadOurJson) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    v1::CsvData original, copy;
    RandomMessage(seed).Fill(&original, 6);
    original.clear_header();
    const std::string json = FormatMessage(original, OutputSyntax::kJson);
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &copy).ok()) << json;
    EXPECT_EQ(copy.SerializeAsString(), original.SerializeAsString()) << json;
  }
}

}  // namespace
}  // namespace gradwatch::client
