// The element-wise functions and their slopes, one struct each, written without branches.
//
// Value(x) is the function. Slope(v) is its derivative, with v the output where the output tells it (kReadsInput is
// false), else the input. Infinite inputs reach the limits; NaN stays NaN, but passes through the slopes of the
// functions made of two pieces as PyTorch has it.
#ifndef GRADWATCH_CORE_NN_ACTIVATION_FORMULAS_H_
#define GRADWATCH_CORE_NN_ACTIVATION_FORMULAS_H_

#include <limits>
#include <numbers>

#include "core/nn/elementary.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {

// 1 / (1 + exp(-x)) and what goes with it, from one exponential and one division.
template <typename T>
struct Logistic {
  T exponential;        // exp(-|x|)
  T value, complement;  // of x and of -x
  explicit Logistic(T x) : exponential(ExpOfNegative(-Magnitude(x))) {
    const T larger = T(1) / (T(1) + exponential), smaller = exponential * larger;
    value = RealPart(x) < 0 ? smaller : larger;
    complement = RealPart(x) < 0 ? larger : smaller;
  }
};

// Beyond this every function below has reached its limit or its line, in float and in double.
inline constexpr double kFarOut = 1e4;

// x * p(x) where p goes to 0 at minus infinity faster than x grows.
template <typename T>
T Gate(T x, T p) {
  return Clamp(x, -kFarOut, std::numeric_limits<double>::infinity()) * p;
}

template <typename T>
struct SigmoidFormula {
  static constexpr bool kReadsInput = false;
  T Value(T x) const { return Logistic<T>(x).value; }
  T Slope(T y) const { return y * (T(1) - y); }
};

// Its values come from the vectorised function of the matrix library.
template <typename T>
struct TanhFormula {
  static constexpr bool kReadsInput = false;
  T Slope(T y) const { return T(1) - y * y; }
};

// A comparison instead of a maximum, which would drop NaN.
template <typename T>
struct ReluFormula {
  static constexpr bool kReadsInput = false;
  T Value(T x) const { return RealPart(x) <= 0 ? T(0) : x; }
  T Slope(T y) const { return RealPart(y) <= 0 ? T(0) : T(1); }
};

// Unless alpha is negative the output has the input's sign.
template <typename T>
struct LeakyReluFormula {
  static constexpr bool kReadsInput = false;
  T alpha;
  T Value(T x) const { return RealPart(x) <= 0 ? alpha * x : x; }
  T Slope(T v) const { return RealPart(v) <= 0 ? alpha : T(1); }
};

// scale * x, or scale * alpha * (exp(x) - 1) below zero.
template <typename T>
struct EluFormula {
  static constexpr bool kReadsInput = false;
  T alpha, scale;
  T Value(T x) const {
    const T below = alpha * Expm1OfNegative(RealPart(x) > 0 ? T(0) : x);
    return scale * (RealPart(x) <= 0 ? below : x);
  }
  T Slope(T y) const { return RealPart(y) <= 0 ? y + scale * alpha : scale; }
};

// x Phi(x) with the normal distribution Phi.
template <typename T>
struct GeluFormula {
  static constexpr bool kReadsInput = true;
  // Of a finite x.
  struct Normal {
    T distribution;  // Phi(x)
    T density;       // Phi'(x)
    explicit Normal(T x) {
      const T exponential = ExpOfNegative(T(-0.5) * x * x), tail = NormalTail(Magnitude(x), exponential);
      distribution = RealPart(x) < 0 ? tail : T(1) - tail;
      density = T(0.5 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi) * exponential;
    }
  };
  T Value(T x) const { return Gate(x, Normal(Clamp(x, -kFarOut, kFarOut)).distribution); }
  T Slope(T x) const {
    x = Clamp(x, -kFarOut, kFarOut);
    const Normal normal(x);
    return normal.distribution + x * normal.density;
  }
};

// x (1 + tanh(u / 2)) / 2 = x / (1 + exp(-u)) with u = sqrt(8 / pi) (x + 0.044715 x^3).
template <typename T>
struct GeluTanhFormula {
  static constexpr bool kReadsInput = true;
  static constexpr double kLinear = 1.5957691216057307118, kCubic = 0.044715;
  T Value(T x) const {
    const T near = Clamp(x, -kFarOut, kFarOut);
    return Gate(x, Logistic<T>(T(kLinear) * near * (T(1) + T(kCubic) * near * near)).value);
  }
  T Slope(T x) const {
    x = Clamp(x, -kFarOut, kFarOut);
    const T square = T(kCubic) * x * x;
    const Logistic<T> s(T(kLinear) * x * (T(1) + square));
    return s.value + s.value * s.complement * (T(kLinear) * x * (T(1) + T(3) * square));
  }
};

// x / (1 + exp(-x)).
template <typename T>
struct SiluFormula {
  static constexpr bool kReadsInput = true;
  T Value(T x) const { return Gate(x, Logistic<T>(x).value); }
  T Slope(T x) const {
    x = Clamp(x, -kFarOut, kFarOut);
    const Logistic<T> s(x);
    return s.value * (T(1) + x * s.complement);
  }
};

// log(1 + exp(x)); its derivative, the sigmoid, is 1 - exp(-y).
template <typename T>
struct SoftplusFormula {
  static constexpr bool kReadsInput = false;
  T Value(T x) const { return (RealPart(x) < 0 ? T(0) : x) + Log1pOfFraction(ExpOfNegative(-Magnitude(x))); }
  T Slope(T y) const { return -Expm1OfNegative(-y); }
};

// x / (1 + |x|); the derivative 1 / (1 + |x|)^2 is (1 - |y|)^2.
template <typename T>
struct SoftsignFormula {
  static constexpr bool kReadsInput = false;
  T Value(T x) const {
    const T near = Clamp(x, -1e30, 1e30);  // where it is 1 already, so that infinity is not divided by itself
    return near / (T(1) + Magnitude(near));
  }
  T Slope(T y) const {
    const T rest = T(1) - Magnitude(y);
    return rest * rest;
  }
};

// x t with t = tanh(log(1 + exp(x))) = n / (n + 2), n = exp(2x) + 2 exp(x).
template <typename T>
struct MishFormula {
  static constexpr bool kReadsInput = true;
  // t and 1 - t, from e = exp(-|x|).
  struct Gates {
    T t, rest;
    Gates(T x, T e) {
      const bool below = RealPart(x) < 0;
      const T n = below ? e * (e + T(2)) : T(1) + T(2) * e;
      const T two = below ? T(2) : T(2) * e * e;
      const T inverse = T(1) / (n + two);
      t = n * inverse;
      rest = two * inverse;
    }
  };
  T Value(T x) const { return Gate(x, Gates(x, ExpOfNegative(-Magnitude(x))).t); }
  T Slope(T x) const {
    x = Clamp(x, -kFarOut, kFarOut);
    const Logistic<T> s(x);
    const Gates gates(x, s.exponential);
    return gates.t + x * s.value * gates.rest * (T(1) + gates.t);
  }
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_ACTIVATION_FORMULAS_H_
