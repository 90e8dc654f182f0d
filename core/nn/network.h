// A network built from a ModelSpec: parameters and gradients in twin arenas, forward and backward without allocation.
#ifndef GRADWATCH_CORE_NN_NETWORK_H_
#define GRADWATCH_CORE_NN_NETWORK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/workers.h"
#include "core/data/batch.h"
#include "core/nn/memory_plan.h"
#include "core/stats/layer_statistics.h"
#include "core/tensor/parameter_layout.h"
#include "core/tensor/scalar.h"
#include "gradwatch/v1/model.pb.h"

namespace gradwatch::core {

// How a network does on a batch that it does not learn from.
struct Evaluation {
  double loss = 0;                 // mean
  int64_t targets = 0;             // rows that were judged
  std::optional<int64_t> correct;  // of these; unset where a prediction is not simply right or wrong
};

// T is float (training) or double (checks); instantiated in the library. Thread-compatible.
template <typename T>
class Network {
 public:
  // Builds the layers and infers every shape; takes no memory for parameters or activations yet. The passes are going
  // to be shared by `threads` threads, which decides how much memory they need. INVALID_ARGUMENT: a layer's field is
  // out of range, a layer does not fit the one before, or the end or the loss does not fit the targets
  // (kDoesNotFitTargets); the violations' paths are relative to the ModelSpec ("layers[2].dense.units").
  static absl::StatusOr<std::unique_ptr<Network>> Create(const v1::ModelSpec& model, const DataShape& data,
                                                         int64_t batch_size, int threads = 1);
  ~Network();

  const ParameterLayout& layout() const;
  // The layers in forward order, a block after the layers that it holds.
  const std::vector<LayerInfo>& layers() const;
  // Bytes of activations and their gradients for one batch, and of what layers keep besides parameters.
  int64_t activation_bytes() const;

  // Takes the memory and draws the initial parameters; gradients are zero. Call once, before anything below. The passes
  // share their work among `workers`, as many as given at creation, which must outlive the network; null: one thread.
  void Initialize(uint64_t seed, Workers* workers = nullptr);

  // The arenas, laid out by layout(). Parameters may be written between steps.
  std::span<T> parameters();
  std::span<T> gradients();

  // What layers keep from batch to batch besides the parameters (running means), for checkpoints.
  std::span<T> state();
  // Remembers that state, in memory that activation_bytes() counts; puts back what was last remembered. Batches that
  // are not learnt from after all then leave no trace. Nothing is done where layers keep nothing.
  void SaveState();
  void RestoreState();

  // The batches below have the batch size given at creation. `batch_number` is the batch's place in the run; with the
  // seed it decides what dropout draws. None of these allocates.
  //
  // Mean loss as in training; leaves the gradients alone.
  Sum<T> Loss(const Batch& batch, int64_t batch_number = 0);
  // Mean loss; overwrites all gradients. `ready`, unless null, is called for every tensor once, from the last layer to
  // the first.
  Sum<T> LossAndGradients(const Batch& batch, int64_t batch_number = 0, const GradientsReady* ready = nullptr);
  // Not as in training: dropout keeps everything, batch norm uses what it has learnt.
  Evaluation Evaluate(const Batch& batch);
  // From the next batch on, what goes through the layers in LossAndGradients is measured into `statistics`, one element
  // a layer, which must live until this is called again; an empty span ends it. Changes no other result.
  void MeasureLayers(std::span<LayerStatistics> statistics);
  // Outputs of the last layer (logits) for the last batch, [rows * batch, outputs].
  std::span<const T> outputs() const;

 private:
  struct State;
  explicit Network(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

GW_EXTERN_TEMPLATE(Network);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_NETWORK_H_
