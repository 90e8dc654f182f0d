// What is refused, at which path, and with which words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/nn/network.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::ClassData;
using ::gradwatch::testing::ImageData;
using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::ValueData;

constexpr char kCrossEntropy[] = " loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }";

DataShape TokenData() {
  DataShape data = ClassData(4, 10, 10, true);
  data.tokens = true;
  return data;
}

struct Case {
  std::string model;
  std::string field;
  std::string description;  // a part
  DataShape data = ClassData(0, 7, 4);
  bool with_loss = true;
};

std::vector<std::string> Violations(const Case& c) {
  const auto network = Network<float>::Create(ParseModel(c.model + (c.with_loss ? kCrossEntropy : "")), c.data, 2);
  EXPECT_EQ(network.status().code(), absl::StatusCode::kInvalidArgument) << c.model;
  std::vector<std::string> lines;
  for (const FieldViolation& v : GetFieldViolations(network.status())) lines.push_back(v.field + ": " + v.description);
  return lines;
}

std::string Nested(int levels) {
  return levels == 0 ? "layers { dense { units: 7 } }" : "layers { residual { " + Nested(levels - 1) + " } }";
}

TEST(NetworkErrorsTest, NamesTheFieldAndItsValue) {
  const Case cases[] = {
      {"", "layers", "needs at least one layer"},
      {"layers { name: 'a' }", "layers[0]", "needs a kind"},
      {"layers { dense { units: 0 } }", "layers[0].dense.units", "must be between 1 and 1048576; got 0"},
      {"layers { dense { units: 1048577 } }", "layers[0].dense.units", "got 1048577"},
      {"layers { dense { units: 4 weight_init { gain: -2 } } }", "layers[0].dense.weight_init.gain", "got -2"},
      {"layers { activation { } }", "layers[0].activation.function", "is required"},
      {"layers { activation { function: ACTIVATION_FUNCTION_TANH alpha: nan } }", "layers[0].activation.alpha",
       "must be finite"},
      {"layers { activation { function: ACTIVATION_FUNCTION_ELU alpha: 0 } }", "layers[0].activation.alpha",
       "must be finite and above 0; got 0"},
      {"layers { activation { function: ACTIVATION_FUNCTION_LEAKY_RELU alpha: -inf } }", "layers[0].activation.alpha",
       "must be finite; got -inf"},
      {"layers { layer_norm { epsilon: 0 } }", "layers[0].layer_norm.epsilon", "must be finite and above 0; got 0"},
      {"layers { rms_norm { epsilon: -1 } }", "layers[0].rms_norm.epsilon", "must be finite and above 0; got -1"},
      {"layers { batch_norm { epsilon: inf } }", "layers[0].batch_norm.epsilon", "must be finite and above 0; got inf"},
      {"layers { batch_norm { momentum: 0 } }", "layers[0].batch_norm.momentum",
       "must be a number above 0 and at most 1; got 0"},
      {"layers { batch_norm { momentum: 1.5 } }", "layers[0].batch_norm.momentum", "got 1.5"},
      {"layers { dropout { probability: 1 } }", "layers[0].dropout.probability", "must be from 0 to below 1; got 1"},
      {"layers { dropout { probability: -0.1 } }", "layers[0].dropout.probability", "got -0.1"},
      {"layers { dropout { probability: nan } }", "layers[0].dropout.probability", "got nan"},
      {"layers { scale { multiplier: -1 } }", "layers[0].scale.multiplier", "got -1"},
      {"layers { rnn { units: 70000 } }", "layers[0].rnn.units", "must be between 1 and 65536; got 70000"},
      {"layers { rnn { units: 7 nonlinearity: ACTIVATION_FUNCTION_SIGMOID } }", "layers[0].rnn.nonlinearity",
       "must be ACTIVATION_FUNCTION_TANH or ACTIVATION_FUNCTION_RELU; got ACTIVATION_FUNCTION_SIGMOID"},
      {"layers { rnn { units: 7 recurrent_init { method: INITIALIZER_METHOD_FIXUP } } }",
       "layers[0].rnn.recurrent_init.branches", "is required by FIXUP"},
      {"layers { dense { units: 4 weight_init { method: INITIALIZER_METHOD_SPARSE } } }", "layers",
       "dense0.weight: nonzeros must be at most the 7 inputs of a unit; got 15"},
      {"layers { rnn { units: 7 vanishing_penalty: -0.5 } }", "layers[0].rnn.vanishing_penalty",
       "must be finite and not negative; got -0.5"},
      {"layers { rnn { units: 7 vanishing_penalty: inf } }", "layers[0].rnn.vanishing_penalty", "got inf"},
      {"layers { lstm { units: 0 } }", "layers[0].lstm.units", "must be between 1 and 65536; got 0"},
      {"layers { lstm { units: 7 forget_bias: nan } }", "layers[0].lstm.forget_bias", "must be finite; got nan"},
      {"layers { lstm { units: 7 input_init { gain: -1 } } }", "layers[0].lstm.input_init.gain", "got -1"},
      {"layers { lstm { units: 7 } }", "layers[0].lstm", "needs a sequence"},
      {"layers { gru { units: 65537 } }", "layers[0].gru.units", "must be between 1 and 65536; got 65537"},
      {"layers { gru { units: 7 recurrent_init { gain: -1 } } }", "layers[0].gru.recurrent_init.gain", "got -1"},
      {"layers { gru { units: 7 } }", "layers[0].gru", "needs a sequence"},
      {"layers { conv2d { channels: 65537 kernel: 3 } }", "layers[0].conv2d.channels",
       "must be between 1 and 65536; got 65537", ImageData(1, 6, 8, 4)},
      {"layers { conv2d { channels: 1 } }", "layers[0].conv2d.kernel", "must be between 1 and 63; got 0"},
      {"layers { conv2d { channels: 1 kernel: 3 stride: 0 } }", "layers[0].conv2d.stride",
       "must be between 1 and 63; got 0"},
      {"layers { conv2d { channels: 1 kernel: 3 padding: -1 } }", "layers[0].conv2d.padding",
       "must be between 0 and 63; got -1"},
      {"layers { conv2d { channels: 1 kernel: 3 weight_init { gain: -1 } } }", "layers[0].conv2d.weight_init.gain",
       "got -1"},
      {"layers { conv2d { channels: 1 kernel: 3 } }", "layers[0].conv2d",
       "needs an image, but its input is 7 features"},
      {"layers { dense { units: 48 } } layers { conv2d { channels: 1 kernel: 3 } }", "layers[1].conv2d",
       "needs an image, but its input is 48 features", ImageData(1, 6, 8, 4)},
      {"layers { conv2d { channels: 1 kernel: 7 } }", "layers[0].conv2d.kernel",
       "must be at most 6, the shorter side of the image; got 7", ImageData(1, 6, 8, 4)},
      {"layers { conv2d { channels: 1 kernel: 11 padding: 2 } }", "layers[0].conv2d.kernel",
       "must be at most 10, the shorter side of the image with its padding; got 11", ImageData(1, 6, 8, 4)},
      {"layers { pool2d { kernel: 2 } }", "layers[0].pool2d.mode", "is required"},
      {"layers { pool2d { mode: MODE_MAX } }", "layers[0].pool2d.kernel", "must be between 1 and 63; got 0"},
      {"layers { pool2d { mode: MODE_MAX kernel: 2 stride: 64 } }", "layers[0].pool2d.stride",
       "must be between 1 and 63; got 64"},
      {"layers { pool2d { mode: MODE_MAX kernel: 2 } }", "layers[0].pool2d", "needs an image"},
      {"layers { residual { layers { pool2d { mode: MODE_AVERAGE kernel: 7 } } } }",
       "layers[0].residual.layers[0].pool2d.kernel", "must be at most 6, the shorter side of the image; got 7",
       ImageData(1, 6, 8, 4)},
      {"layers { residual { layers { conv2d { channels: 1 kernel: 3 } } } }", "layers[0].residual",
       "1 x 6 x 8 features; they give 1 x 4 x 6 features", ImageData(1, 6, 8, 4)},
      {"layers { embedding { units: 0 } }", "layers[0].embedding.units", "must be between 1 and 65536; got 0"},
      {"layers { embedding { units: 7 } }", "layers[0].embedding", "needs tokens: it can only be the first layer"},
      {"layers { dense { units: 3 } } layers { embedding { units: 7 } }", "layers[1].embedding", "needs tokens",
       TokenData()},
      {"layers { embedding { units: 7 positions: true } }", "layers[0].embedding.positions", "needs a sequence",
       ::gradwatch::testing::TokenData(0, 10, 10, false)},
      {"layers { self_attention { heads: 0 } }", "layers[0].self_attention.heads", "must be between 1 and 256; got 0"},
      {"layers { self_attention { heads: 257 } }", "layers[0].self_attention.heads", "got 257"},
      {"layers { self_attention { heads: 7 } }", "layers[0].self_attention", "needs a sequence"},
      {"layers { self_attention { heads: 2 } }", "layers[0].self_attention.heads",
       "must divide the 7 features of the input; got 2", ClassData(9, 7, 7, true)},
      {"layers { self_attention { heads: 2 } }", "layers[0].self_attention", "cannot be the first layer on tokens",
       TokenData()},
      {"layers { residual { } }", "layers[0].residual.layers", "needs at least one layer"},
      {"layers { residual { layers { dense { units: -1 } } } }", "layers[0].residual.layers[0].dense.units", "got -1"},
      {"layers { residual { layers { dense { units: 5 } } } }", "layers[0].residual",
       "must give back the shape that they get, 7 features; they give 5 features"},
      {"layers { name: 'a.b' dense { units: 4 } }", "layers[0].name", "got \"a.b\""},
      {"layers { name: 'a' dense { units: 4 } } layers { name: 'a' dense { units: 4 } }", "layers[1].name",
       "\"a\" is already the name of layers[0]"},
      {"layers { name: 'dense1' dense { units: 4 } } layers { dense { units: 4 } }", "layers[1].name",
       "\"dense1\" is already the name of layers[0]"},
      {"layers { rnn { units: 4 } }", "layers[0].rnn", "needs a sequence"},
      {"layers { last_step { } } layers { dense { units: 4 } }", "layers[0].last_step", "needs a sequence"},
      {"layers { dense { units: 5 } }", "layers[0]", "gives 5 numbers per row, but the targets have 4 classes"},
      {"layers { embedding { units: 4 } } layers { dense { units: 65 } }", "layers[1]",
       "gives 65 numbers per row, but the targets have 10 classes; those of a text are its different characters "
       "(dense.units: 10)",
       TokenData()},
      {"layers { lstm { units: 65 } }", "layers[0]", "its different characters (lstm.units: 10)", TokenData()},
      {"layers { rnn { units: 4 } }", "layers[0]",
       "gives 9 steps of 4 features, but there is one target per example; put last_step", ClassData(9, 7, 4)},
      {"layers { rnn { units: 4 } } layers { last_step {} }", "layers[1]", "there is a target for each of 9 steps",
       ClassData(9, 7, 4, true)},
      {"layers { activation { function: ACTIVATION_FUNCTION_TANH } }", "layers", "have no parameters",
       ClassData(0, 4, 4)},
      {"layers { activation { function: ACTIVATION_FUNCTION_TANH } } layers { dense { units: 10 } }",
       "layers[0].activation", "cannot be the first layer on tokens", TokenData()},
      {"layers { dense { units: 4 } }", "loss.function",
       "softmax_cross_entropy needs classes as targets, but the data gives values; those of a table are if "
       "data.csv.classes is set",
       ValueData(0, 7, 4)},
      {"layers { dense { units: 4 } }", "loss.function", "is required", ClassData(0, 7, 4), false},
      {"layers { dense { units: 4 } } loss { function: LOSS_FUNCTION_SQUARED_ERROR }", "loss.function",
       "squared_error needs values as targets, but the data gives classes; those of a table are unless "
       "data.csv.classes is set",
       ClassData(0, 7, 4), false},
      {"layers { dense { units: 4 } } loss { function: LOSS_FUNCTION_HUBER delta: 0 }", "loss.delta",
       "must be finite and above 0; got 0", ValueData(0, 7, 4), false},
      {"layers { dense { units: 4 } } loss { function: LOSS_FUNCTION_BINARY_CROSS_ENTROPY }", "loss.function",
       "binary_cross_entropy needs probabilities (values from 0 to 1) as targets, but the data gives classes",
       ClassData(0, 7, 4), false},
      {"layers { dense { units: 4 } } loss { function: LOSS_FUNCTION_BINARY_CROSS_ENTROPY }", "loss.function",
       "needs probabilities (values from 0 to 1) as targets, but the data gives values", ValueData(0, 7, 4), false},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.model);
    EXPECT_THAT(Violations(c), ::testing::ElementsAre(::testing::AllOf(::testing::StartsWith(c.field + ": "),
                                                                       ::testing::HasSubstr(c.description))));
  }
}

