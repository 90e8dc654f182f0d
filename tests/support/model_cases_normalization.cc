#include "tests/support/model_cases.h"
#include "tests/support/test_batch.h"

namespace gradwatch::testing {
namespace {

constexpr char kLayerNorm[] = "layers { layer_norm {} } ";
constexpr char kRmsNorm[] = "layers { rms_norm {} } ";
constexpr char kBatchNorm[] = "layers { batch_norm {} } ";
constexpr char kDropout[] = "layers { dropout { probability: 0.3 } } ";

// Images of `channels` times 3 x 4 pixels.
core::DataShape ImageData(int64_t channels) {
  core::DataShape data = ClassData(0, channels * 12, 4);
  data.input.channels = channels;
  data.input.height = 3;
  data.input.width = 4;
  return data;
}

ModelCase Between(const std::string& name, const std::string& layers) {
  return {name, Dense(11) + layers + Dense(4) + kCrossEntropy, ClassData(0, 7, 4)};
}

}  // namespace

std::vector<ModelCase> NormalizationCases() {
  const std::string tanh = Activation("TANH"), flatten = "layers { flatten {} } ";
  return {
      Between("layer_norm", kLayerNorm + tanh),
      Between("layer_norm_epsilon", "layers { layer_norm { epsilon: 0.3 } }"),
      Between("layer_norm_in_a_residual", Residual(kLayerNorm + Dense(11) + tanh) + kLayerNorm),
      {"layer_norm_first", kLayerNorm + Dense(4) + kCrossEntropy, ClassData(3, 7, 4, true)},
      Between("rms_norm", kRmsNorm + tanh),
      Between("rms_norm_epsilon", "layers { rms_norm { epsilon: 0.3 } }"),
      {"rms_norm_on_a_sequence", Dense(6) + kRmsNorm + Dense(4) + kCrossEntropy, ClassData(3, 7, 4, true)},
      // The true gradient of the first bias is zero.
      Between("batch_norm", kBatchNorm + tanh),
      Between("batch_norm_epsilon", "layers { batch_norm { epsilon: 0.3 momentum: 0.5 } }" + tanh),
      Between("batch_norm_in_a_residual", tanh + Residual(Dense(11) + kBatchNorm + tanh) + kBatchNorm),
      {"batch_norm_on_a_sequence", Dense(6) + kBatchNorm + Dense(4) + kCrossEntropy, ClassData(3, 7, 4, true)},
      {"batch_norm_on_images", kBatchNorm + tanh + flatten + Dense(4) + kCrossEntropy, ImageData(3)},
      {"batch_norm_twice_on_images", kBatchNorm + tanh + kBatchNorm + flatten + Dense(4) + kCrossEntropy, ImageData(2)},
      Between("dropout", kDropout + tanh + kDropout),
      Between("dropout_in_a_residual", Residual(tanh + kDropout) + "layers { dropout {} } "),
      Between("dropout_of_nothing", "layers { dropout { probability: 0 } } " + tanh),
      {"dropout_first", kDropout + Dense(4) + kCrossEntropy, ClassData(3, 70, 4, true)},
      Between("scale", "layers { scale {} } " + tanh + "layers { scale { multiplier: 0.5 bias: true } } "),
      Between("skip_init", Residual(Dense(11) + tanh + "layers { scale { multiplier: 0 } } "))};
}

}  // namespace gradwatch::testing
