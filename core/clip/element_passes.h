// The passes of clipping that change gradients in place: by element and by unit. Each reads a tensor once, block by
// block.
#ifndef GRADWATCH_CORE_CLIP_ELEMENT_PASSES_H_
#define GRADWATCH_CORE_CLIP_ELEMENT_PASSES_H_

#include <cstdint>
#include <span>

namespace gradwatch::core {

// What a pass did to a tensor.
struct PassOutcome {
  int64_t clipped = 0;  // elements or units that were changed
  double norm = 0;      // of the tensor afterwards
};

// Elements that are NaN or infinite become 0.
template <typename T>
void ZeroNonFinite(std::span<T> gradient);

// Each element times `coefficient`, in double and rounded once.
template <typename T>
void MultiplyBy(std::span<T> gradient, double coefficient);

// Elements beyond [-limit, limit] become the largest T within it. `limit` is above 0; elements are finite.
template <typename T>
PassOutcome ClampMagnitudes(std::span<T> gradient, double limit);

// An element g with g^2 > theta * v becomes sign(g) * sqrt(theta * v), v being its second moment; not where v is 0.
// `norm` is that of the tensor before. Writes only where there is something to cut.
template <typename T>
PassOutcome CutToMoment(std::span<T> gradient, std::span<const T> second_moment, double theta, double norm);

// Adaptive gradient clipping (Brock, De, Smith, Simonyan 2021, arXiv 2102.06171): the gradient of a unit of norm n
// whose weights have norm w is multiplied by b / n if n > b = factor * max(w, epsilon). So a unit that starts at zero
// may move by factor * epsilon and is not stuck. `units` rows of equal length; weights are laid out like the gradient.
// The reference divides by max(n, 1e-6), which would cut more than the bound asks for if factor * epsilon is below
// 1e-6.
template <typename T>
PassOutcome ClipUnits(std::span<T> gradient, std::span<const T> weights, int64_t units, double factor, double epsilon);

#define GRADWATCH_ELEMENT_PASSES(prefix, T)                                                  \
  prefix template void ZeroNonFinite(std::span<T>);                                          \
  prefix template void MultiplyBy(std::span<T>, double);                                     \
  prefix template PassOutcome ClampMagnitudes(std::span<T>, double);                         \
  prefix template PassOutcome CutToMoment(std::span<T>, std::span<const T>, double, double); \
  prefix template PassOutcome ClipUnits(std::span<T>, std::span<const T>, int64_t, double, double);

GRADWATCH_ELEMENT_PASSES(extern, float)
GRADWATCH_ELEMENT_PASSES(extern, double)

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_CLIP_ELEMENT_PASSES_H_
