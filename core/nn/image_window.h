// A square window that moves over an image: what convolution and pooling share.
#ifndef GRADWATCH_CORE_NN_IMAGE_WINDOW_H_
#define GRADWATCH_CORE_NN_IMAGE_WINDOW_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/error.h"
#include "core/data/batch.h"

namespace gradwatch::core {

// Lengths are in pixels. A window at position (i, j) begins at pixel (i * stride - padding, j * stride - padding);
// pixels outside of the image are zero.
struct ImageWindow {
  int64_t kernel = 1, stride = 1, padding = 0;
  int64_t channels = 0, height = 0, width = 0;  // of the image
  int64_t rows = 0, columns = 0;                // positions of the window

  int64_t positions() const { return rows * columns; }
  int64_t pixels() const { return height * width; }
};

inline constexpr int64_t kMaxKernel = 63, kMaxStride = 63, kMaxPadding = 63;

// The window on images of shape `input`. INVALID_ARGUMENT: that is no image, or is smaller than the window.
absl::StatusOr<ImageWindow> PlaceWindow(const std::string& path, ImageWindow window, const Shape& input);

// The shape that comes out where every position of the window gives `channels` numbers.
Shape WindowOutput(const ImageWindow& window, const Shape& input, int64_t channels);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_IMAGE_WINDOW_H_
