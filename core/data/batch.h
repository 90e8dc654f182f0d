// What a data source gives and a network takes: the shape of an example and a batch of them.
#ifndef GRADWATCH_CORE_DATA_BATCH_H_
#define GRADWATCH_CORE_DATA_BATCH_H_

#include <cstdint>
#include <span>

namespace gradwatch::core {

// The shape of one example inside a network. An activation with it is stored as rows() * batch rows of `features`
// numbers; row t * batch + b is time step t of example b (time-major, so that a step of all examples lies together).
struct Shape {
  int64_t steps = 0;                            // time steps; 0: no time axis
  int64_t features = 0;                         // numbers per row; for an image channels * height * width
  int64_t channels = 0, height = 0, width = 0;  // an image (channels outermost); 0: not an image

  bool is_sequence() const { return steps > 0; }
  bool is_image() const { return channels > 0; }
  int64_t rows() const { return is_sequence() ? steps : 1; }  // rows of one example
  int64_t size() const { return rows() * features; }
  friend bool operator==(const Shape&, const Shape&) = default;
};

// What a data source delivers.
struct DataShape {
  // Probabilities are values in [0, 1].
  enum class Target { kClasses, kValues, kProbabilities };

  Shape input;
  bool tokens = false;  // inputs are tokens in [0, input.features), one a row, standing for one-hot rows
  Target target = Target::kClasses;
  int64_t outputs = 0;           // number of classes, or values (probabilities) per target row
  bool target_per_step = false;  // one target row per time step; else one per example
};

// A batch, borrowed from a data source until its next Fill. Row order as in Shape.
struct Batch {
  int64_t size = 0;                  // examples
  std::span<const float> features;   // [rows * size, features]; empty if the inputs are tokens
  std::span<const int32_t> tokens;   // [rows * size]; empty otherwise
  std::span<const int32_t> classes;  // [target rows * size]; empty if targets are values
  std::span<const float> values;     // [target rows * size, outputs]; empty otherwise
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_BATCH_H_
