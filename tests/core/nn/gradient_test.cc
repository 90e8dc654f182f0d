// Every layer and loss, alone and together, against central differences.
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "tests/support/gradient_check.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::CheckModelGradients;
using ::gradwatch::testing::ClassData;
using ::gradwatch::testing::ValueData;

constexpr char kCrossEntropy[] = "loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }";
constexpr char kSquaredError[] = "loss { function: LOSS_FUNCTION_SQUARED_ERROR }";

DataShape TokenData(int64_t steps, int64_t vocabulary, int64_t classes, bool target_per_step) {
  DataShape data = ClassData(steps, vocabulary, classes, target_per_step);
  data.tokens = true;
  return data;
}

struct Case {
  const char* name;
  std::string model;
  DataShape data;
  uint64_t seed = 1;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class GradientTest : public ::testing::TestWithParam<Case> {};

TEST_P(GradientTest, MatchesCentralDifferences) {
  CheckModelGradients(GetParam().model, GetParam().data, GetParam().seed);
}

std::string Activation(const std::string& function) {
  return "layers { activation { function: ACTIVATION_FUNCTION_" + function + " } }";
}

std::string Dense(int units) { return "layers { dense { units: " + std::to_string(units) + " } }"; }

std::string Residual(const std::string& inner) { return "layers { residual { " + inner + " } }"; }

INSTANTIATE_TEST_SUITE_P(
    Layers, GradientTest,
    ::testing::Values(
        Case{"dense", Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
        Case{"dense_squared_error", Dense(3) + kSquaredError, ValueData(0, 7, 3)},
        Case{"dense_without_bias", "layers { dense { units: 3 bias: false } }" + Dense(4) + kCrossEntropy,
             ClassData(0, 6, 4)},
        Case{"dense_stack", Dense(80) + Dense(9) + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
        Case{"sigmoid", Dense(6) + Activation("SIGMOID") + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
        Case{"tanh", Dense(6) + Activation("TANH") + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
        Case{"relu", Dense(6) + Activation("RELU") + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
        Case{"relu_squared_error", Dense(6) + Activation("RELU") + Dense(2) + kSquaredError, ValueData(0, 7, 2)},
        Case{"activations_in_a_row",
             Dense(6) + Activation("TANH") + Activation("SIGMOID") + Activation("TANH") + Dense(4) +
                 Activation("TANH") + kCrossEntropy,
             ClassData(0, 7, 4)},
        Case{"activation_first", Activation("TANH") + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
        Case{"residual", Dense(6) + Residual(Dense(6) + Activation("TANH")) + Dense(4) + kCrossEntropy,
             ClassData(0, 7, 4)},
        Case{"residual_ends_in_dense",
             Dense(6) + Residual(Dense(5) + Activation("TANH") + Dense(6)) + Activation("TANH") + Dense(4) +
                 kCrossEntropy,
             ClassData(0, 7, 4)},
        Case{"residual_first", Residual(Activation("TANH") + Dense(7)) + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
        Case{"residual_nested",
             Dense(6) + Residual(Dense(6) + Residual(Activation("TANH") + Residual(Dense(6))) + Activation("TANH")) +
                 Residual(Dense(6) + Activation("SIGMOID")) + Dense(4) + kCrossEntropy,
             ClassData(0, 7, 4)},
        Case{"dense_on_a_sequence", Dense(6) + Activation("TANH") + Dense(4) + kCrossEntropy, ClassData(3, 7, 4, true)},
        Case{"flatten_a_sequence",
             Dense(3) + Activation("TANH") + "layers { flatten {} }" + Dense(6) + "layers { flatten {} }" +
                 Activation("TANH") + Dense(4) + kCrossEntropy,
             ClassData(4, 5, 4)},
        Case{"rnn_30_steps", "layers { rnn { units: 8 } } layers { last_step {} }" + Dense(4) + kCrossEntropy,
             ClassData(30, 3, 4)},
        Case{"rnn_every_step", "layers { rnn { units: 6 } }" + Dense(4) + kCrossEntropy, ClassData(6, 3, 4, true)},
        Case{"rnn_stacked",
             "layers { rnn { units: 6 } } layers { rnn { units: 5 } } layers { last_step {} }" + Dense(2) +
                 kSquaredError,
             ValueData(7, 3, 2)},
        Case{"rnn_relu",
             "layers { rnn { units: 6 nonlinearity: ACTIVATION_FUNCTION_RELU } } layers { last_step {} }" + Dense(4) +
                 kCrossEntropy,
             ClassData(5, 3, 4)},
        Case{"rnn_one_step", "layers { rnn { units: 6 } } layers { last_step {} }" + Dense(4) + kCrossEntropy,
             ClassData(1, 3, 4)},
        Case{"rnn_in_a_residual",
             Dense(6) + Residual("layers { rnn { units: 6 } }") + "layers { last_step {} }" + Dense(4) + kCrossEntropy,
             ClassData(5, 3, 4)},
        Case{"rnn_on_tokens", "layers { rnn { units: 6 } }" + Dense(4) + kCrossEntropy, TokenData(6, 11, 4, true)},
        Case{"dense_on_tokens", Dense(6) + Activation("TANH") + Dense(4) + kCrossEntropy, TokenData(6, 11, 4, true)},
        Case{"dense_on_one_token", Dense(4) + kCrossEntropy, TokenData(0, 5, 4, false)}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace gradwatch::core
