// What every layer is: its fields are checked, then its shapes and memory planned, then it goes forward and backward
// any number of times without allocation.
//
// A kind of layer is one pair of files that derives from Layer, and one line in layer_factory.cc.
#ifndef GRADWATCH_CORE_NN_LAYER_H_
#define GRADWATCH_CORE_NN_LAYER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/error.h"
#include "core/data/batch.h"
#include "core/nn/memory_plan.h"
#include "gradwatch/v1/model.pb.h"

namespace gradwatch::core {

// Where a layer's fields stand in the ModelSpec, and where to say what is wrong with them.
struct FieldScope {
  std::string path;  // of its kind: "layers[1].residual.layers[0].dense"
  int nesting = 0;   // residual blocks around it
  FieldErrors* errors = nullptr;
};

// Where a layer stands in the network.
struct LayerPlace {
  std::string path;             // as in FieldScope
  std::string name;             // "residual1.dense0"
  int depth = 0;                // layers before it, blocks themselves not counted
  int nesting = 0;              // residual blocks around it
  Shape input;                  // what comes in
  bool tokens = false;          // whether rows come in as tokens, which stand for one-hot rows
  bool input_gradient = false;  // whether Backward is asked for the gradient of the input
};

// What a layer says about itself once it knows what comes in.
struct LayerPlan {
  Shape output;
  bool in_place = false;           // Forward may write over its input; Backward does not read it
  bool reads_output = false;       // Backward reads the output
  bool in_place_backward = false;  // Backward may write the input's gradient over the output's
  // What gave the outputs, where that is a known function: it says when they count as saturated or dead.
  v1::ActivationFunction function = v1::ACTIVATION_FUNCTION_UNSPECIFIED;
  // Where the layer has itself reserved its output; else its stack does.
  std::optional<int64_t> output_offset;
};

// T is a scalar of core/tensor/scalar.h. Thread-compatible: passes over different memory may run side by side.
template <typename T>
class Layer {
 public:
  virtual ~Layer() = default;

  // Takes the layer's fields from `spec` and tells the scope what is wrong with them.
  virtual void Configure(const v1::Layer& spec, const FieldScope& scope) = 0;
  // Infers the output's shape, declares parameters and reserves memory. INVALID_ARGUMENT: the input does not fit.
  virtual absl::StatusOr<LayerPlan> Plan(const LayerPlace& place, MemoryPlan* plan) = 0;
  // Whether Plan takes tokens.
  virtual bool takes_tokens() const { return false; }
  // Whether it only holds other layers, and so is none itself when layers are counted.
  virtual bool is_block() const { return false; }

  // Writes parameters that start otherwise than any initializer says, after the initializers.
  virtual void InitializeParameters(T* /*parameters*/) const {}
  // Writes what KeepState reserved, before the first pass; it is zero already.
  virtual void InitializeState(T* /*state*/) const {}

  // The share of its gates that were saturated in the last Forward, in [0, 1]; unset if it has none.
  virtual std::optional<double> SaturatedGates(const Pass<T>& /*pass*/) const { return std::nullopt; }
  // Fills the fields about attention, if it has one, from the last Forward, in which Pass::measures_layers() held.
  virtual void MeasureAttention(const Pass<T>& /*pass*/, LayerStatistics* /*statistics*/) const {}

  // Writes the output `y` for the input `x`.
  virtual void Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) = 0;
  // After Forward with the same `x` and `y` (either may have been written over since if the plan allows it): from the
  // output's gradient `dy` overwrites the gradients of the parameters, and of the input unless `dx` is null.
  virtual void Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_LAYER_H_
