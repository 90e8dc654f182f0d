#include "core/nn/network.h"

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/nn/layer_stack.h"
#include "core/nn/loss_function.h"
#include "core/nn/shape_text.h"
#include "core/optim/initializer.h"
#include "core/tensor/arena.h"

namespace gradwatch::core {
namespace {

// Whether every tensor can start as its initializer says.
absl::Status CheckInitializers(const ParameterLayout& layout) {
  FieldErrors errors;
  for (const ParameterSegment& segment : layout.segments()) {
    for (const FieldViolation& violation : GetFieldViolations(CheckInitializerFits(segment))) {
      errors.Add("layers", absl::StrCat(segment.name, ": ", violation.field, " ", violation.description));
    }
  }
  return errors.ToStatus();
}

// Which field of `layer` is the number that it gives per row: "dense.units"; empty if none is.
const char* OutputsField(const v1::Layer& layer) {
  switch (layer.kind_case()) {
    case v1::Layer::kDense:
      return "dense.units";
    case v1::Layer::kRnn:
      return "rnn.units";
    case v1::Layer::kLstm:
      return "lstm.units";
    case v1::Layer::kGru:
      return "gru.units";
    default:
      return "";
  }
}

// Where classes come from that no spec says the number of: "; those of a text are...".
std::string ClassesOfText(const v1::Layer& last, const DataShape& data) {
  if (!data.tokens) return "";
  const absl::string_view field = OutputsField(last);
  return absl::StrCat("; those of a text are its different characters",
                      field.empty() ? "" : absl::StrCat(" (", field, ": ", data.outputs, ")"));
}

// Whether what `last`, the layer at `path`, gives fits the targets.
absl::Status CheckOutput(const std::string& path, const v1::Layer& last, const Shape& output, const DataShape& data) {
  const char* const unit = data.target == DataShape::Target::kClasses ? "classes" : "values";
  if (output.features != data.outputs) {
    return InvalidField(path, absl::StrCat("gives ", output.features, " numbers per row, but the targets have ",
                                           data.outputs, " ", unit, ClassesOfText(last, data)));
  }
  if (!data.target_per_step && output.is_sequence()) {
    return InvalidField(path, absl::StrCat("gives ", ShapeText(output),
                                           ", but there is one target per example; put last_step before it"));
  }
  if (data.target_per_step && output.steps != data.input.steps) {
    return InvalidField(path, absl::StrCat("gives ", ShapeText(output), ", but there is a target for each of ",
                                           data.input.steps, " steps"));
  }
  return absl::OkStatus();
}

// Random numbers are drawn as doubles for complex numbers too.
template <typename T>
void Draw(const ParameterSegment& segment, uint64_t seed, int index, std::span<T> values) {
  if constexpr (kIsComplex<T>) {
    std::vector<double> drawn(values.size());
    InitializeTensor<double>(segment, seed, index, drawn);
    std::copy(drawn.begin(), drawn.end(), values.begin());
  } else {
    InitializeTensor(segment, seed, index, values);
  }
}

}  // namespace

template <typename T>
struct Network<T>::State {
  State(const DataShape& data_shape, int64_t batch_size, int threads)
      : data(data_shape), plan(batch_size, &layout, threads) {}

  absl::Status Plan(const v1::ModelSpec& model);
  LayerInput<T> TakeInput(const Batch& batch);
  T* Forward(const LayerInput<T>& input) { return stack.Forward(pass, input); }

  const DataShape data;
  ParameterLayout layout;
  MemoryPlan plan;
  LayerStack<T> stack;
  std::unique_ptr<LossFunction<T>> loss;
  int64_t rows = 0, columns = 0;                                     // of the outputs
  int64_t input_offset = 0, output_offset = 0, gradient_offset = 0;  // among what is kept
  int64_t saved_offset = 0;                                          // also there: a copy of the state