TEST(NetworkErrorsTest, TellsAllWrongFieldsAtOnce) {
  const Case c = {
      "layers { dense { units: 0 weight_init { gain: -1 scale: 3 } } } layers { lstm { units: 0 } }"
      "layers { residual { layers { rnn { units: 0 } } } }",
      "", "", ClassData(0, 7, 4), false};
  EXPECT_EQ(Violations(c).size(), 6u);
}

TEST(NetworkErrorsTest, ResidualBlocksNestEightDeep) {
  const std::string head = " layers { dense { units: 4 } }";
  EXPECT_TRUE(Network<float>::Create(ParseModel(Nested(8) + head + kCrossEntropy), ClassData(0, 7, 4), 2).ok());
  const auto lines = Violations({Nested(9) + head, "", ""});
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], ::testing::HasSubstr("may nest up to 8 deep"));
}

TEST(NetworkErrorsTest, RefusesWhatIsTooLargeToExist) {
  std::string model;
  for (int i = 0; i < 4; ++i) model += "layers { dense { units: 1048576 } }";
  model += "layers { dense { units: 4 } }";
  const auto network =
      Network<float>::Create(ParseModel(model + kCrossEntropy), ClassData(0, int64_t{1} << 36, 4), int64_t{1} << 30);
  EXPECT_THAT(network.status().message(), ::testing::HasSubstr("too large to exist"));
  // But a plan of what merely does not fit this machine is made, so that its size can be told.
  const auto large = Network<float>::Create(ParseModel(model + kCrossEntropy), ClassData(0, 7, 4), 1000);
  ASSERT_TRUE(large.ok());
  EXPECT_GT((*large)->layout().parameter_count(), 3'000'000'000'000);
}

}  // namespace
}  // namespace gradwatch::core
