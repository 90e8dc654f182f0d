#include "core/nn/gru.h"

#include <algorithm>

#include "core/base/status_macros.h"
#include "core/nn/batch_parts.h"
#include "core/nn/internal/block.h"
#include "core/nn/rows.h"
#include "core/tensor/matrix_product.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kGates = 3;
constexpr v1::ActivationFunction kGateFunctions[kGates] = {
    v1::ACTIVATION_FUNCTION_SIGMOID, v1::ACTIVATION_FUNCTION_SIGMOID, v1::ACTIVATION_FUNCTION_TANH};

// The input's sums of one row, [3 units], become the gates; `recurrent` [3 units] is U h + b', of which the new gate's
// share is kept in `kept`.
template <typename T>
void RowForward(int64_t units, const T* recurrent, const T* previous_h, T* gates, T* kept, T* h) {
  ForEachBlock<T>(units, [&](int64_t j, auto length) {
    T *const gate_r = gates + j, *const gate_z = gate_r + units, *const gate_n = gate_z + units;
    const T* const sums = recurrent + j;
    const Block<T> r = Sigmoid<T>(Load<T>(gate_r, length) + Load<T>(sums, length));
    const Block<T> z = Sigmoid<T>(Load<T>(gate_z, length) + Load<T>(sums + units, length));
    const Block<T> sum = Load<T>(sums + 2 * units, length);
    const Block<T> n = (Load<T>(gate_n, length) + r * sum).tanh();
    Store<T>(r, gate_r, length);
    Store<T>(z, gate_z, length);
    Store<T>(n, gate_n, length);
    Store<T>(sum, kept + j, length);
    Store<T>((T(1) - z) * n + z * Load<T>(previous_h + j, length), h + j, length);
  });
}

template <typename T, typename Length>
void AddBlock(const Block<T>& block, T* sum, Length length) {
  Store<T>(Load<T>(sum, length) + block, sum, length);
}

// The gates of one row become the gradients of the recurrent sums; `kept`, the new gate's recurrent sum, becomes the
// gradient of its input sum. Adds them to the biases' gradients; dh becomes what goes past the gates to the step
// before.
template <typename T>
void RowBackward(int64_t units, const T* previous_h, T* gates, T* kept, T* dh, T* bias_ih, T* bias_hh) {
  ForEachBlock<T>(units, [&](int64_t j, auto length) {
    T *const gate_r = gates + j, *const gate_z = gate_r + units, *const gate_n = gate_z + units;
    const Block<T> r = Load<T>(gate_r, length), z = Load<T>(gate_z, length), n = Load<T>(gate_n, length);
    const Block<T> d = Load<T>(dh + j, length);
    const Block<T> new_input = d * (T(1) - z) * (T(1) - n * n);
    const Block<T> reset = new_input * Load<T>(kept + j, length) * (r * (T(1) - r));
    const Block<T> update = d * (Load<T>(previous_h + j, length) - n) * (z * (T(1) - z));
    const Block<T> new_recurrent = new_input * r;
    Store<T>(reset, gate_r, length);
    Store<T>(update, gate_z, length);
    Store<T>(new_recurrent, gate_n, length);
    Store<T>(new_input, kept + j, length);
    Store<T>(d * z, dh + j, length);
    AddBlock<T>(reset, bias_ih + j, length);
    AddBlock<T>(update, bias_ih + units + j, length);
    AddBlock<T>(new_input, bias_ih + 2 * units + j, length);
    AddBlock<T>(new_recurrent, bias_hh + 2 * units + j, length);
  });
}

}  // namespace

template <typename T>
void Gru<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  parameters_.Configure(spec.gru().units(), spec.gru().input_init(), spec.gru().recurrent_init(), scope);
}

template <typename T>
absl::StatusOr<LayerPlan> Gru<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  GW_RETURN_IF_ERROR(parameters_.Declare(place, kGates, plan));
  const int64_t units = parameters_.units;
  batch_ = plan->batch_size();
  steps_ = place.input.steps;
  projection_ = Projection<T>(place, kGates * units, plan);
  plan->NeedProduct<T>({kGates * units, units, (steps_ - 1) * batch_});

  const int64_t step = MultiplySizes(batch_, units), all = MultiplySizes(steps_, step);
  gates_ = plan->Keep(MultiplySizes(kGates, all));
  recurrent_sums_ = plan->Keep(all);
  plan->NeedScratch(projection_.scratch_size());
  plan->NeedScratch(AddSizes(AddSizes(AlignSize(MultiplySizes(kGates, step)), AlignSize(step)),
                             AlignSize(PackedSize<T>(units, kGates * units))));
  plan->NeedScratch(AddSizes(AddSizes(2 * AlignSize(step), 2 * AlignSize(MultiplySizes(kGates, step))),
                             AlignSize(PackedSize<T>(kGates * units, units))));
  LayerPlan result;
  result.output = {.steps = steps_, .features = units};
  result.reads_output = true;
  return result;
}

