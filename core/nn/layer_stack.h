// Layers one after the other: their names, their memory, and the way forward and back through them.
#ifndef GRADWATCH_CORE_NN_LAYER_STACK_H_
#define GRADWATCH_CORE_NN_LAYER_STACK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/nn/layer.h"
#include "core/tensor/scalar.h"
#include "google/protobuf/repeated_ptr_field.h"

namespace gradwatch::core {

// What comes into a stack, and where the stack stands. The fields mean the same as in LayerPlace, but `path` is that of
// the list of layers ("layers[1].residual.layers") and `name` is empty for the network itself.
using StackPlace = LayerPlace;

template <typename T>
class LayerStack {
 public:
  // Makes and configures the layers; tells the scope, whose path is the list's, everything that is wrong with them.
  void Configure(const google::protobuf::RepeatedPtrField<v1::Layer>& specs, const FieldScope& scope);
  // Plans the layers. The result tells of the stack as a whole, its output_offset always set.
  absl::StatusOr<LayerPlan> Plan(const StackPlace& place, MemoryPlan* plan);

  // As of a layer.
  void InitializeParameters(T* parameters) const;
  void InitializeState(T* state) const;

  // The output of the last layer.
  T* Forward(const Pass<T>& pass, const LayerInput<T>& x);
  // Overwrites all gradients of parameters; returns the input's, or null if the plan did not ask for it.
  const T* Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* dy);

 private:
  struct Entry {
    std::unique_ptr<Layer<T>> layer;
    std::string kind;  // as in the path
    std::string name;
    int64_t output = 0;      // offset
    int64_t rows = 0;        // of the output
    int64_t input_size = 0;  // in elements
    size_t index = 0;        // of MemoryPlan::AddLayer
    // The tensors of the layer itself; a block has none.
    size_t first_tensor = 0, end_tensor = 0;
    bool input_gradient = false;
    LayerPlan plan;
  };

  void AddLayer(const v1::Layer& spec, const FieldScope& scope);
  void CheckNames(const FieldScope& scope) const;
  absl::Status PlanLayer(size_t index, const LayerPlace& place, MemoryPlan* plan);
  // Measures what a layer has just put out.
  void MeasureForward(const Entry& entry, const Pass<T>& pass) const;
  // The norm of a gradient on its way back; 0 if there is none or nobody asks.
  double MeasureSignal(const Pass<T>& pass, const T* gradient, int64_t size) const;
  LayerInput<T> InputOf(size_t index, const Pass<T>& pass, const LayerInput<T>& x) const;

  std::vector<Entry> layers_;
  int nesting_ = 0;
};

GW_EXTERN_TEMPLATE(LayerStack);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_LAYER_STACK_H_
