#include "core/nn/lstm.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/nn/batch_parts.h"
#include "core/nn/internal/block.h"
#include "core/nn/rows.h"
#include "core/tensor/matrix_product.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kGates = 4;
constexpr v1::ActivationFunction kGateFunctions[kGates] = {
    v1::ACTIVATION_FUNCTION_SIGMOID, v1::ACTIVATION_FUNCTION_SIGMOID, v1::ACTIVATION_FUNCTION_TANH,
    v1::ACTIVATION_FUNCTION_SIGMOID};

// The gates' sums of one row, [4 units], become the gates themselves.
template <typename T>
void RowForward(int64_t units, T* gates, const T* previous_cell, T* cell, T* tanh_cell, T* h) {
  T *const gate_f = gates + units, *const gate_g = gate_f + units, *const gate_o = gate_g + units;
  ForEachBlock<T>(units, [&](int64_t j, auto length) {
    const Block<T> i = Sigmoid<T>(Load<T>(gates + j, length));
    const Block<T> f = Sigmoid<T>(Load<T>(gate_f + j, length));
    const Block<T> g = Load<T>(gate_g + j, length).tanh();
    const Block<T> o = Sigmoid<T>(Load<T>(gate_o + j, length));
    const Block<T> c = f * Load<T>(previous_cell + j, length) + i * g;
    const Block<T> tanh_c = c.tanh();
    Store<T>(i, gates + j, length);
    Store<T>(f, gate_f + j, length);
    Store<T>(g, gate_g + j, length);
    Store<T>(o, gate_o + j, length);
    Store<T>(c, cell + j, length);
    Store<T>(tanh_c, tanh_cell + j, length);
    Store<T>(o * tanh_c, h + j, length);
  });
}

template <typename T, typename Length>
void StoreGradient(const Block<T>& gradient, T* gate, T* sum, Length length) {
  Store<T>(gradient, gate, length);
  Store<T>(Load<T>(sum, length) + gradient, sum, length);
}

// The gates of one row become the gradients of their sums, which are added to `sum` [4 units] too; dc, the gradient of
// the cell from the next step, becomes that for the step before.
template <typename T>
void RowBackward(int64_t units, const T* dh, const T* previous_cell, const T* tanh_cell, T* gates, T* dc, T* sum) {
  ForEachBlock<T>(units, [&](int64_t j, auto length) {
    T *const gate_i = gates + j, *const gate_f = gate_i + units, *const gate_g = gate_f + units,
             *const gate_o = gate_g + units;
    const Block<T> i = Load<T>(gate_i, length), f = Load<T>(gate_f, length), g = Load<T>(gate_g, length),
                   o = Load<T>(gate_o, length);
    const Block<T> tanh_c = Load<T>(tanh_cell + j, length), d = Load<T>(dh + j, length);
    const Block<T> cell = Load<T>(dc + j, length) + d * o * (T(1) - tanh_c * tanh_c);
    Store<T>(cell * f, dc + j, length);
    StoreGradient<T>(cell * g * (i * (T(1) - i)), gate_i, sum + j, length);
    StoreGradient<T>(cell * Load<T>(previous_cell + j, length) * (f * (T(1) - f)), gate_f, sum + units + j, length);
    StoreGradient<T>(cell * i * (T(1) - g * g), gate_g, sum + 2 * units + j, length);
    StoreGradient<T>(d * tanh_c * (o * (T(1) - o)), gate_o, sum + 3 * units + j, length);
  });
}

}  // namespace

template <typename T>
void Lstm<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  const v1::Lstm& lstm = spec.lstm();
  parameters_.Configure(lstm.units(), lstm.input_init(), lstm.recurrent_init(), scope);
  if (lstm.has_forget_bias()) forget_bias_ = lstm.forget_bias();
  if (!std::isfinite(forget_bias_)) {
    scope.errors->Add(scope.path + ".forget_bias", absl::StrCat("must be finite; got ", forget_bias_));
  }
}

template <typename T>
absl::StatusOr<LayerPlan> Lstm<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  GW_RETURN_IF_ERROR(parameters_.Declare(place, kGates, plan));
  const int64_t units = parameters_.units;
  batch_ = plan->batch_size();
  steps_ = place.input.steps;
  projection_ = Projection<T>(place, kGates * units, plan);
  plan->NeedProduct<T>({kGates * units, units, (steps_ - 1) * batch_});

  const int64_t step = MultiplySizes(batch_, units), all = MultiplySizes(steps_, step);
  gates_ = plan->Keep(MultiplySizes(kGates, all));
  cells_ = plan->Keep(AddSizes(all, step));
  tanh_cells_ = plan->Keep(all);
  const int64_t forward = AlignSize(PackedSize<T>(units, kGates * units));
  const int64_t backward = AlignSize(PackedSize<T>(kGates * units, units));
  plan->NeedScratch(AddSizes(AlignSize(kGates * units), std::max(forward, projection_.scratch_size())));
  plan->NeedScratch(AddSizes(AddSizes(2 * AlignSize(step), AlignSize(MultiplySizes(kGates, step))), backward));
  plan->NeedScratch(projection_.scratch_size());
  LayerPlan result;
  result.output = {.steps = steps_, .features = units};
  result.reads_output = true;
  return result;
}

