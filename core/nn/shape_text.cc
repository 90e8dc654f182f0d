#include "core/nn/shape_text.h"

#include "absl/strings/str_cat.h"

namespace gradwatch::core {

std::string ShapeText(const Shape& shape) {
  std::string features = shape.is_image() ? absl::StrCat(shape.channels, " x ", shape.height, " x ", shape.width)
                                          : absl::StrCat(shape.features);
  absl::StrAppend(&features, " features");
  return shape.is_sequence() ? absl::StrCat(shape.steps, " steps of ", features) : features;
}

}  // namespace gradwatch::core
