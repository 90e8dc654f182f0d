#include "core/nn/conv2d.h"

#include <algorithm>

#include "core/base/status_macros.h"
#include "core/nn/field_checks.h"
#include "core/tensor/matrix_product.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kMaxChannels = 65'536;
// Elements of a block's columns: 128 KiB of float. A block has at least one row of the window.
constexpr int64_t kBlockElements = 32'768;

// The matrix [channels, positions] of a block's outputs, from or to the images that hold them channel by channel.
template <typename T>
void LoadOutputs(const ImageWindow& window, const RowBlock& block, int64_t channels, const T* images, T* matrix) {
  const int64_t positions = block.count * window.columns;
  ForEachPiece(window, block, [&](const BlockPiece& piece) {
    for (int64_t c = 0; c < channels; ++c) {
      const T* const from = images + (piece.image * channels + c) * window.positions() + piece.row * window.columns;
      std::copy_n(from, piece.count * window.columns, matrix + c * positions + piece.offset);
    }
  });
}

template <typename T>
void StoreOutputs(const ImageWindow& window, const RowBlock& block, int64_t channels, const T* matrix, T* images) {
  const int64_t positions = block.count * window.columns;
  ForEachPiece(window, block, [&](const BlockPiece& piece) {
    for (int64_t c = 0; c < channels; ++c) {
      T* const to = images + (piece.image * channels + c) * window.positions() + piece.row * window.columns;
      std::copy_n(matrix + c * positions + piece.offset, piece.count * window.columns, to);
    }
  });
}

// Sixteen sums side by side, for the vectoriser.
template <typename T>
T SumOfNumbers(int64_t size, const T* x) {
  constexpr int64_t kLanes = 16;
  T lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += x[i + lane];
  }
  for (int64_t lane = 0; i < size; ++i, ++lane) lanes[lane] += x[i];
  T sum = T(0);
  for (const T& lane : lanes) sum += lane;
  return sum;
}

}  // namespace

template <typename T>
void Conv2d<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  const v1::Conv2d& conv = spec.conv2d();
  CheckRange(scope.path + ".channels", conv.channels(), 1, kMaxChannels, scope.errors);
  CheckRange(scope.path + ".kernel", conv.kernel(), 1, kMaxKernel, scope.errors);
  window_.kernel = conv.kernel();
  window_.stride = conv.has_stride() ? conv.stride() : 1;
  CheckRange(scope.path + ".stride", window_.stride, 1, kMaxStride, scope.errors);
  window_.padding = conv.padding();
  CheckRange(scope.path + ".padding", window_.padding, 0, kMaxPadding, scope.errors);
  channels_ = conv.channels();
  has_bias_ = !conv.has_bias() || conv.bias();
  v1::Initializer given = conv.weight_init();
  if (given.method() == v1::INITIALIZER_METHOD_UNSPECIFIED && !given.has_uniform()) given.set_uniform(true);
  weight_init_ = CheckInitializer(scope.path + ".weight_init", given, v1::INITIALIZER_METHOD_HE, scope.errors);
}

template <typename T>
absl::StatusOr<LayerPlan> Conv2d<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  GW_ASSIGN_OR_RETURN(window_, PlaceWindow(place.path, window_, place.input));
  images_ = plan->Rows(place.input);
  const int64_t kernel = window_.kernel;
  patch_ = MultiplySizes(window_.channels, kernel * kernel);
  const int64_t row_elements = MultiplySizes(patch_, window_.columns);
  block_rows_ = std::clamp(kBlockElements / row_elements, int64_t{1}, MultiplySizes(images_, window_.rows));
  PlanMemory(place, plan);
  weight_ = AddParameter(place.name + ".weight", {channels_, window_.channels, kernel, kernel}, place.depth,
                         weight_init_, plan);
  if (has_bias_) bias_ = AddParameter(place.name + ".bias", {channels_}, place.depth, ZeroInitializer(), plan);
  LayerPlan result;
  result.output = WindowOutput(window_, place.input, channels_);
  return result;
}

template <typename T>
void Conv2d<T>::PlanMemory(const LayerPlace& place, MemoryPlan* plan) const {
  const int64_t positions = MultiplySizes(block_rows_, window_.columns);
  plan->NeedScratch(
      AddSizes(AlignSize(MultiplySizes(patch_, positions)), AlignSize(MultiplySizes(channels_, positions))));
  const int64_t last = MultiplySizes(images_, window_.rows) % block_rows_ * window_.columns;  // smaller, or 0
  for (const int64_t n : {positions, last}) {
    plan->NeedProduct<T>({channels_, n, patch_});
    plan->NeedProduct<T>({channels_, patch_, n});
    if (place.input_gradient) plan->NeedProduct<T>({patch_, n, channels_});
  }
}

template <typename T>
template <typename Visit>
void Conv2d<T>::ForEachBlock(const Pass<T>& pass, const Visit& visit) const {
  Scratch<T> scratch = pass.scratch;
  Work work;
  work.columns = scratch.Take(patch_ * block_rows_ * window_.columns);
  work.outputs = scratch.Take(channels_ * block_rows_ * window_.columns);
  for (int64_t first = 0; first < total_rows(); first += block_rows_) {
    work.block = {first, std::min(block_rows_, total_rows() - first)};
    work.positions = work.block.count * window_.columns;
    visit(work);
  }
}

template <typename T>
void Conv2d<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  ForEachBlock(pass, [&](const Work& work) {
    GatherColumns(window_, work.block, x.values, work.columns);
    for (int64_t c = 0; c < channels_; ++c) {
      std::fill_n(work.outputs + c * work.positions, work.positions, has_bias_ ? pass.parameters[bias_ + c] : T(0));
    }
    AddProduct({channels_, work.positions, patch_}, pass.parameters + weight_, work.columns, work.outputs,
               pass.product);
    StoreOutputs(window_, work.block, channels_, work.outputs, y);
  });
}

template <typename T>
void Conv2d<T>::Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* /*y*/, const T* dy, T* dx) {
  std::fill_n(pass.gradients + weight_, channels_ * patch_, T(0));
  if (has_bias_) std::fill_n(pass.gradients + bias_, channels_, T(0));
  if (dx != nullptr) std::fill_n(dx, images_ * window_.channels * window_.pixels(), T(0));
  ForEachBlock(pass, [&](const Work& work) {
    LoadOutputs(window_, work.block, channels_, dy, work.outputs);
    GatherColumns(window_, work.block, x.values, work.columns);
    AddParameterGradients(pass, work);
    if (dx != nullptr) AddInputGradient(pass, work, dx);
  });
}

template <typename T>
void Conv2d<T>::AddParameterGradients(const Pass<T>& pass, const Work& work) const {
  AddProductTransposedRight({channels_, patch_, work.positions}, work.outputs, work.columns, pass.gradients + weight_,
                            pass.product);
  if (!has_bias_) return;
  for (int64_t c = 0; c < channels_; ++c) {
    pass.gradients[bias_ + c] += SumOfNumbers(work.positions, work.outputs + c * work.positions);
  }
}

// Takes the columns' place for their gradient.
template <typename T>
void Conv2d<T>::AddInputGradient(const Pass<T>& pass, const Work& work, T* dx) const {
  std::fill_n(work.columns, patch_ * work.positions, T(0));
  AddProductTransposedLeft({patch_, work.positions, channels_}, pass.parameters + weight_, work.outputs, work.columns,
                           pass.product);
  AddColumns(window_, work.block, work.columns, dx);
}

GW_INSTANTIATE_TEMPLATE(Conv2d);

}  // namespace gradwatch::core
