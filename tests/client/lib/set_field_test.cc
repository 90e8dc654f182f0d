#include "client/lib/set_field.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/lib/spec_reader.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::client {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

v1::JobSpec Spec() {
  return *ParseJobSpec(R"(
display_name: before
model: {layers: [{dense: {units: 5}}, {last_step: }], loss: {function: huber}}
data: {batch_size: 4, csv: {path: a.csv, inputs: [x, y]}}
labels: {team: a, stage: b}
)",
                       SpecSyntax::kYaml, "spec");
}

TEST(SetFieldTest, SetsWhatThePathNames) {
  v1::JobSpec spec = Spec();
  for (const char* const assignment : {
           "optimizer.learning_rate=1e-3",
           "steps=1e6",
           "display_name=a: [b, =c]",
           "model.layers[0].dense.units=64",
           "model.layers[0].name=first",
           "model.layers[1].dense={units: 7, bias: false}",
           "model.layers[2].last_step={}",
           "model.loss.function=squared_error",
           "data.csv.inputs[1]=z: z",
           "data.csv.inputs[2]=last",
           "data.csv.targets=[t, 2]",
           "labels.team=b.c=d",
           "labels.new=x",
           "controls.clip={mode: value, threshold: 1}",
           "controls.clip.overrides[0].tensors=rnn*",
       }) {
    EXPECT_THAT(SetField(&spec, assignment), IsOk()) << assignment;
  }
  EXPECT_EQ(spec.optimizer().learning_rate(), 1e-3);
  EXPECT_EQ(spec.steps(), 1'000'000);
  EXPECT_EQ(spec.display_name(), "a: [b, =c]");
  ASSERT_EQ(spec.model().layers_size(), 3);
  EXPECT_EQ(spec.model().layers(0).dense().units(), 64);
  EXPECT_EQ(spec.model().layers(0).name(), "first");
  EXPECT_EQ(spec.model().layers(1).dense().units(), 7);
  EXPECT_TRUE(spec.model().layers(2).has_last_step());
  EXPECT_EQ(spec.model().loss().function(), v1::LOSS_FUNCTION_SQUARED_ERROR);
  EXPECT_THAT(spec.data().csv().inputs(), ::testing::ElementsAre("x", "z: z", "last"));
  EXPECT_THAT(spec.data().csv().targets(), ::testing::ElementsAre("t", "2"));
  EXPECT_EQ(spec.labels().size(), 3u);
  EXPECT_EQ(spec.labels().at("team"), "b.c=d");
  EXPECT_EQ(spec.labels().at("stage"), "b");
  EXPECT_EQ(spec.controls().clip().threshold(), 1);
  EXPECT_EQ(spec.controls().clip().overrides(0).tensors(), "rnn*");
}

TEST(SetFieldTest, ReplacesWholeListsMapsAndMessages) {
  v1::JobSpec spec = Spec();
  ASSERT_THAT(SetField(&spec, "labels={only: one}"), IsOk());
  ASSERT_THAT(SetField(&spec, "data.csv.inputs=[]"), IsOk());
  ASSERT_THAT(SetField(&spec, "model.layers[0]={flatten: {}}"), IsOk());
  EXPECT_EQ(spec.labels().size(), 1u);
  EXPECT_EQ(spec.data().csv().inputs_size(), 0);
  EXPECT_TRUE(spec.model().layers(0).has_flatten());
  EXPECT_EQ(spec.model().layers_size(), 2);
}

TEST(SetFieldTest, LeavesTheSpecAloneWhenItFails) {
  const struct {
    const char* assignment;
    const char* message;
  } cases[] = {
      {"steps", "expected path=value, found \"steps\""},
      {"=5", "expected path=value"},
      {"optimizer.learning_rat=1", "optimizer.learning_rat: no such field; did you mean learning_rate?"},
      {"optimizer.learning_rate=x", "optimizer.learning_rate: expected a decimal number, found \"x\""},
      {"steps=0x10", "steps: expected a whole number, found \"0x10\""},
      {"optimizer.learning_rate=0x1p-3", "optimizer.learning_rate: expected a decimal number, found \"0x1p-3\""},
      {"optimizer.learning_rate=1_000", "found \"1_000\""},
      {"steps=", "steps: expected a single value, found nothing"},
      {"steps=[1]", "steps: expected a single value, found a list"},
      {"steps=[1", "steps: end of sequence flow not found"},
      {"steps.x=1", "steps: has no fields"},
      {"model.layers.dense.units=1", "model.layers: a list; give an index, as in [0]"},
      {"model.layers[3].name=a", "model.layers: the list has 2 elements, indices from 0 to 2; found \"[3].name\""},
      {"model.layers[-1].name=a", "the list has 2 elements"},
      {"model.layers[x].name=a", "the list has 2 elements"},
      {"model.layers[0=a", "the list has 2 elements"},
      {"model.layers[0]x=a", "expected '.' or the end of the path"},
      {"model[0]=a", "not a list"},
      {"model.layers[2].name[0]=a", "not a list"},
      {"model.layers[2].dense.units=x", "model.layers[2].dense.units: expected a whole number, found \"x\""},
      {"steps=2.5", "steps: expected a whole number, found \"2.5\""},
      {"steps=1e300",
       "steps: expected a whole number from -9223372036854775808 to 9223372036854775807, found \"1e300\""},
      {"optimizer.learning_rate=1e400",
       "optimizer.learning_rate: expected a number within the range of double, found \"1e400\""},
      {"optimizer.learning_rate=-1e400", "expected a number within the range of double, found \"-1e400\""},
      {"model.layers=[{dense: {unit: 1}}]", "model.layers[0].dense.unit: no such field; did you mean units?"},
      {".steps=1", "no such field"},
      {"display_name=\xff", "not UTF-8"},
  };
  for (const auto& c : cases) {
    v1::JobSpec spec = Spec();
    EXPECT_THAT(SetField(&spec, c.assignment), StatusIs(kInvalid, HasSubstr(c.message))) << c.assignment;
    EXPECT_EQ(spec.DebugString(), Spec().DebugString()) << c.assignment;
  }
}

}  // namespace
}  // namespace gradwatch::client