template <typename T>
void Gru<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  const int64_t units = parameters_.units, step = batch_ * units;
  T *const gates = pass.kept + gates_, *const kept = pass.kept + recurrent_sums_;
  projection_.Forward(pass, pass.scratch, x, pass.parameters + parameters_.weight_ih,
                      pass.parameters + parameters_.bias_ih, gates);

  Scratch<T> scratch = pass.scratch;
  T *const recurrent = scratch.Take(kGates * step), *const start = scratch.Take(step);
  const PackedMatrix<T> weight = Pack<T>(units, kGates * units, pass.parameters + parameters_.weight_hh,
                                         /*transposed=*/true, scratch.Take(PackedSize<T>(units, kGates * units)));
  const T* const bias = pass.parameters + parameters_.bias_hh;
  std::fill_n(start, step, T(0));
  ForBatchParts(pass, batch_, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < steps_; ++t) {
      const T* const previous = t > 0 ? y + (t - 1) * step : start;
      T* const sums = recurrent + begin * kGates * units;
      if (t > 0) {
        MultiplyPacked(end - begin, previous + begin * units, weight, {.c = sums, .bias = bias}, nullptr);
      } else {
        RepeatRow(end - begin, kGates * units, bias, sums);
      }
      for (int64_t b = begin; b < end; ++b) {
        const int64_t row = t * step + b * units;
        RowForward(units, recurrent + b * kGates * units, previous + b * units, gates + kGates * row, kept + row,
                   y + row);
      }
    }
  });
}

template <typename T>
void Gru<T>::BackThroughTime(const Pass<T>& pass, Scratch<T> scratch, const T* y, const T* dy) const {
  const int64_t units = parameters_.units, step = batch_ * units;
  T *const gates = pass.kept + gates_, *const kept = pass.kept + recurrent_sums_;
  T *const dh = scratch.Take(step), *const start = scratch.Take(step);
  // Sums over the steps of every example.
  T *const sums_ih = scratch.Take(kGates * step), *const sums_hh = scratch.Take(kGates * step);
  const PackedMatrix<T> weight = Pack<T>(kGates * units, units, pass.parameters + parameters_.weight_hh,
                                         /*transposed=*/false, scratch.Take(PackedSize<T>(kGates * units, units)));
  std::fill_n(dh, step, T(0));
  std::fill_n(start, step, T(0));
  std::fill_n(sums_ih, kGates * step, T(0));
  std::fill_n(sums_hh, kGates * step, T(0));
  ForBatchParts(pass, batch_, [&](int64_t begin, int64_t end) {
    for (int64_t t = steps_ - 1; t >= 0; --t) {
      const int64_t now = t * step, first = begin * units, count = end - begin;
      AddTo(count * units, dy + now + first, dh + first);
      if (t + 1 < steps_) {
        MultiplyPacked(count, gates + kGates * (now + step + first), weight, {.c = dh + first, .add = true}, nullptr);
      }
      const T* const previous = t > 0 ? y + now - step : start;
      for (int64_t row = first; row < end * units; row += units) {
        RowBackward(units, previous + row, gates + kGates * (now + row), kept + now + row, dh + row,
                    sums_ih + kGates * row, sums_hh + kGates * row);
      }
    }
  });
  T *const bias_ih = pass.gradients + parameters_.bias_ih, *const bias_hh = pass.gradients + parameters_.bias_hh;
  SumRows(batch_, kGates * units, sums_ih, bias_ih);
  SumRows(batch_, kGates * units, sums_hh, bias_hh);
  std::copy_n(bias_ih, 2 * units, bias_hh);
}

template <typename T>
void Gru<T>::Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) {
  const int64_t units = parameters_.units;
  BackThroughTime(pass, pass.scratch, y, dy);
  T *const da = pass.kept + gates_, *const weight_hh_gradient = pass.gradients + parameters_.weight_hh;
  Multiply(ProductForm::kTransposedLeft, {kGates * units, units, (steps_ - 1) * batch_}, da + batch_ * kGates * units,
           y, {.c = weight_hh_gradient}, pass.product);

  // From here on the gradients of the input's sums, which differ in the new gate's alone.
  const T* const new_gate = pass.kept + recurrent_sums_;
  for (int64_t r = 0; r < projection_.rows(); ++r) {
    std::copy_n(new_gate + r * units, units, da + (r * kGates + 2) * units);
  }
  projection_.WeightGradient(pass, pass.scratch, x, da, pass.gradients + parameters_.weight_ih);
  if (dx != nullptr) projection_.InputGradient(pass, pass.parameters + parameters_.weight_ih, da, dx);
}

template <typename T>
std::optional<double> Gru<T>::SaturatedGates(const Pass<T>& pass) const {
  if constexpr (kIsComplex<T>) {
    return std::nullopt;
  } else {
    return SaturatedShare(pass.kept + gates_, steps_ * batch_, parameters_.units, kGateFunctions);
  }
}

GW_INSTANTIATE_TEMPLATE(Gru);

}  // namespace gradwatch::core
