// Where each parameter tensor lies in the arenas of parameters and gradients.
#ifndef GRADWATCH_CORE_TENSOR_PARAMETER_LAYOUT_H_
#define GRADWATCH_CORE_TENSOR_PARAMETER_LAYOUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "gradwatch/v1/model.pb.h"
#include "gradwatch/v1/telemetry.pb.h"

namespace gradwatch::core {

// One named tensor: a contiguous row-major piece of the arenas.
struct ParameterSegment {
  std::string name;            // "residual1.dense0.weight"
  std::vector<int64_t> shape;  // outermost first; a weight is [outputs, inputs]
  int depth = 0;               // position of its layer from the input, from 0; inner layers count
  int64_t offset = 0;          // in elements, a multiple of kSegmentAlignment
  int64_t size = 0;            // in elements
  int64_t fan_in = 0, fan_out = 0;
  v1::Initializer initializer;  // how it starts, defaults filled in
};

// The segments in order. Gaps between segments are padding that stays zero in every arena.
class ParameterLayout {
 public:
  // In elements; 64 bytes of float, so that every tensor starts on a cache line.
  static constexpr int64_t kSegmentAlignment = 16;

  // Appends a tensor and returns its index. fan_in and fan_out are those of a matrix [outputs, inputs] unless given.
  int Add(std::string name, std::vector<int64_t> shape, int depth, const v1::Initializer& initializer);

  const std::vector<ParameterSegment>& segments() const { return segments_; }
  // Elements of an arena, padding included.
  int64_t arena_size() const { return arena_size_; }
  // Trainable numbers, padding left out.
  int64_t parameter_count() const { return parameter_count_; }

 private:
  std::vector<ParameterSegment> segments_;
  int64_t arena_size_ = 0;
  int64_t parameter_count_ = 0;
};

// The tensors of a layout as clients see them, in arena order.
std::vector<v1::TensorInfo> DescribeTensors(const ParameterLayout& layout);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TENSOR_PARAMETER_LAYOUT_H_
