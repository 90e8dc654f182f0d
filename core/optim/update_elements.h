// The loop that all optimizers share: a rule for one parameter, applied to a range, a few vectors at a time. Included
// by the methods' sources only.
#ifndef GRADWATCH_CORE_OPTIM_UPDATE_ELEMENTS_H_
#define GRADWATCH_CORE_OPTIM_UPDATE_ELEMENTS_H_

#include <concepts>
#include <cstdint>
#include <limits>

#include "core/optim/optimizer.h"
#include "core/stats/square_sum.h"

namespace gradwatch::core {

// Weight decay of either kind, in the arithmetic of T; what is unused changes nothing.
template <typename T>
struct Decay {
  Decay() = default;
  Decay(double decay, bool decoupled, double learning_rate)
      : added(static_cast<T>(decoupled ? 0 : decay)), kept(static_cast<T>(decoupled ? 1 - learning_rate * decay : 1)) {}
  T added = 0;  // the gradient gets the parameter times this
  T kept = 1;   // the parameter is first multiplied by this
};

// 0 for a denormal number, else x. State that decays, as momentum does where a unit has died, would become denormal and
// stay so for ever, since the smallest ones times 0.9 are rounded back; and processors take a hundred times as long for
// them.
template <typename T>
[[gnu::always_inline]] inline T WithoutDenormal(T x) {
  return (x < 0 ? -x : x) < std::numeric_limits<T>::min() ? T(0) : x;
}

// A copy of `rule` is called for each element as parameter = rule(gradient, parameter, state...). What was added to
// each parameter is written into `changes`. Without kScaled the gradient is not even multiplied by 1.
template <bool kScaled, typename T, typename Rule, typename... State>
[[gnu::always_inline]] inline void UpdateBlock(Rule rule, T scale, int64_t count, const T* __restrict gradient,
                                               T* __restrict parameter, T* __restrict changes,
                                               State* __restrict... state) {
  for (int64_t i = 0; i < count; ++i) {
    const T before = parameter[i];
    const T after = rule(kScaled ? scale * gradient[i] : gradient[i], before, state[i]...);
    ((state[i] = WithoutDenormal(state[i])), ...);
    parameter[i] = after;
    changes[i] = after - before;
  }
}

// Applies `rule` to a range, a few vectors at a time. They are measured right before the update reads them again and
// right after it has written its changes, while the next ones are on their way from memory.
template <typename T, typename Rule, std::same_as<T>... State>
SquareSums UpdateElements(const UpdateRange<T>& range, const Rule& rule, State*... state) {
  constexpr int64_t kBlock = SquareSum<T>::kBlock;
  alignas(64) T changes[kBlock];
  const T scale = static_cast<T>(range.clip_scale);
  SquareSum<T> weight_squares, change_squares;
  // Inlined, so that the loops over a whole block have a length that the compiler knows.
  const auto update = [&](int64_t done, int64_t count) __attribute__((always_inline)) {
    const T* const gradient = range.gradient + done;
    T* const parameter = range.parameter + done;
    if (range.measure) weight_squares.Add(parameter, count);
    if (range.clip_scale == 1) {
      UpdateBlock<false>(rule, scale, count, gradient, parameter, changes, (state + range.start + done)...);
    } else {
      UpdateBlock<true>(rule, scale, count, gradient, parameter, changes, (state + range.start + done)...);
    }
    if (range.measure) change_squares.Add(changes, count);
  };
  const int64_t whole = range.count / kBlock * kBlock;
  for (int64_t done = 0; done < whole; done += kBlock) update(done, kBlock);
  if (whole < range.count) update(whole, range.count - whole);
  return {.weights = weight_squares.Total(), .changes = change_squares.Total()};
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_UPDATE_ELEMENTS_H_
