#include "core/tensor/parameter_layout.h"

#include <utility>

#include "core/tensor/arena.h"

namespace gradwatch::core {

int ParameterLayout::Add(std::string name, std::vector<int64_t> shape, int depth, const v1::Initializer& initializer) {
  ParameterSegment segment;
  segment.name = std::move(name);
  segment.depth = depth;
  segment.offset = arena_size_;
  segment.size = 1;
  for (const int64_t extent : shape) segment.size = MultiplySizes(segment.size, extent);
  // A kernel [outputs, inputs, height, width] is fanned as PyTorch does it: by inputs or outputs times its area.
  segment.fan_in = shape.empty() || shape[0] == 0 ? 0 : segment.size / shape[0];
  segment.fan_out = shape.size() < 2 || shape[1] == 0 ? segment.size : segment.size / shape[1];
  segment.shape = std::move(shape);
  segment.initializer = initializer;
  static_assert(kSegmentAlignment == kArenaAlignment);
  arena_size_ = AddSizes(arena_size_, AlignSize(segment.size));
  parameter_count_ = AddSizes(parameter_count_, segment.size);
  segments_.push_back(std::move(segment));
  return static_cast<int>(segments_.size()) - 1;
}

std::vector<v1::TensorInfo> DescribeTensors(const ParameterLayout& layout) {
  std::vector<v1::TensorInfo> tensors;
  for (const ParameterSegment& segment : layout.segments()) {
    v1::TensorInfo& tensor = tensors.emplace_back();
    tensor.set_name(segment.name);
    tensor.mutable_shape()->Assign(segment.shape.begin(), segment.shape.end());
    tensor.set_depth(segment.depth);
  }
  return tensors;
}

}  // namespace gradwatch::core
