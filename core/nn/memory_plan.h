// Adds up, before any memory is taken, what a network needs; and says where it lies in a pass.
#ifndef GRADWATCH_CORE_NN_MEMORY_PLAN_H_
#define GRADWATCH_CORE_NN_MEMORY_PLAN_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/base/workers.h"
#include "core/data/batch.h"
#include "core/stats/layer_statistics.h"
#include "core/tensor/arena.h"
#include "core/tensor/matrix_product.h"
#include "core/tensor/parameter_layout.h"

namespace gradwatch::core {

// Residual blocks within residual blocks.
inline constexpr int kMaxNesting = 8;

// Hands out pieces of memory one after the other. Cheap to copy: a callee's copy takes from the same start, so what it
// takes is free again when it returns.
template <typename T>
class Scratch {
 public:
  explicit Scratch(T* next = nullptr) : next_(next) {}
  T* Take(int64_t size) {
    T* const taken = next_;
    next_ += AlignSize(size);
    return taken;
  }

 private:
  T* next_;
};

// What a layer reads: rows of numbers, or tokens that stand for one-hot rows; the other is null.
template <typename T>
struct LayerInput {
  const T* values = nullptr;
  const int32_t* tokens = nullptr;
};

// Told of tensors, by their places in the ParameterLayout.
using GradientsReady = absl::FunctionRef<void(size_t first, size_t end)>;

// What one pass over a batch is, and its memory.
template <typename T>
struct Pass {
  // While training dropout draws and batch norm measures the batch; else both do what they have learnt.
  bool training = true;
  // The job's seed and the batch's number in the run: they alone decide what is drawn.
  uint64_t seed = 0;
  int64_t batch_number = 0;

  const T* parameters = nullptr;  // by the segments' offsets
  T* gradients = nullptr;         // the same
  T* state = nullptr;             // by the offsets of MemoryPlan::KeepState
  T* kept = nullptr;              // by the offsets of MemoryPlan::Keep
  ProductContext<T> product;      // where matrix products work
  Scratch<T> scratch;             // free for use within a call of a layer
  // Unless null: called on the way back whenever the gradients of the tensors from `first` to before `end` are
  // complete.
  const GradientsReady* gradients_ready = nullptr;
  // Unless null: what goes through every layer is measured into this, by the indices of MemoryPlan::AddLayer.
  LayerStatistics* layer_statistics = nullptr;
  bool measures_layers() const { return training && layer_statistics != nullptr; }
  // Two buffers for each nesting, between which a gradient goes back through a stack.
  std::array<std::array<T*, 2>, kMaxNesting + 1> flow = {};
};

// Sizes are in elements.
class MemoryPlan {
 public:
  // `layout` is where layers declare their parameters. A pass is shared by `threads` threads.
  MemoryPlan(int64_t batch_size, ParameterLayout* layout, int threads = 1)
      : batch_size_(batch_size), layout_(layout), threads_(threads) {}

  int64_t batch_size() const { return batch_size_; }
  ParameterLayout& layout() { return *layout_; }
  // Rows and numbers of a whole batch of activations of this shape.
  int64_t Rows(const Shape& shape) const { return MultiplySizes(shape.rows(), batch_size_); }
  int64_t Size(const Shape& shape) const { return MultiplySizes(Rows(shape), shape.features); }
  // Adds a layer to those that can be measured; returns its index.
  size_t AddLayer(LayerInfo info) {
    layers_.push_back(std::move(info));
    return layers_.size() - 1;
  }
  const std::vector<LayerInfo>& layers() const { return layers_; }
  // Layers planned so far that are no blocks.
  int NextDepth() { return depth_++; }

  // Reserves memory that is kept from Forward to Backward; returns its offset in Pass::kept.
  int64_t Keep(int64_t size) {
    const int64_t offset = kept_;
    kept_ = AddSizes(kept_, AlignSize(size));
    return offset;
  }
  // Reserves memory that stays from one batch to the next without being trained, such as running means; returns its
  // offset in Pass::state. Zero at first; see Layer::InitializeState.
  int64_t KeepState(int64_t size) {
    const int64_t offset = state_;
    state_ = AddSizes(state_, AlignSize(size));
    return offset;
  }
  void NeedScratch(int64_t size) { scratch_ = std::max(scratch_, size); }
  template <typename T>
  void NeedProduct(const ProductExtents& extents) {
    product_ = std::max(product_, ProductMemory<T>(extents));
  }
  void NeedFlow(int nesting, int64_t size) { flow_[nesting] = std::max(flow_[nesting], AlignSize(size)); }

  int64_t state_size() const { return state_; }
  // All of it.
  int64_t total() const {
    int64_t sum = AddSizes(AddSizes(AddSizes(kept_, state_), scratch_), MultiplySizes(threads_, product_));
    for (const int64_t size : flow_) sum = AddSizes(sum, 2 * size);
    return sum;
  }
  // Where each part lies in an arena of total() elements. `workers` are as many as planned for; null: one.
  template <typename T>
  Pass<T> Place(T* arena, const T* parameters, T* gradients, Workers* workers = nullptr) const {
    Pass<T> pass;
    Scratch<T> rest(arena);
    pass.parameters = parameters;
    pass.gradients = gradients;
    pass.state = rest.Take(state_);
    pass.kept = rest.Take(kept_);
    pass.product = {rest.Take(threads_ * product_), product_, workers};
    for (size_t i = 0; i < flow_.size(); ++i) pass.flow[i] = {rest.Take(flow_[i]), rest.Take(flow_[i])};
    pass.scratch = rest;
    return pass;
  }

 private:
  const int64_t batch_size_;
  ParameterLayout* const layout_;
  const int threads_;
  std::vector<LayerInfo> layers_;
  int depth_ = 0;
  int64_t kept_ = 0, state_ = 0, scratch_ = 0, product_ = 0;
  std::array<int64_t, kMaxNesting + 1> flow_ = {};
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_MEMORY_PLAN_H_
