#include "client/lib/spec_reader.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/lib/yaml_to_message.h"
#include "gradwatch/v1/job_service.pb.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::client {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

constexpr char kYaml[] = R"(# An RNN on the adding problem.
display_name: adding, T = 100
model:
  layers:
    - name: memory
      rnn:
        units: 50
        nonlinearity: relu
        recurrent_init: {method: identity, gain: 1e0}
    - last_step:
    - residual:
        layers:
          - dense: {units: 50, bias: false}
          - activation: {function: ACTIVATION_FUNCTION_TANH}
    - pool2d: {mode: Max, kernel: 2}
    - dense: {units: 1}
  loss: {function: squared_error}
data:
  batch_size: 20
  csv:
    path: "a\tb.csv"
    inputs: ["0", no, on, 0123, 1.5]
optimizer:
  learning_rate: 1e-3
  momentum: .9
controls:
  clip: {mode: global_norm, threshold: .inf}
steps: 1e6
seed: 18446744073709551615
labels:
  team: research
  on: 'yes'
)";

constexpr char kJson[] = R"({
	"display_name": "adding, T = 100",
	"model": {"layers":[
	  {"name":"memory","rnn":{"units":50,"nonlinearity":"relu","recurrent_init":{"method":"identity","gain":1}}},
	  {"last_step":{}},
	  {"residual":{"layers":[{"dense":{"units":50,"bias":false}},{"activation":{"function":"tanh"}}]}},
	  {"pool2d":{"mode":"MODE_MAX","kernel":2}}, {"dense":{"units":"1"}}],
	  "loss": {"function": "squared_error"}},
	"data": {"batch_size": 20, "csv": {"path": "a\tb.csv", "inputs": ["0", "no", "on", "0123", "1.5"]}},
	"optimizer": {"learning_rate": 0.001, "momentum": 9e-1},
	"controls": {"clip": {"mode": "global_norm", "threshold": "Infinity"}},
	"steps": 1000000, "seed": 18446744073709551615,
	"labels": {"team": "research", "on": "yes"}
})";

constexpr char kTextproto[] = R"(# proto-message: gradwatch.v1.JobSpec
display_name: "adding, T = 100"
model {
  layers {
    name: "memory"
    rnn {
      units: 50
      nonlinearity: ACTIVATION_FUNCTION_RELU
      recurrent_init { method: INITIALIZER_METHOD_IDENTITY gain: 1 }
    }
  }
  layers { last_step {} }
  layers {
    residual {
      layers { dense { units: 50 bias: false } }
      layers { activation { function: ACTIVATION_FUNCTION_TANH } }
    }
  }
  layers { pool2d { mode: MODE_MAX kernel: 2 } }
  layers { dense { units: 1 } }
  loss { function: LOSS_FUNCTION_SQUARED_ERROR }
}
data { batch_size: 20 csv { path: "a\tb.csv" inputs: ["0", "no", "on", "0123", "1.5"] } }
optimizer { learning_rate: 1e-3 momentum: 0.9 }
controls { clip { mode: CLIP_MODE_GLOBAL_NORM threshold: inf } }
steps: 1000000
seed: 18446744073709551615
labels { key: "team" value: "research" }
labels { key: "on" value: "yes" }
)";

absl::Status ParseYaml(absl::string_view yaml) { return ParseJobSpec(yaml, SpecSyntax::kYaml, "job.yaml").status(); }

TEST(SpecReaderTest, AllSyntaxesGiveTheSameMessage) {
  const auto yaml = ParseJobSpec(kYaml, SpecSyntax::kYaml, "job.yaml");
  const auto json = ParseJobSpec(kJson, SpecSyntax::kJson, "job.json");
  const auto textproto = ParseJobSpec(kTextproto, SpecSyntax::kTextproto, "job.textproto");
  ASSERT_THAT(yaml, IsOk());
  ASSERT_THAT(json, IsOk());
  ASSERT_THAT(textproto, IsOk());
  EXPECT_TRUE(MessageDifferencer::Equals(*yaml, *textproto)) << yaml->DebugString() << textproto->DebugString();
  EXPECT_TRUE(MessageDifferencer::Equals(*json, *textproto)) << json->DebugString();
  EXPECT_EQ(yaml->steps(), 1'000'000);
  EXPECT_EQ(yaml->data().csv().inputs(3), "0123");
  EXPECT_TRUE(yaml->model().layers(1).has_last_step());
  EXPECT_TRUE(std::isinf(yaml->controls().clip().threshold()));
}

