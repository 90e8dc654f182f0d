#include "core/nn/activation_function.h"

#include <type_traits>

#include "core/nn/activation_formulas.h"
#include "core/nn/internal/block.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {
namespace {

// SELU, Klambauer et al. 2017.
constexpr double kSeluAlpha = 1.6732632423543772848, kSeluScale = 1.0507009873554804934;

// Calls `visitor` with the formula.
template <typename T, typename Visitor>
void VisitFormula(const ActivationSettings& settings, const Visitor& visitor) {
  const T alpha = static_cast<T>(settings.alpha);
  switch (settings.function) {
    case v1::ACTIVATION_FUNCTION_SIGMOID:
      return visitor(SigmoidFormula<T>());
    case v1::ACTIVATION_FUNCTION_TANH:
      return visitor(TanhFormula<T>());
    case v1::ACTIVATION_FUNCTION_LEAKY_RELU:
      return visitor(LeakyReluFormula<T>{alpha});
    case v1::ACTIVATION_FUNCTION_ELU:
      return visitor(EluFormula<T>{alpha, T(1)});
    case v1::ACTIVATION_FUNCTION_SELU:
      return visitor(EluFormula<T>{T(kSeluAlpha), T(kSeluScale)});
    case v1::ACTIVATION_FUNCTION_GELU:
      return visitor(GeluFormula<T>());
    case v1::ACTIVATION_FUNCTION_GELU_TANH:
      return visitor(GeluTanhFormula<T>());
    case v1::ACTIVATION_FUNCTION_SILU:
      return visitor(SiluFormula<T>());
    case v1::ACTIVATION_FUNCTION_SOFTPLUS:
      return visitor(SoftplusFormula<T>());
    case v1::ACTIVATION_FUNCTION_SOFTSIGN:
      return visitor(SoftsignFormula<T>());
    case v1::ACTIVATION_FUNCTION_MISH:
      return visitor(MishFormula<T>());
    default:
      return visitor(ReluFormula<T>());
  }
}

// Compilers make vector code of loops only where they see that no array overlaps another, so that the case of one and
// the same array needs a loop of its own.
template <typename T, typename Formula>
void Apply(const Formula& formula, int64_t size, const T* x, T* y) {
  if (x == y) {
    for (int64_t i = 0; i < size; ++i) y[i] = formula.Value(y[i]);
    return;
  }
  const T* __restrict from = x;
  T* __restrict to = y;
  for (int64_t i = 0; i < size; ++i) to[i] = formula.Value(from[i]);
}

template <typename T, typename Formula>
void Backward(const Formula& formula, int64_t size, const T* source, const T* dy, T* dx) {
  const T* __restrict v = source;
  T* __restrict to = dx;
  if (dy == dx) {
    for (int64_t i = 0; i < size; ++i) to[i] *= formula.Slope(v[i]);
    return;
  }
  const T* __restrict from = dy;
  for (int64_t i = 0; i < size; ++i) to[i] = from[i] * formula.Slope(v[i]);
}

// Where the gradient is cut off it is zero, even if it was infinite or NaN.
template <typename T>
void Backward(const ReluFormula<T>& /*formula*/, int64_t size, const T* y, const T* dy, T* dx) {
  for (int64_t i = 0; i < size; ++i) dx[i] = RealPart(y[i]) <= 0 ? T(0) : dy[i];
}

}  // namespace

// A negative slope of leaky ReLU makes outputs of both signs positive.
bool ActivationReadsInput(const ActivationSettings& settings) {
  if (settings.function == v1::ACTIVATION_FUNCTION_LEAKY_RELU) return settings.alpha < 0;
  bool reads_input = false;
  VisitFormula<float>(settings, [&](const auto& formula) { reads_input = formula.kReadsInput; });
  return reads_input;
}

template <typename T>
void ApplyActivation(const ActivationSettings& settings, int64_t size, const T* x, T* y) {
  VisitFormula<T>(settings, [&]<typename Formula>(const Formula& formula) {
    if constexpr (std::is_same_v<Formula, TanhFormula<T>>) {
      // Eigen's, which is faster than by an exponential.
      ForEachBlock<T>(size, [&](int64_t i, auto length) { Store<T>(Load<T>(x + i, length).tanh(), y + i, length); });
    } else {
      Apply(formula, size, x, y);
    }
  });
}

template <typename T>
void ActivationBackward(const ActivationSettings& settings, int64_t size, const T* source, const T* dy, T* dx) {
  VisitFormula<T>(settings, [&](const auto& formula) { Backward(formula, size, source, dy, dx); });
}

#define GW_INSTANTIATE(T)                                                          \
  template void ApplyActivation(const ActivationSettings&, int64_t, const T*, T*); \
  template void ActivationBackward(const ActivationSettings&, int64_t, const T*, const T*, T*);
GW_FOR_EACH_SCALAR(GW_INSTANTIATE)
#undef GW_INSTANTIATE

}  // namespace gradwatch::core
