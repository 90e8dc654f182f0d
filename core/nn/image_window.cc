#include "core/nn/image_window.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/nn/shape_text.h"
#include "core/tensor/arena.h"

namespace gradwatch::core {

absl::StatusOr<ImageWindow> PlaceWindow(const std::string& path, ImageWindow window, const Shape& input) {
  if (!input.is_image()) {
    return InvalidField(path, absl::StrCat("needs an image, but its input is ", ShapeText(input)));
  }
  const int64_t height = input.height + 2 * window.padding, width = input.width + 2 * window.padding;
  if (window.kernel > std::min(height, width)) {
    return InvalidField(path + ".kernel",
                        absl::StrCat("must be at most ", std::min(height, width), ", the shorter side of the image",
                                     window.padding > 0 ? " with its padding" : "", "; got ", window.kernel));
  }
  window.channels = input.channels;
  window.height = input.height;
  window.width = input.width;
  window.rows = (height - window.kernel) / window.stride + 1;
  window.columns = (width - window.kernel) / window.stride + 1;
  return window;
}

Shape WindowOutput(const ImageWindow& window, const Shape& input, int64_t channels) {
  return {.steps = input.steps,
          .features = MultiplySizes(channels, MultiplySizes(window.rows, window.columns)),
          .channels = channels,
          .height = window.rows,
          .width = window.columns};
}

}  // namespace gradwatch::core
