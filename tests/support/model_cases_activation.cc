#include "absl/strings/str_cat.h"
#include "tests/support/model_cases.h"
#include "tests/support/test_batch.h"

namespace gradwatch::testing {
namespace {

// Dense layers on both sides of the function.
ModelCase Between(const std::string& name, const std::string& activation) {
  return {name, Dense(6) + activation + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)};
}

std::string WithAlpha(const std::string& function, const std::string& alpha) {
  return absl::StrCat("layers { activation { function: ACTIVATION_FUNCTION_", function, " alpha: ", alpha, " } } ");
}

}  // namespace

std::vector<ModelCase> ActivationCases() {
  return {Between("leaky_relu", Activation("LEAKY_RELU")),
          Between("leaky_relu_steep", WithAlpha("LEAKY_RELU", "1.5")),
          Between("leaky_relu_folds", WithAlpha("LEAKY_RELU", "-0.3")),
          Between("elu", Activation("ELU")),
          Between("elu_steep", WithAlpha("ELU", "1.7")),
          Between("selu", Activation("SELU")),
          Between("gelu", Activation("GELU")),
          Between("gelu_tanh", Activation("GELU_TANH")),
          Between("silu", Activation("SILU")),
          Between("softplus", Activation("SOFTPLUS")),
          Between("softsign", Activation("SOFTSIGN")),
          Between("mish", Activation("MISH")),
          // Some read their input on the way back, some their output: neither may be written over.
          Between("read_input_and_output", Activation("GELU") + Activation("SOFTPLUS") + Activation("SILU") +
                                               Activation("MISH") + Activation("ELU") + Activation("SOFTSIGN")),
          {"gelu_first", Activation("GELU") + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)},
          {"gelu_in_residuals",
           Dense(6) + Residual(Dense(6) + Activation("GELU")) + Residual(Activation("MISH") + Dense(6)) +
               Activation("GELU_TANH") + Dense(4) + kCrossEntropy,
           ClassData(3, 7, 4, true)}};
}

}  // namespace gradwatch::testing