template <typename T>
void Lstm<T>::InitializeParameters(T* parameters) const {
  std::fill_n(parameters + parameters_.bias_ih + parameters_.units, parameters_.units, static_cast<T>(forget_bias_));
}

template <typename T>
void Lstm<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  const int64_t units = parameters_.units, step = batch_ * units;
  Scratch<T> scratch = pass.scratch;
  T *const bias = scratch.Take(kGates * units), *const gates = pass.kept + gates_;
  Add(kGates * units, pass.parameters + parameters_.bias_ih, pass.parameters + parameters_.bias_hh, bias);
  projection_.Forward(pass, scratch, x, pass.parameters + parameters_.weight_ih, bias, gates);

  T *const cells = pass.kept + cells_, *const tanh_cells = pass.kept + tanh_cells_;
  std::fill_n(cells, step, T(0));
  const PackedMatrix<T> weight = Pack<T>(units, kGates * units, pass.parameters + parameters_.weight_hh,
                                         /*transposed=*/true, scratch.Take(PackedSize<T>(units, kGates * units)));
  ForBatchParts(pass, batch_, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < steps_; ++t) {
      const int64_t first = t * step + begin * units;
      if (t > 0) {
        MultiplyPacked(end - begin, y + first - step, weight, {.c = gates + kGates * first, .add = true}, nullptr);
      }
      for (int64_t row = first; row < t * step + end * units; row += units) {
        RowForward(units, gates + kGates * row, cells + row, cells + row + step, tanh_cells + row, y + row);
      }
    }
  });
}

template <typename T>
void Lstm<T>::BackThroughTime(const Pass<T>& pass, Scratch<T> scratch, const T* dy) const {
  const int64_t units = parameters_.units, step = batch_ * units;
  // Of every example: the gradients of h and c that come from the next step, and the sums over its steps.
  T *const dh = scratch.Take(step), *const dc = scratch.Take(step), *const sums = scratch.Take(kGates * step);
  const PackedMatrix<T> weight = Pack<T>(kGates * units, units, pass.parameters + parameters_.weight_hh,
                                         /*transposed=*/false, scratch.Take(PackedSize<T>(kGates * units, units)));
  T* const gates = pass.kept + gates_;
  std::fill_n(dc, step, T(0));
  std::fill_n(sums, kGates * step, T(0));
  ForBatchParts(pass, batch_, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * units, size = (end - begin) * units;
    for (int64_t t = steps_ - 1; t >= 0; --t) {
      const int64_t now = t * step;
      std::copy_n(dy + now + first, size, dh + first);
      if (t + 1 < steps_) {
        MultiplyPacked(end - begin, gates + kGates * (now + step + first), weight, {.c = dh + first, .add = true},
                       nullptr);
      }
      for (int64_t row = first; row < first + size; row += units) {
        RowBackward(units, dh + row, pass.kept + cells_ + now + row, pass.kept + tanh_cells_ + now + row,
                    gates + kGates * (now + row), dc + row, sums + kGates * row);
      }
    }
  });
  SumRows(batch_, kGates * units, sums, pass.gradients + parameters_.bias_ih);
}

template <typename T>
void Lstm<T>::Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* y, const T* dy, T* dx) {
  const int64_t units = parameters_.units;
  BackThroughTime(pass, pass.scratch, dy);
  const T* const da = pass.kept + gates_;
  T* const weight_hh_gradient = pass.gradients + parameters_.weight_hh;
  projection_.WeightGradient(pass, pass.scratch, x, da, pass.gradients + parameters_.weight_ih);
  std::copy_n(pass.gradients + parameters_.bias_ih, kGates * units, pass.gradients + parameters_.bias_hh);
  Multiply(ProductForm::kTransposedLeft, {kGates * units, units, (steps_ - 1) * batch_}, da + batch_ * kGates * units,
           y, {.c = weight_hh_gradient}, pass.product);
  if (dx != nullptr) projection_.InputGradient(pass, pass.parameters + parameters_.weight_ih, da, dx);
}

template <typename T>
std::optional<double> Lstm<T>::SaturatedGates(const Pass<T>& pass) const {
  if constexpr (kIsComplex<T>) {
    return std::nullopt;
  } else {
    return SaturatedShare(pass.kept + gates_, steps_ * batch_, parameters_.units, kGateFunctions);
  }
}

GW_INSTANTIATE_TEMPLATE(Lstm);

}  // namespace gradwatch::core