TEST(SpecReaderTest, EveryErrorTellsPlacePathAndValue) {
  const struct {
    const char* yaml;
    const char* message;
  } cases[] = {
      {"steps: 5\nsead: 1\n", "job.yaml:2:1: sead: no such field; did you mean seed?"},
      {"model:\n  layers:\n    - dense: {units: 5}\n    - dens: {units: 5}\n",
       "job.yaml:4:7: model.layers[1].dens: no such field; did you mean dense?"},
      {"optimizer: {learningRate: 1}\n",
       "job.yaml:1:13: optimizer.learningRate: no such field; did you mean learning_rate?"},
      {"model: {loss: {f: 1}}\n", "model.loss.f: no such field; one of function, delta"},
      {"rules: {rules: [{name: a, enabled: false}]}\n",
       "rules.rules[0].enabled: no such field; to take a rule out: off: true"},
      {"rules: {rules: [{name: a, disabled: true}]}\n",
       "rules.rules[0].disabled: no such field; to take a rule out: off: true"},
      {"rules: {rules: [{name: a, xyzzy: 1}]}\n",
       "rules.rules[0].xyzzy: no such field; one of name, severity, tensors, for_steps, resolve_after_steps, "
       "within_steps, off; one condition of non_finite, norm_limit, norm_spike, loss_jump, "},
      {"rules: {rules: [{name: mine, norm_limit: {max_nrm: 1}}]}\n",
       "rules.rules[0].norm_limit.max_nrm: no such field; did you mean max_norm? (rule \"mine\")"},
      {"rules: {rules: [{norm_limit: {max_norm: x}, name: late}]}\n", "found \"x\" (rule \"late\")"},
      {"rules: {rules: [{name: a, unabel: 1}]}\n", "no such field; one of name"},  // unable is not for writing
      {"rules: {rules: [{name: a, armed_att: 1}]}\n", "no such field; one of name"},
      {"rules: {rules: [{name: a, norm_limt: {}}]}\n", "no such field; did you mean norm_limit?"},
      {"model: {layers: [{last_step: {x: 1}}]}\n", "model.layers[0].last_step.x: no such field"},
      {"steps: ten\n", "job.yaml:1:8: steps: expected a whole number, found \"ten\""},
      {"steps: 1.5\n", "steps: expected a whole number, found \"1.5\""},
      {"steps: 9223372036854775808\n",
       "steps: expected a whole number from -9223372036854775808 to 9223372036854775807, found "
       "\"9223372036854775808\""},
      {"steps: 1e300\n", "to 9223372036854775807, found \"1e300\""},
      {"steps: 1e400\n", "to 9223372036854775807, found \"1e400\""},
      {"steps: .nan\n", "found \".nan\""},
      {"seed: -1\n", "seed: expected a whole number from 0 to 18446744073709551615, found \"-1\""},
      {"threads: 3000000000\n", "threads: expected a whole number from -2147483648 to 2147483647"},
      {"steps:\n", "job.yaml:1:1: steps: expected a single value, found nothing"},
      {"display_name: ~\n", "display_name: expected a single value, found nothing"},
      {"display_name: [a]\n", "job.yaml:1:15: display_name: expected a single value, found a list"},
      {"display_name: {a: b}\n", "display_name: expected a single value, found a mapping"},
      {"optimizer: {learning_rate: fast}\n", "optimizer.learning_rate: expected a decimal number, found \"fast\""},
      {"optimizer: {learning_rate: 1e999}\n", "expected a number within the range of double, found \"1e999\""},
      {"optimizer: {learning_rate: 0x10}\n", "found \"0x10\""},
      {"optimizer: {learning_rate: \"\"}\n", "found \"\""},
      {"optimizer: {learning_rate: .5x}\n", "found \".5x\""},
      {"optimizer: {nesterov: yes}\n", "optimizer.nesterov: expected true or false, found \"yes\""},
      {"optimizer: {nesterov: 1}\n", "found \"1\""},
      {"optimizer: {method: sdg}\n", "optimizer.method: no value \"sdg\"; did you mean sgd?"},
      {"optimizer: {method: 1}\n", "optimizer.method: no value \"1\"; one of sgd, rmsprop, adagrad, adam, adamw"},
      {"model: {layers: {dense: {units: 5}}}\n", "job.yaml:1:17: model.layers: expected a list, found a mapping"},
      {"model: {layers: 5}\n", "model.layers: expected a list, found \"5\""},
      {"model: 5\n", "job.yaml:1:8: model: expected a mapping, found \"5\""},
      {"model: [5]\n", "model: expected a mapping, found a list"},
      {"model: {layers: [5]}\n", "model.layers[0]: expected a mapping, found \"5\""},
      {"labels: [a]\n", "labels: expected a mapping, found a list"},
      {"labels: {a: [b]}\n", "labels.a: expected a single value, found a list"},
      {"labels: {a: b, a: c}\n", "job.yaml:1:16: labels.a: given twice"},
      {"steps: 5\nsteps: 6\n", "job.yaml:2:1: steps: given twice"},
      {"model: {layers: [{dense: {units: 5}, last_step: {}}]}\n",
       "model.layers[0].last_step: given beside dense, but only one may be"},
      {"[a]: b\n", "job.yaml:1:1: expected the name of a field, found a list"},
      {"- steps: 5\n", "job.yaml:1:1: expected a mapping, found a list"},
      {"just text\n", "job.yaml:1:1: expected a mapping, found \"just text\""},
      {"", "job.yaml:1:1: empty"},
      {"# nothing\n", "job.yaml:1:1: empty"},
      {"---\n", "job.yaml:1:1: empty"},
      {"steps: 5\n---\nsteps: 6\n", "job.yaml:3:1: more than one document"},
      {"a: [1, 2\nb: 3", "job.yaml:2:2: end of sequence flow not found"},
      {"a:\n  - b\n c: d\n", "job.yaml:3:2: end of map not found"},
      {"steps: *unknown\n", "job.yaml:1:8: the referenced anchor is not defined"},
      {"display_name: a\xff\n", "job.yaml: not UTF-8 at byte 15"},
  };
  for (const auto& c : cases) EXPECT_THAT(ParseYaml(c.yaml), StatusIs(kInvalid, HasSubstr(c.message))) << c.yaml;
}

