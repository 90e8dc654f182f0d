// The loop that all optimizers share: a rule for one parameter, applied to a range, a block of the first-level cache at
// a time. Included by the methods' sources only.
#ifndef GRADWATCH_CORE_OPTIM_UPDATE_ELEMENTS_H_
#define GRADWATCH_CORE_OPTIM_UPDATE_ELEMENTS_H_

#include <algorithm>
#include <concepts>
#include <cstdint>

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

// Elements that are updated before their changes are summed; their changes stay in the first-level cache meanwhile.
inline constexpr int64_t kBlockSize = 1024;

// A copy of `rule` is called for each element as parameter = rule(gradient, parameter, state...). What was added to
// each parameter is written into `changes`. Without kScaled the gradient is not even multiplied by 1.
template <bool kScaled, typename T, typename Rule, typename... State>
void UpdateBlock(Rule rule, T scale, int64_t count, const T* __restrict gradient, T* __restrict parameter,
                 T* __restrict changes, State* __restrict... state) {
  for (int64_t i = 0; i < count; ++i) {
    const T before = parameter[i];
    const T after = rule(kScaled ? scale * gradient[i] : gradient[i], before, state[i]...);
    parameter[i] = after;
    changes[i] = after - before;
  }
}

// Applies `rule` to a range. `state` are the arenas of the rule's states.
template <typename T, typename Rule, std::same_as<T>... State>
SquareSums UpdateElements(const UpdateRange<T>& range, const Rule& rule, State*... state) {
  alignas(64) T changes[kBlockSize];
  const T scale = static_cast<T>(range.clip_scale);
  SquareSums squares;
  for (int64_t done = 0; done < range.count; done += kBlockSize) {
    const int64_t count = std::min(kBlockSize, range.count - done);
    const T* const gradient = range.gradient + done;
    T* const parameter = range.parameter + done;
    // Right before the update reads them again, and right after it has written its changes.
    if (range.measure) squares.weights += SumOfSquares(parameter, count);
    if (range.clip_scale == 1) {
      UpdateBlock<false>(rule, scale, count, gradient, parameter, changes, (state + range.start + done)...);
    } else {
      UpdateBlock<true>(rule, scale, count, gradient, parameter, changes, (state + range.start + done)...);
    }
    if (range.measure) squares.changes += SumOfSquares(changes, count);
  }
  return squares;
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_UPDATE_ELEMENTS_H_
