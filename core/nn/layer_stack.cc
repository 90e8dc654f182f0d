#include "core/nn/layer_stack.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/nn/layer_factory.h"
#include "core/stats/layer_statistics.h"
#include "core/stats/vector_sums.h"

namespace gradwatch::core {
namespace {

constexpr size_t kMaxNameLength = 64;

bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameLength && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
  });
}

// The name of the field that is set: "dense".
std::string KindName(const v1::Layer& spec) {
  return std::string(v1::Layer::descriptor()->FindFieldByNumber(spec.kind_case())->name());
}

}  // namespace

template <typename T>
void LayerStack<T>::Configure(const google::protobuf::RepeatedPtrField<v1::Layer>& specs, const FieldScope& scope) {
  nesting_ = scope.nesting;
  if (specs.empty()) scope.errors->Add(scope.path, "needs at least one layer");
  for (const v1::Layer& spec : specs) {
    AddLayer(spec, {absl::StrCat(scope.path, "[", layers_.size(), "]"), scope.nesting, scope.errors});
  }
  CheckNames(scope);
}

template <typename T>
void LayerStack<T>::AddLayer(const v1::Layer& spec, const FieldScope& scope) {
  Entry& entry = layers_.emplace_back();
  if (spec.kind_case() == v1::Layer::KIND_NOT_SET) {
    scope.errors->Add(scope.path, "needs a kind, such as dense");
    return;
  }
  entry.kind = KindName(spec);
  entry.name = spec.name().empty() ? absl::StrCat(entry.kind, layers_.size() - 1) : spec.name();
  if (!IsName(entry.name)) {
    scope.errors->Add(scope.path + ".name", absl::StrCat("must be 1 to ", kMaxNameLength,
                                                         " letters, digits, '_' or '-'; got \"", entry.name, "\""));
  }
  const std::string path = absl::StrCat(scope.path, ".", entry.kind);
  entry.layer = MakeLayer<T>(spec.kind_case());
  if (entry.layer == nullptr) {
    scope.errors->Add(path, "not served yet");
    return;
  }
  entry.layer->Configure(spec, {path, scope.nesting, scope.errors});
}

template <typename T>
void LayerStack<T>::CheckNames(const FieldScope& scope) const {
  std::map<std::string, size_t> seen;
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (layers_[i].name.empty()) continue;
    const auto [first, is_new] = seen.emplace(layers_[i].name, i);
    if (is_new) continue;
    scope.errors->Add(
        absl::StrCat(scope.path, "[", i, "].name"),
        absl::StrCat("\"", layers_[i].name, "\" is already the name of ", scope.path, "[", first->second, "]"));
  }
}

template <typename T>
absl::StatusOr<LayerPlan> LayerStack<T>::Plan(const StackPlace& place, MemoryPlan* plan) {
  LayerPlace next = place;
  const int64_t parameters_before = plan->layout().parameter_count();
  for (size_t i = 0; i < layers_.size(); ++i) {
    next.path = absl::StrCat(place.path, "[", i, "].", layers_[i].kind);
    next.name = place.name.empty() ? layers_[i].name : absl::StrCat(place.name, ".", layers_[i].name);
    // Nobody before it needs the gradient of the input if nobody before it has parameters.
    next.input_gradient = place.input_gradient || plan->layout().parameter_count() > parameters_before;
    GW_RETURN_IF_ERROR(PlanLayer(i, next, plan));
    next.input = layers_[i].plan.output;
    next.tokens = false;
  }
  LayerPlan whole = layers_.back().plan;
  whole.output_offset = layers_.back().output;
  return whole;
}