TEST(SpecReaderTest, TabsInTheIndentationAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"steps: 5\nmodel:\n\tloss: {}\n", "job.yaml:3:"},
      {"model:\n  loss: {}\n\tlayers: []\n", "job.yaml:3:"},
      {"model:\n  layers:\n  \t- dense: {units: 5}\n", "job.yaml:3:"},
      {"\tsteps: 5\n", "job.yaml:1:"},
  };
  for (const auto& [yaml, place] : cases) {
    EXPECT_THAT(ParseYaml(yaml), StatusIs(kInvalid, AllOf(HasSubstr(place), HasSubstr("; the line is indented with a "
                                                                                      "tab, YAML takes spaces only"))))
        << yaml;
  }
  EXPECT_THAT(ParseYaml("steps:\t5\n"), IsOk()) << "elsewhere they are space";
  for (const char* other : {"{\n\t\"steps\": 5,\n\t\"seed\"\n", "model:\n  a: b: c\n"}) {
    EXPECT_THAT(ParseYaml(other), StatusIs(kInvalid, ::testing::Not(HasSubstr("tab")))) << other;
  }
}

TEST(SpecReaderTest, OtherEncodingsAreNamed) {
  const std::pair<std::string, const char*> cases[] = {
      {std::string("\xff\xfes\0:\0", 6), "job: is UTF-16; must be UTF-8"},
      {std::string("\xfe\xff\0s\0:", 6), "job: is UTF-16; must be UTF-8"},
      {std::string("\xff\xfe\0\0s\0\0\0", 8), "job: is UTF-32; must be UTF-8"},
      {std::string("\0\0\xfe\xff\0\0\0s", 8), "job: is UTF-32; must be UTF-8"},
      {std::string("s\0:\0", 4), "job: byte 1 is NUL, so this is not UTF-8 text; perhaps it is UTF-16"},
  };
  for (const auto& [text, message] : cases) {
    for (const SpecSyntax syntax : {SpecSyntax::kYaml, SpecSyntax::kJson, SpecSyntax::kTextproto}) {
      EXPECT_THAT(ParseJobSpec(text, syntax, "job"), StatusIs(kInvalid, message));
    }
  }
}

