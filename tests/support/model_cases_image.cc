#include "absl/strings/str_cat.h"
#include "tests/support/model_cases.h"
#include "tests/support/test_batch.h"

namespace gradwatch::testing {
namespace {

std::string Conv(const std::string& fields) { return absl::StrCat("layers { conv2d { ", fields, " } } "); }
std::string MaxPool(const std::string& fields) {
  return absl::StrCat("layers { pool2d { mode: MODE_MAX ", fields, " } } ");
}
std::string AveragePool(const std::string& fields) {
  return absl::StrCat("layers { pool2d { mode: MODE_AVERAGE ", fields, " } } ");
}

core::DataShape ImageSequence() {
  core::DataShape data = ImageData(2, 4, 5, 4);
  data.input.steps = 3;
  data.target_per_step = true;
  return data;
}

}  // namespace

std::vector<ModelCase> ImageCases() {
  const std::string end = Activation("TANH") + Dense(4) + kCrossEntropy;
  return {
      {"conv2d", Conv("channels: 3 kernel: 3") + end, ImageData(2, 6, 5, 4)},
      {"conv2d_one_by_one", Conv("channels: 3 kernel: 1") + end, ImageData(2, 4, 5, 4)},
      {"conv2d_stride_and_padding", Conv("channels: 3 kernel: 3 stride: 2 padding: 1") + end, ImageData(2, 6, 7, 4)},
      {"conv2d_wide_padding_without_bias", Conv("channels: 3 kernel: 2 stride: 3 padding: 3 bias: false") + end,
       ImageData(1, 5, 4, 4)},
      {"conv2d_stack",
       Conv("channels: 4 kernel: 3 padding: 1") + Activation("RELU") + Conv("channels: 3 kernel: 2 stride: 2") +
           Activation("TANH") + Conv("channels: 2 kernel: 2") + "layers { flatten {} }" + end,
       ImageData(1, 7, 8, 4)},
      {"conv2d_residual",
       Conv("channels: 3 kernel: 3 padding: 1") +
           Residual(Activation("TANH") + Conv("channels: 3 kernel: 3 padding: 1 bias: false")) + end,
       ImageData(1, 5, 6, 4)},
      {"conv2d_up_to_the_loss",
       Conv("channels: 5 kernel: 2") + Activation("TANH") + Conv("channels: 4 kernel: 3") + kCrossEntropy,
       ImageData(2, 4, 4, 4)},
      {"conv2d_on_a_sequence",
       Conv("channels: 3 kernel: 2") + MaxPool("kernel: 2 stride: 1") + Conv("channels: 3 kernel: 1") + end,
       ImageSequence()},
      {"max_pool", Conv("channels: 3 kernel: 2") + MaxPool("kernel: 2") + end, ImageData(1, 7, 6, 4)},
      {"max_pool_overlapping", Conv("channels: 3 kernel: 2") + MaxPool("kernel: 3 stride: 2") + end,
       ImageData(1, 9, 8, 4)},
      {"max_pool_with_gaps", Conv("channels: 3 kernel: 2") + MaxPool("kernel: 2 stride: 3") + end,
       ImageData(1, 9, 8, 4)},
      {"max_pool_first", MaxPool("kernel: 2") + end, ImageData(2, 5, 4, 4)},
      {"average_pool", Conv("channels: 3 kernel: 2") + AveragePool("kernel: 2") + end, ImageData(1, 7, 6, 4)},
      {"average_pool_overlapping", Conv("channels: 3 kernel: 2") + AveragePool("kernel: 3 stride: 1") + end,
       ImageData(2, 6, 6, 4)},
      {"conv2d_relu_max_pool_twice",
       Conv("channels: 4 kernel: 3") + Activation("RELU") + MaxPool("kernel: 2") + Conv("channels: 5 kernel: 3") +
           Activation("RELU") + MaxPool("kernel: 2") + "layers { flatten {} }" + Dense(6) + end,
       ImageData(1, 12, 13, 4)}};
}

}  // namespace gradwatch::testing
