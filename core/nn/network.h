// A network built from a ModelSpec: parameters and gradients in twin arenas, forward and backward without allocation.
#ifndef GRADWATCH_CORE_NN_NETWORK_H_
#define GRADWATCH_CORE_NN_NETWORK_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "core/data/batch.h"
#include "core/tensor/parameter_layout.h"
#include "gradwatch/v1/model.pb.h"

namespace gradwatch::core {

// T is float (training) or double (checks); instantiated in the library. Thread-compatible.
template <typename T>
class Network {
 public:
  // Builds the layers and infers every shape; takes no memory for parameters or activations yet.
  // INVALID_ARGUMENT: a layer's field is out of range, a layer does not fit the one before, or the end does not fit the
  // loss or the targets; the violations' paths are relative to the ModelSpec ("layers[2].dense.units").
  static absl::StatusOr<std::unique_ptr<Network>> Create(const v1::ModelSpec& model, const DataShape& data,
                                                         int64_t batch_size);
  ~Network();

  const ParameterLayout& layout() const;
  // Bytes of activations and their gradients for one batch.
  int64_t activation_bytes() const;

  // Takes the memory and draws the initial parameters; gradients are zero. Call once, before anything below.
  void Initialize(uint64_t seed);

  // The arenas, laid out by layout(). Parameters may be written between steps.
  std::span<T> parameters();
  std::span<T> gradients();

  // Mean loss of a batch of the batch size given at creation; leaves the gradients alone.
  double Loss(const Batch& batch);
  // Mean loss of a batch; overwrites all gradients. Never allocates.
  double LossAndGradients(const Batch& batch);
  // Outputs of the last layer (logits) for the last batch, [rows * batch, outputs].
  std::span<const T> outputs() const;

 private:
  struct State;
  explicit Network(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

extern template class Network<float>;
extern template class Network<double>;

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_NETWORK_H_