TEST(SpecReaderTest, TextprotoErrorsTellThePlaceToo) {
  const auto parse = [](absl::string_view text) {
    return ParseJobSpec(text, SpecSyntax::kTextproto, "job.textproto").status();
  };
  EXPECT_THAT(parse("steps: 5\n  sead: 1\n"), StatusIs(kInvalid, HasSubstr("job.textproto:2:")));
  EXPECT_THAT(parse("steps: 5\n  sead: 1\n"), StatusIs(kInvalid, HasSubstr("sead")));
  EXPECT_THAT(parse("steps: x"), StatusIs(kInvalid, HasSubstr("job.textproto:1:8: ")));
  EXPECT_THAT(parse("display_name: \"\xff\""), StatusIs(kInvalid, HasSubstr("not UTF-8 at byte 15")));
  EXPECT_THAT(parse("display_name: \"\\377\""), StatusIs(kInvalid, HasSubstr("a string is not UTF-8")));
  EXPECT_THAT(parse("labels { key: \"\\377\" }"), StatusIs(kInvalid, HasSubstr("a string is not UTF-8")));
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "residual { layers { ";
  EXPECT_THAT(parse("model { layers { " + deep), StatusIs(kInvalid, HasSubstr("deep")));
}

// To YAML of old, yes and no are truth values.
TEST(SpecReaderTest, AHeaderIsYesNoOrAuto) {
  const std::pair<const char*, v1::CsvData::Header> cases[] = {
      {"yes", v1::CsvData::HEADER_YES},  {"no", v1::CsvData::HEADER_NO},    {"auto", v1::CsvData::HEADER_AUTO},
      {"true", v1::CsvData::HEADER_YES}, {"False", v1::CsvData::HEADER_NO}, {"\"true\"", v1::CsvData::HEADER_YES}};
  for (const auto& [word, header] : cases) {
    const auto spec = ParseJobSpec(absl::StrCat("data: {csv: {header: ", word, "}}"), SpecSyntax::kYaml, "job");
    ASSERT_THAT(spec, IsOk());
    EXPECT_EQ(spec->data().csv().header(), header);
  }
  EXPECT_EQ(ParseJobSpec(R"({"data": {"csv": {"header": false}}})", SpecSyntax::kJson, "job")->data().csv().header(),
            v1::CsvData::HEADER_NO);
  EXPECT_THAT(ParseJobSpec("data: {csv: {header: on}}", SpecSyntax::kYaml, "job"),
              StatusIs(kInvalid, HasSubstr("data.csv.header: no value \"on\"; did you mean no?")));
  EXPECT_THAT(ParseJobSpec("optimizer: {method: true}", SpecSyntax::kYaml, "job"),
              StatusIs(kInvalid, HasSubstr("optimizer.method: no value \"true\"")))
      << "where yes is no value";
}

// Protobuf's own reader takes 0x10 as 16 and 010 as 8.
TEST(SpecReaderTest, NumbersAreDecimalInEverySyntax) {
  for (const char* number : {"0x10", "0X1F"}) {
    for (const SpecSyntax syntax : {SpecSyntax::kYaml, SpecSyntax::kJson, SpecSyntax::kTextproto}) {
      for (const char* field : {"steps", "seed"}) {
        const bool json = syntax == SpecSyntax::kJson;
        const std::string text =
            json ? absl::StrCat("{\"", field, "\": ", number, "}") : absl::StrCat(field, ": ", number);
        EXPECT_THAT(ParseJobSpec(text, syntax, "job"), StatusIs(kInvalid, HasSubstr(absl::StrCat("found \"", number))))
            << text;
      }
    }
  }
  EXPECT_EQ(ParseJobSpec("steps: 010", SpecSyntax::kYaml, "job")->steps(), 10);
  EXPECT_THAT(ParseJobSpec("steps: 5 # 0x10\nseed: 010", SpecSyntax::kTextproto, "job"),
              StatusIs(kInvalid, "job:2:7: expected a decimal number without leading zeros, found \"010\""));
  EXPECT_THAT(ParseJobSpec("optimizer { learning_rate: 0x1 }", SpecSyntax::kTextproto, "job"),
              StatusIs(kInvalid, HasSubstr("expected a decimal number, found \"0x1\"")));
  const auto spec = ParseJobSpec("steps: 100 seed: 0 display_name: \"0x10 \" \"010\" optimizer { learning_rate: 0.5 }",
                                 SpecSyntax::kTextproto, "job");
  ASSERT_THAT(spec, IsOk());
  EXPECT_EQ(spec->display_name(), "0x10 010");
  EXPECT_EQ(spec->optimizer().learning_rate(), 0.5);
}