template <typename T>
absl::Status LayerStack<T>::PlanLayer(size_t index, const LayerPlace& place, MemoryPlan* plan) {
  Entry& entry = layers_[index];
  if (place.tokens && !entry.layer->takes_tokens()) {
    return InvalidField(place.path,
                        "cannot be the first layer on tokens; start with embedding, dense or a recurrent layer");
  }
  LayerPlace own = place;
  if (!entry.layer->is_block()) own.depth = plan->NextDepth();
  entry.input_gradient = place.input_gradient;
  entry.first_tensor = plan->layout().segments().size();
  GW_ASSIGN_OR_RETURN(entry.plan, entry.layer->Plan(own, plan));
  entry.end_tensor = entry.layer->is_block() ? entry.first_tensor : plan->layout().segments().size();
  entry.rows = plan->Rows(entry.plan.output);
  entry.input_size = plan->Size(place.input);
  entry.index = plan->AddLayer({place.name, entry.kind});
  if (entry.input_gradient) plan->NeedFlow(nesting_, plan->Size(place.input));

  const Entry* const before = index > 0 ? &layers_[index - 1] : nullptr;
  if (entry.plan.output_offset.has_value()) {
    entry.output = *entry.plan.output_offset;
  } else if (entry.plan.in_place && before != nullptr && !before->plan.reads_output) {
    entry.output = before->output;
  } else {
    entry.output = plan->Keep(plan->Size(entry.plan.output));
  }
  return absl::OkStatus();
}

template <typename T>
LayerInput<T> LayerStack<T>::InputOf(size_t index, const Pass<T>& pass, const LayerInput<T>& x) const {
  return index == 0 ? x : LayerInput<T>{.values = pass.kept + layers_[index - 1].output};
}

template <typename T>
void LayerStack<T>::InitializeParameters(T* parameters) const {
  for (const Entry& entry : layers_) entry.layer->InitializeParameters(parameters);
}

template <typename T>
void LayerStack<T>::InitializeState(T* state) const {
  for (const Entry& entry : layers_) entry.layer->InitializeState(state);
}

template <typename T>
void LayerStack<T>::MeasureForward(const Entry& entry, const Pass<T>& pass) const {
  if (!pass.measures_layers()) return;
  if constexpr (!kIsComplex<T>) {
    LayerStatistics* const statistics = &pass.layer_statistics[entry.index];
    MeasureOutput(pass.kept + entry.output, entry.rows, entry.plan.output.features, entry.plan.function, statistics);
    if (const auto share = entry.layer->SaturatedGates(pass); share.has_value()) statistics->saturated = *share;
    entry.layer->MeasureAttention(pass, statistics);
  }
}

template <typename T>
double LayerStack<T>::MeasureSignal(const Pass<T>& pass, const T* gradient, int64_t size) const {
  if (pass.layer_statistics == nullptr || gradient == nullptr) return 0;
  if constexpr (kIsComplex<T>) {
    return 0;
  } else {
    return std::sqrt(SumOfSquares(gradient, size));
  }
}

template <typename T>
T* LayerStack<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].layer->Forward(pass, InputOf(i, pass, x), pass.kept + layers_[i].output);
    MeasureForward(layers_[i], pass);
  }
  return pass.kept + layers_.back().output;
}

template <typename T>
const T* LayerStack<T>::Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* dy) {
  const auto& buffers = pass.flow[nesting_];
  T* own = nullptr;  // dy, once it lies in one of our buffers; the caller's dy must not be written over
  for (size_t i = layers_.size(); i-- > 0;) {
    const Entry& entry = layers_[i];
    T* dx = nullptr;
    if (entry.input_gradient) {
      const bool in_place = entry.plan.in_place_backward && own != nullptr;
      dx = in_place ? own : own == buffers[0] ? buffers[1] : buffers[0];
    }
    // Before and after: dx may lie where dy does.
    const double output_norm = MeasureSignal(pass, dy, entry.rows * entry.plan.output.features);
    entry.layer->Backward(pass, InputOf(i, pass, x), pass.kept + entry.output, dy, dx);
    if (pass.gradients_ready != nullptr && entry.end_tensor > entry.first_tensor) {
      (*pass.gradients_ready)(entry.first_tensor, entry.end_tensor);
    }
    const double input_norm = MeasureSignal(pass, dx, entry.input_size);
    if (pass.layer_statistics != nullptr) {
      FillBackward(output_norm, input_norm, &pass.layer_statistics[entry.index]);
    }
    // Below there are no parameters: otherwise this layer would have been asked for the gradient of its input.
    if (dx == nullptr) return nullptr;
    dy = own = dx;
  }
  return dy;
}

GW_INSTANTIATE_TEMPLATE(LayerStack);

}  // namespace gradwatch::core
