// The loop that all optimizers share: a rule for a vector of parameters, applied to a range. Included by the methods'
// sources only.
#ifndef GRADWATCH_CORE_OPTIM_UPDATE_ELEMENTS_H_
#define GRADWATCH_CORE_OPTIM_UPDATE_ELEMENTS_H_

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/optim/optimizer.h"
#include "core/stats/float_vectors.h"
#include "core/stats/square_sum.h"
#include "core/tensor/vector.h"

namespace gradwatch::core {

// State that decays, as momentum does where a unit has died, would become denormal and stay so for ever, since the
// smallest ones times 0.9 are rounded back; and processors take a hundred times as long for them. So rules flush their
// states before they are stored, wherever that does not show; the update itself is made before that.

// 0 for denormal numbers, else x. For what is in units of a gradient or of an update (momentum), and for squares of
// gradients beside an epsilon that hides them. What is lost of momentum m is below 2e-38 / (1 - m) (float): a
// parameter that it moves at all is smaller than 1e-29 times the rate, or times the rate over an epsilon of 1e-10.
//
// Where TinySquaresShow, squares that are stuck are all that keeps the next gradient from being divided by epsilon
// alone: neither they nor Adam's mean, which is divided by their root, are flushed. Units that have died then stay
// slow.
template <typename T>
GW_INLINE Vector<T> WithoutDenormal(const Vector<T>& x) {
  return Magnitudes<T>(x) < std::numeric_limits<T>::min() ? Vector<T>{} : x;
}

// Whether updates g / (sqrt(square) + epsilon), where `square` is a running mean of squares that keeps the part `kept`
// of itself, would show that denormal squares are taken for 0. The mean, also without its bias, then lacks less than
// min / (1 - kept), and its root less than the root of that; what is below half a unit in the last place of epsilon
// (epsilon 2^-25 in float) vanishes beside it. In float with kept = 0.999: if epsilon is below 1.2e-10.
template <typename T>
bool TinySquaresShow(double epsilon, double kept) {
  using Limits = std::numeric_limits<T>;
  return epsilon < std::ldexp(std::sqrt(Limits::min() / (1 - kept)), Limits::digits + 1);
}

// What an update leaves of a block, besides the parameters and the state.
template <typename T>
struct BlockValues {
  static constexpr int64_t kSize = SquareSum<T>::kBlock;
  alignas(64) T weights[kSize];  // before the update
  alignas(64) T changes[kSize];  // what was added to them
};

// A rule is called as parameter = rule(gradient, parameter, state...), with a vector each, and changes the states to
// what is stored.
//
// Updates the first `lanes` elements at each address. kScaled: the gradient is multiplied by `scale`, else not even
// by 1.
template <bool kScaled, typename T, typename Rule, std::same_as<T>... State>
GW_INLINE void UpdateVector(const Rule& rule, T scale, int lanes, const T* gradient, T* parameter, Vector<T>* weight,
                            Vector<T>* change, State*... state) {
  const auto load = [lanes](const T* from) { return lanes == kLanes<T> ? LoadVector(from) : LoadLanes(from, lanes); };
  const auto store = [lanes](const Vector<T>& x, T* to) {
    lanes == kLanes<T> ? StoreVector<T>(x, to) : StoreLanes<T>(x, lanes, to);
  };
  const auto update = [&](auto... x) {
    const Vector<T> given = load(gradient);
    *weight = load(parameter);
    const Vector<T> after = rule(kScaled ? scale * given : given, *weight, x...);
    *change = after - *weight;
    store(after, parameter);
    (store(x, state), ...);
  };
  update(load(state)...);
}

// Up to a block, whose weights and changes go to `values` unless that is null.
template <bool kScaled, typename T, typename Rule, std::same_as<T>... State>
GW_INLINE void UpdateSome(const Rule& rule, T scale, int64_t count, const T* gradient, T* parameter,
                          BlockValues<T>* values, State*... state) {
  for (int64_t i = 0; i < count; i += kLanes<T>) {
    const int lanes = static_cast<int>(std::min<int64_t>(kLanes<T>, count - i));
    Vector<T> weight, change;
    UpdateVector<kScaled>(rule, scale, lanes, gradient + i, parameter + i, &weight, &change, (state + i)...);
    if (values == nullptr) continue;
    StoreVector<T>(weight, values->weights + i);
    StoreVector<T>(change, values->changes + i);
  }
}

// A whole block, and its sums of squares: as floats, eight of a lane, and these in double.
template <bool kScaled, typename Rule, std::same_as<float>... State>
GW_INLINE SquareSums UpdateAndSquare(const Rule& rule, float scale, const float* gradient, float* parameter,
                                     BlockValues<float>* values, State*... state) {
  constexpr int64_t kLane = kLanes<float>;
  vectors::Doubles weights{}, changes{};
  for (int64_t group = 0; group < BlockValues<float>::kSize; group += 8 * kLane) {
    vectors::Floats weight_squares[2] = {}, change_squares[2] = {};
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      const int64_t i = group + j * kLane;
      Vector<float> weight, change;
      UpdateVector<kScaled>(rule, scale, kLane, gradient + i, parameter + i, &weight, &change, (state + i)...);
      weight_squares[j % 2] += weight * weight;
      change_squares[j % 2] += change * change;
      StoreVector<float>(weight, values->weights + i);
      StoreVector<float>(change, values->changes + i);
    }
    vectors::AddHalves(weight_squares[0] + weight_squares[1], &weights);
    vectors::AddHalves(change_squares[0] + change_squares[1], &changes);
  }
  return {.weights = vectors::Sum(weights), .changes = vectors::Sum(changes)};
}

template <bool kScaled, typename T, typename Rule, std::same_as<T>... State>
SquareSums UpdateScaled(const UpdateRange<T>& range, const Rule& rule, State*... state) {
  constexpr int64_t kBlock = BlockValues<T>::kSize;
  const T scale = static_cast<T>(range.clip_scale);
  BlockValues<T> values;
  SquareSum<T> weights, changes;
  for (int64_t done = 0; done < range.count; done += kBlock) {
    const int64_t count = std::min(kBlock, range.count - done);
    const T* const gradient = range.gradient + done;
    T* const parameter = range.parameter + done;
    if (!range.measure) {
      UpdateSome<kScaled>(rule, scale, count, gradient, parameter, static_cast<BlockValues<T>*>(nullptr),
                          (state + done)...);
      continue;
    }
    if constexpr (std::is_same_v<T, float>) {
      if (count == kBlock && weights.adds_floats() && changes.adds_floats()) {
        const SquareSums sums = UpdateAndSquare<kScaled>(rule, scale, gradient, parameter, &values, (state + done)...);
        weights.AddBlock(sums.weights, values.weights);
        changes.AddBlock(sums.changes, values.changes);
        continue;
      }
    }
    UpdateSome<kScaled>(rule, scale, count, gradient, parameter, &values, (state + done)...);
    weights.Add(values.weights, count);
    changes.Add(values.changes, count);
  }
  return {.weights = weights.Total(), .changes = changes.Total()};
}

// Applies `rule` to a range. Weights and changes are measured while they are in registers.
template <typename T, typename Rule, std::same_as<T>... State>
SquareSums UpdateElements(const UpdateRange<T>& range, const Rule& rule, State*... state) {
  return range.clip_scale == 1 ? UpdateScaled<false>(range, rule, (state + range.start)...)
                               : UpdateScaled<true>(range, rule, (state + range.start)...);
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_UPDATE_ELEMENTS_H_