  Arena<T> parameters, gradients, activations;
  Pass<T> pass;
};

template <typename T>
absl::Status Network<T>::State::Plan(const v1::ModelSpec& model) {
  // The batch comes as floats; a network of doubles needs it as doubles.
  if (!std::is_same_v<T, float> && !data.tokens) input_offset = plan.Keep(plan.Size(data.input));
  StackPlace place;
  place.path = "layers";
  place.input = data.input;
  place.tokens = data.tokens;
  GW_ASSIGN_OR_RETURN(const LayerPlan whole, stack.Plan(place, &plan));
  const int last = model.layers_size() - 1;
  absl::Status fits = CheckOutput(absl::StrCat("layers[", last, "]"), model.layers(last), whole.output, data);
  if (!fits.ok()) return WithReason(std::move(fits), kDoesNotFitTargets);
  if (layout.segments().empty()) return InvalidField("layers", "have no parameters that could be trained");
  GW_RETURN_IF_ERROR(CheckInitializers(layout));
  rows = plan.Rows(whole.output);
  columns = whole.output.features;
  output_offset = *whole.output_offset;
  gradient_offset = plan.Keep(MultiplySizes(rows, columns));
  saved_offset = plan.Keep(plan.state_size());
  if (AddSizes(plan.total(), 2 * layout.arena_size()) >= kMaxElements) {
    return InvalidField("layers", "are too large to exist");
  }
  return absl::OkStatus();
}

template <typename T>
LayerInput<T> Network<T>::State::TakeInput(const Batch& batch) {
  if (data.tokens) return {.tokens = batch.tokens.data()};
  if constexpr (std::is_same_v<T, float>) {
    return {.values = batch.features.data()};
  } else {
    T* const input = pass.kept + input_offset;
    std::copy(batch.features.begin(), batch.features.end(), input);
    return {.values = input};
  }
}

template <typename T>
Network<T>::Network(std::unique_ptr<State> state) : state_(std::move(state)) {}

template <typename T>
Network<T>::~Network() = default;

template <typename T>
absl::StatusOr<std::unique_ptr<Network<T>>> Network<T>::Create(const v1::ModelSpec& model, const DataShape& data,
                                                               int64_t batch_size, int threads) {
  if (batch_size < 1 || data.input.features < 1 || data.outputs < 1) {
    return absl::InvalidArgumentError("a network needs a batch size, input features and outputs of at least 1");
  }
  auto state = std::make_unique<State>(data, batch_size, threads);
  FieldErrors errors;
  state->stack.Configure(model.layers(), {"layers", 0, &errors});
  auto loss = MakeLossFunction<T>(model.loss(), data.target);
  errors.AddStatus("loss", loss.status());
  if (GetReason(loss.status()) == kDoesNotFitTargets) return WithReason(errors.ToStatus(), kDoesNotFitTargets);
  GW_RETURN_IF_ERROR(errors.ToStatus());
  state->loss = *std::move(loss);
  GW_RETURN_IF_ERROR(state->Plan(model));
  return std::unique_ptr<Network>(new Network(std::move(state)));
}

template <typename T>
const ParameterLayout& Network<T>::layout() const {
  return state_->layout;
}

template <typename T>
const std::vector<LayerInfo>& Network<T>::layers() const {
  return state_->plan.layers();
}

template <typename T>
void Network<T>::MeasureLayers(std::span<LayerStatistics> statistics) {
  state_->pass.layer_statistics = statistics.data();
}

template <typename T>
int64_t Network<T>::activation_bytes() const {
  return state_->plan.total() * static_cast<int64_t>(sizeof(T));
}

template <typename T>
void Network<T>::Initialize(uint64_t seed, Workers* workers) {
  State& state = *state_;
  state.parameters = Arena<T>(state.layout.arena_size());
  // Drawing some tensors takes memory for a moment: before the rest is taken.
  int index = 0;
  for (const ParameterSegment& segment : state.layout.segments()) {
    Draw(segment, seed, index++, parameters().subspan(segment.offset, segment.size));
  }
  state.gradients = Arena<T>(state.layout.arena_size());
  state.activations = Arena<T>(state.plan.total());
  state.pass = state.plan.Place(state.activations.data(), static_cast<const T*>(state.parameters.data()),
                                state.gradients.data(), workers);
  state.pass.seed = seed;
  state.stack.InitializeState(state.pass.state);
  state.stack.InitializeParameters(state.parameters.data());
}

template <typename T>
std::span<T> Network<T>::parameters() {
  return state_->parameters.span();
}

template <typename T>
std::span<T> Network<T>::gradients() {
  return state_->gradients.span();
}

template <typename T>
std::span<T> Network<T>::state() {
  return {state_->pass.state, static_cast<size_t>(state_->plan.state_size())};
}

template <typename T>
void Network<T>::SaveState() {
  const State& state = *state_;
  std::copy_n(state.pass.state, state.plan.state_size(), state.pass.kept + state.saved_offset);
}

template <typename T>
void Network<T>::RestoreState() {
  const State& state = *state_;
  std::copy_n(state.pass.kept + state.saved_offset, state.plan.state_size(), state.pass.state);
}

template <typename T>
Sum<T> Network<T>::Loss(const Batch& batch, int64_t batch_number) {
  State& state = *state_;
  state.pass.batch_number = batch_number;
  const T* const outputs = state.Forward(state.TakeInput(batch));
  return state.loss->Mean(state.rows, state.columns, outputs, batch, nullptr);
}

template <typename T>
Sum<T> Network<T>::LossAndGradients(const Batch& batch, int64_t batch_number, const GradientsReady* ready) {
  State& state = *state_;
  state.pass.batch_number = batch_number;
  state.pass.gradients_ready = ready;
  const LayerInput<T> input = state.TakeInput(batch);
  const T* const outputs = state.Forward(input);
  T* const gradient = state.pass.kept + state.gradient_offset;
  const Sum<T> loss = state.loss->Mean(state.rows, state.columns, outputs, batch, gradient);
  state.stack.Backward(state.pass, input, gradient);
  return loss;
}

template <typename T>
Evaluation Network<T>::Evaluate(const Batch& batch) {
  State& state = *state_;
  state.pass.training = false;
  const T* const outputs = state.Forward(state.TakeInput(batch));
  state.pass.training = true;
  Evaluation result;
  result.loss = RealPart(state.loss->Mean(state.rows, state.columns, outputs, batch, nullptr));
  result.targets = state.rows;
  result.correct = state.loss->Correct(state.rows, state.columns, outputs, batch);
  return result;
}

template <typename T>
std::span<const T> Network<T>::outputs() const {
  const State& state = *state_;
  return {state.pass.kept + state.output_offset, static_cast<size_t>(state.rows * state.columns)};
}

GW_INSTANTIATE_TEMPLATE(Network);

}  // namespace gradwatch::core