TEST(SpecReaderTest, BoundsDepthAndSize) {
  EXPECT_THAT(ParseYaml(absl::StrCat("model: ", std::string(1000, '['))),
              StatusIs(kInvalid, HasSubstr("nested too deeply")));
  std::string deep = "{dense: {units: 1}}";
  for (int i = 0; i < 40; ++i) deep = absl::StrCat("{residual: {layers: [", deep, "]}}");
  EXPECT_THAT(ParseYaml(absl::StrCat("model: {layers: [", deep, "]}")),
              StatusIs(kInvalid, HasSubstr("nested more than 100 deep")));
  EXPECT_THAT(ParseYaml("model: &a {layers: [{residual: *a}]}"), StatusIs(kInvalid, HasSubstr("nested more than")));
  EXPECT_THAT(ParseYaml(std::string(100'000, '[')), StatusIs(kInvalid, HasSubstr("job.yaml")));
  // Aliases make a hundred million values out of a few lines.
  std::string layers = "&a0 {residual: {layers: [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}]}}";
  for (int i = 1; i < 8; ++i) {
    const std::string before = absl::StrCat("*a", i - 1);
    absl::StrAppend(&layers, ", &a", i, " {residual: {layers: [", before);
    for (int k = 0; k < 9; ++k) absl::StrAppend(&layers, ", ", before);
    absl::StrAppend(&layers, "]}}");
  }
  EXPECT_THAT(ParseYaml(absl::StrCat("model: {layers: [", layers, "]}")),
              StatusIs(kInvalid, HasSubstr("too many values")));
}

TEST(SpecReaderTest, JsonEscapesMeanWhatJsonSays) {
  const auto spec =
      ParseJobSpec(R"({"display_name": "\u00e9 \ud83d\ude00 \/ \\ud83d\\ude00 \" \n"})", SpecSyntax::kJson, "j");
  ASSERT_THAT(spec, IsOk());
  EXPECT_EQ(spec->display_name(), "\xc3\xa9 \xf0\x9f\x98\x80 / \\ud83d\\ude00 \" \n");
  EXPECT_THAT(ParseJobSpec(R"({"display_name": "\ud83d alone"})", SpecSyntax::kJson, "j"),
              StatusIs(kInvalid, HasSubstr("j:1:")));
}

TEST(SpecReaderTest, ReadsTimesAndMasksAsText) {
  v1::AdjustJobRequest request;
  ASSERT_THAT(YamlToMessage("update_mask: clip.mode,clip.threshold\nat_step: 7\n", "r", &request), IsOk());
  EXPECT_EQ(request.update_mask().paths_size(), 2);
  EXPECT_EQ(request.update_mask().paths(1), "clip.threshold");
  v1::Job job;
  ASSERT_THAT(YamlToMessage("create_time: 2026-01-31T12:00:00.25+01:00\n", "j", &job), IsOk());
  EXPECT_EQ(job.create_time().seconds(), 1769857200);
  EXPECT_EQ(job.create_time().nanos(), 250'000'000);
  EXPECT_THAT(YamlToMessage("create_time: noon\n", "j", &job),
              StatusIs(kInvalid, "j:1:14: create_time: \"noon\" is not a time as 2026-01-31T12:00:00Z"));
}

TEST(SpecReaderTest, ReadsTimeSpansAsText) {
  v1::Retention retention;
  const std::pair<const char*, std::pair<int64_t, int>> spans[] = {
      {"604800s", {604'800, 0}}, {"36h", {129'600, 0}}, {"1.25s", {1, 250'000'000}}, {"-90s", {-90, 0}}, {"0", {0, 0}}};
  for (const auto& [text, span] : spans) {
    ASSERT_THAT(YamlToMessage(absl::StrCat("max_age: ", text, "\n"), "r", &retention), IsOk());
    EXPECT_EQ(std::pair(retention.max_age().seconds(), retention.max_age().nanos()), span) << text;
  }
  for (const char* text : {"soon", "7", "inf", "1e300h"}) {
    EXPECT_THAT(
        YamlToMessage(absl::StrCat("max_age: ", text, "\n"), "r", &retention),
        StatusIs(kInvalid, absl::StrCat("r:1:10: max_age: \"", text, "\" is not a time span as 90s, 1h30m or 168h")));
  }
}

TEST(SpecReaderTest, ReplacesWhatWasThere) {
  v1::JobSpec spec;
  spec.set_steps(5);
  ASSERT_THAT(ParseMessage("seed: 1", SpecSyntax::kYaml, "s", &spec), IsOk());
  EXPECT_EQ(spec.steps(), 0);
}

TEST(ReadMessageTest, TellsTheSyntaxByNameOrContent) {
  const TempDir dir;
  const struct {
    const char* name;
    const char* content;
  } cases[] = {
      {"a.yaml", kYaml},
      {"a.YML", kYaml},
      {"a.json", kJson},
      {"a.textproto", kTextproto},
      {"a.txtpb", kTextproto},
      {"a.pbtxt", kTextproto},
      {"yaml_by_content", kYaml},
      {"json_by_content.txt", kJson},
      {"textproto_by_content", kTextproto},
  };
  for (const auto& c : cases) {
    const auto spec = ReadJobSpec(dir.Write(c.name, c.content));
    ASSERT_THAT(spec, IsOk()) << c.name;
    EXPECT_EQ(spec->model().layers_size(), 5) << c.name;
  }
}

TEST(ReadMessageTest, TellsWhatIsWrongWithAFile) {
  const TempDir dir;
  EXPECT_THAT(ReadJobSpec(dir.File("absent.yaml")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent.yaml: ")));
  EXPECT_THAT(ReadJobSpec(dir.path()), StatusIs(kInvalid, HasSubstr(dir.path())));
  EXPECT_THAT(ReadJobSpec(dir.Write("large.yaml", std::string((16 << 20) + 1, ' '))),
              StatusIs(kInvalid, HasSubstr("larger than 16777216 bytes")));
  EXPECT_THAT(ReadJobSpec(dir.Write("bad.yaml", "steps: x")), StatusIs(kInvalid, HasSubstr("bad.yaml:1:8: steps")));
}

// Damaged specs are refused or read, never a crash; sanitizers look on.
TEST(SlowSpecReaderTest, SurvivesTenThousandMutations) {
  const std::string pieces[] = {"{",  "}",    "[",   "]",  ": ", "- ",    "\n",       "  ",  "&a ", "*a",
                                "? ", "|",    ">",   "\"", "'",  "#",     "!",        "%",   "@",   "\\",
                                "~",  "null", "1e9", "-1", "\t", "dense", "\xc3\xa9", "\xff"};
  std::mt19937 random(4);
  int accepted = 0;
  for (int i = 0; i < 10'000; ++i) {
    std::string yaml = kYaml;
    const int edits = 1 + static_cast<int>(random() % 3);
    for (int k = 0; k < edits; ++k) {
      const size_t place = random() % yaml.size(), length = random() % 4;
      yaml.replace(place, std::min(length, yaml.size() - place), pieces[random() % std::size(pieces)]);
    }
    if (random() % 8 == 0) yaml.resize(random() % yaml.size());
    const auto spec = ParseJobSpec(yaml, SpecSyntax::kYaml, "s");
    if (spec.ok()) {
      ++accepted;
    } else {
      EXPECT_THAT(spec, StatusIs(kInvalid, HasSubstr("s:"))) << yaml;
    }
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace gradwatch::client
