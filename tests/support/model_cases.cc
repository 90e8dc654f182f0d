#include "tests/support/model_cases.h"

#include "absl/strings/str_cat.h"
#include "tests/support/test_batch.h"

namespace gradwatch::testing {

std::string Dense(int units) { return absl::StrCat("layers { dense { units: ", units, " } } "); }

std::string Activation(const std::string& function) {
  return absl::StrCat("layers { activation { function: ACTIVATION_FUNCTION_", function, " } } ");
}

std::string Residual(const std::string& inner) { return absl::StrCat("layers { residual { ", inner, " } } "); }

std::vector<ModelCase> BasicCases() {
  return {
      {"dense", Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
      {"dense_squared_error", Dense(3) + kSquaredError, ValueData(0, 7, 3)},
      {"dense_without_bias", "layers { dense { units: 3 bias: false } }" + Dense(4) + kCrossEntropy,
       ClassData(0, 6, 4)},
      {"dense_stack", Dense(80) + Dense(9) + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
      {"sigmoid", Dense(6) + Activation("SIGMOID") + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
      {"tanh", Dense(6) + Activation("TANH") + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
      {"relu", Dense(6) + Activation("RELU") + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
      {"relu_squared_error", Dense(6) + Activation("RELU") + Dense(2) + kSquaredError, ValueData(0, 7, 2)},
      {"activations_in_a_row",
       Dense(6) + Activation("TANH") + Activation("SIGMOID") + Activation("TANH") + Dense(4) + Activation("TANH") +
           kCrossEntropy,
       ClassData(0, 7, 4)},
      {"activation_first", Activation("TANH") + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
      {"residual", Dense(6) + Residual(Dense(6) + Activation("TANH")) + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
      {"residual_ends_in_dense",
       Dense(6) + Residual(Dense(5) + Activation("TANH") + Dense(6)) + Activation("TANH") + Dense(4) + kCrossEntropy,
       ClassData(0, 7, 4)},
      {"residual_first", Residual(Activation("TANH") + Dense(7)) + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
      {"residual_nested",
       Dense(6) + Residual(Dense(6) + Residual(Activation("TANH") + Residual(Dense(6))) + Activation("TANH")) +
           Residual(Dense(6) + Activation("SIGMOID")) + Dense(4) + kCrossEntropy,
       ClassData(0, 7, 4)},
      {"dense_on_a_sequence", Dense(6) + Activation("TANH") + Dense(4) + kCrossEntropy, ClassData(3, 7, 4, true)},
      {"flatten_a_sequence",
       Dense(3) + Activation("TANH") + "layers { flatten {} }" + Dense(6) + "layers { flatten {} }" +
           Activation("TANH") + Dense(4) + kCrossEntropy,
       ClassData(4, 5, 4)},
      {"dense_on_tokens", Dense(6) + Activation("TANH") + Dense(4) + kCrossEntropy, TokenData(6, 11, 4, true)},
      {"dense_on_one_token", Dense(4) + kCrossEntropy, TokenData(0, 5, 4, false)}};
}

std::vector<ModelCase> RecurrentCases() {
  return {
      {"rnn_30_steps", "layers { rnn { units: 8 } } layers { last_step {} }" + Dense(4) + kCrossEntropy,
       ClassData(30, 3, 4)},
      {"rnn_every_step", "layers { rnn { units: 6 } }" + Dense(4) + kCrossEntropy, ClassData(6, 3, 4, true)},
      {"rnn_stacked",
       "layers { rnn { units: 6 } } layers { rnn { units: 5 } } layers { last_step {} }" + Dense(2) + kSquaredError,
       ValueData(7, 3, 2)},
      {"rnn_relu",
       "layers { rnn { units: 6 nonlinearity: ACTIVATION_FUNCTION_RELU } } layers { last_step {} }" + Dense(4) +
           kCrossEntropy,
       ClassData(5, 3, 4)},
      {"rnn_one_step", "layers { rnn { units: 6 } } layers { last_step {} }" + Dense(4) + kCrossEntropy,
       ClassData(1, 3, 4)},
      {"rnn_in_a_residual",
       Dense(6) + Residual("layers { rnn { units: 6 } }") + "layers { last_step {} }" + Dense(4) + kCrossEntropy,
       ClassData(5, 3, 4)},
      {"rnn_on_tokens", "layers { rnn { units: 6 } }" + Dense(4) + kCrossEntropy, TokenData(6, 11, 4, true)},
      {"lstm_30_steps", "layers { lstm { units: 9 } } layers { last_step {} }" + Dense(4) + kCrossEntropy,
       ClassData(30, 3, 4)},
      {"lstm_of_several_blocks", "layers { lstm { units: 21 } }" + Dense(4) + kCrossEntropy, ClassData(4, 3, 4, true)},
      {"lstm_stacked",
       "layers { lstm { units: 6 forget_bias: -0.5 } } layers { lstm { units: 5 } } layers { last_step {} }" +
           Dense(2) + kSquaredError,
       ValueData(7, 3, 2)},
      {"lstm_one_step", "layers { lstm { units: 6 } } layers { last_step {} }" + Dense(4) + kCrossEntropy,
       ClassData(1, 3, 4)},
      {"lstm_in_a_residual",
       Dense(6) + Residual("layers { lstm { units: 6 } }") + "layers { last_step {} }" + Dense(4) + kCrossEntropy,
       ClassData(5, 3, 4)},
      {"lstm_on_tokens", "layers { lstm { units: 6 } }" + Dense(4) + kCrossEntropy, TokenData(6, 11, 4, true)},
      {"gru_30_steps", "layers { gru { units: 9 } } layers { last_step {} }" + Dense(4) + kCrossEntropy,
       ClassData(30, 3, 4)},
      {"gru_of_several_blocks", "layers { gru { units: 21 } }" + Dense(4) + kCrossEntropy, ClassData(4, 3, 4, true)},
      {"gru_stacked",
       "layers { gru { units: 6 } } layers { gru { units: 5 } } layers { last_step {} }" + Dense(2) + kSquaredError,
       ValueData(7, 3, 2)},
      {"gru_one_step", "layers { gru { units: 6 } } layers { last_step {} }" + Dense(4) + kCrossEntropy,
       ClassData(1, 3, 4)},
      {"gru_in_a_residual",
       Dense(6) + Residual("layers { gru { units: 6 } }") + "layers { last_step {} }" + Dense(4) + kCrossEntropy,
       ClassData(5, 3, 4)},
      {"gru_on_tokens", "layers { gru { units: 6 } }" + Dense(4) + kCrossEntropy, TokenData(6, 11, 4, true)}};
}

std::vector<ModelCase> AllModelCases() {
  std::vector<ModelCase> all;
  for (const auto& cases : {BasicCases(), RecurrentCases(), ActivationCases(), NormalizationCases(), LossCases(),
                            ImageCases(), AttentionCases()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

}  // namespace gradwatch::testing
