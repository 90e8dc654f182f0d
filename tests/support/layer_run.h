// One layer by itself: forward and backward on numbers of the test's own.
#ifndef GRADWATCH_TESTS_SUPPORT_LAYER_RUN_H_
#define GRADWATCH_TESTS_SUPPORT_LAYER_RUN_H_

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/nn/layer_factory.h"
#include "core/nn/memory_plan.h"
#include "core/tensor/arena.h"
#include "core/tensor/parameter_layout.h"

namespace gradwatch::testing {

// Working memory is full of NaN at first, so that nothing can rely on what it finds there.
template <typename T>
class LayerRun {
 public:
  // `layer` is a v1::Layer as text that fits `input`; the process dies if it does not.
  LayerRun(const std::string& layer, const core::Shape& input, int64_t batch) : plan_(batch, &layout_) {
    v1::Layer spec;
    if (!google::protobuf::TextFormat::ParseFromString(layer, &spec)) std::abort();
    core::FieldErrors errors;
    layer_ = core::MakeLayer<T>(spec.kind_case());
    layer_->Configure(spec, {"layer", 0, &errors});
    auto planned = layer_->Plan({.path = "layer", .name = "layer", .input = input, .input_gradient = true}, &plan_);
    if (!errors.empty() || !planned.ok()) std::abort();
    output_ = planned->output;
    input_size_ = plan_.Size(input);
    parameters_ = core::Arena<T>(layout_.arena_size());
    gradients_ = core::Arena<T>(layout_.arena_size());
    memory_ = core::Arena<T>(plan_.total());
    pass_ = plan_.Place(memory_.data(), static_cast<const T*>(parameters_.data()), gradients_.data());
    std::fill_n(memory_.data(), memory_.size(), std::numeric_limits<T>::quiet_NaN());
    y_.resize(plan_.Size(output_));
  }

  const core::Shape& output() const { return output_; }
  int parameters() const { return static_cast<int>(layout_.segments().size()); }
  // The tensors in the order of the layout.
  std::span<T> parameter(int index) { return Tensor(parameters_, index); }
  std::span<T> gradient(int index) { return Tensor(gradients_, index); }

  const std::vector<T>& Forward(const std::vector<T>& x) {
    if (static_cast<int64_t>(x.size()) != input_size_) std::abort();
    layer_->Forward(pass_, {.values = x.data()}, y_.data());
    return y_;
  }
  // After Forward with the same x: the input's gradient.
  std::vector<T> Backward(const std::vector<T>& x, const std::vector<T>& dy) {
    if (dy.size() != y_.size()) std::abort();
    std::vector<T> dx(x.size(), std::numeric_limits<T>::quiet_NaN());
    layer_->Backward(pass_, {.values = x.data()}, y_.data(), dy.data(), dx.data());
    return dx;
  }

 private:
  std::span<T> Tensor(core::Arena<T>& arena, int index) {
    const core::ParameterSegment& segment = layout_.segments()[index];
    return arena.span().subspan(segment.offset, segment.size);
  }

  core::ParameterLayout layout_;
  core::MemoryPlan plan_;
  std::unique_ptr<core::Layer<T>> layer_;
  core::Shape output_;
  int64_t input_size_ = 0;
  core::Arena<T> parameters_, gradients_, memory_;
  core::Pass<T> pass_;
  std::vector<T> y_;
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_LAYER_RUN_H_
