// Exponential, logarithm and normal tail for the layers: for float as plain arithmetic without branches, so that
// compilers turn loops over them into vector code; for double by the library. Domains are only as wide as layers need.
//
// For complex numbers each is the library's, or its Taylor series about the real part, which is exact for the tiny
// imaginary parts of complex steps.
#ifndef GRADWATCH_CORE_NN_ELEMENTARY_H_
#define GRADWATCH_CORE_NN_ELEMENTARY_H_

#include <bit>
#include <cmath>
#include <complex>
#include <cstdint>
#include <numbers>

#include "core/tensor/scalar.h"

namespace gradwatch::core {

// |x| of real numbers; the holomorphic x or -x of complex ones.
template <typename T>
T Magnitude(T x) {
  return RealPart(x) < 0 ? -x : x;
}

// x held between the bounds; NaN stays NaN.
template <typename T>
T Clamp(T x, double low, double high) {
  x = RealPart(x) < static_cast<decltype(RealPart(x))>(low) ? static_cast<T>(low) : x;
  return RealPart(x) > static_cast<decltype(RealPart(x))>(high) ? static_cast<T>(high) : x;
}

namespace elementary_internal {

// exp(x) = scale * (1 + rest) with scale a power of two, for x <= 0. Where exp(x) is below 2^-126 the scale is 0.
struct FloatExponential {
  float scale, rest;
};
inline FloatExponential Exponential(float x) {
  constexpr float kToInteger = 0x1.8p23f;  // added and taken off, it rounds to an integer
  x = x < -88.0f ? -88.0f : x;
  const float shifted = x * std::numbers::log2e_v<float> + kToInteger;
  const float n = shifted - kToInteger;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts; |r| <= ln(2) / 2
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kToInteger) + 127;
  float rest = 1.0f / 5040;  // the Taylor series of exp(r) - 1, good to 2e-8
  rest = rest * r + 1.0f / 720;
  rest = rest * r + 1.0f / 120;
  rest = rest * r + 1.0f / 24;
  rest = rest * r + 1.0f / 6;
  rest = rest * r + 0.5f;
  rest = rest * (r * r) + r;
  return {std::bit_cast<float>(exponent << 23), rest};
}

}  // namespace elementary_internal

// exp(x) for x <= 0.
inline float ExpOfNegative(float x) {
  const auto e = elementary_internal::Exponential(x);
  return e.scale + e.scale * e.rest;
}
inline double ExpOfNegative(double x) { return std::exp(x); }
inline std::complex<double> ExpOfNegative(std::complex<double> x) { return std::exp(x); }

// exp(x) - 1 for x <= 0, accurate for small x too.
inline float Expm1OfNegative(float x) {
  const auto e = elementary_internal::Exponential(x);
  return e.scale * e.rest + (e.scale - 1.0f);
}
inline double Expm1OfNegative(double x) { return std::expm1(x); }
inline std::complex<double> Expm1OfNegative(std::complex<double> x) {
  return {std::expm1(x.real()), std::exp(x.real()) * x.imag()};
}

// log(1 + x) for x in [0, 1], by 2 artanh(x / (2 + x)).
inline float Log1pOfFraction(float x) {
  const float s = x / (2.0f + x), s2 = s * s;  // s2 <= 1/9: the series is good to 2e-8
  float sum = 1.0f / 13;
  sum = sum * s2 + 1.0f / 11;
  sum = sum * s2 + 1.0f / 9;
  sum = sum * s2 + 1.0f / 7;
  sum = sum * s2 + 0.2f;
  sum = sum * s2 + 1.0f / 3;
  return 2.0f * (s + s * (s2 * sum));
}
inline double Log1pOfFraction(double x) { return std::log1p(x); }
inline std::complex<double> Log1pOfFraction(std::complex<double> x) {
  return {std::log1p(x.real()), x.imag() / (1 + x.real())};
}

// The upper tail of the standard normal distribution at a finite x >= 0, erfc(x / sqrt(2)) / 2, where `density` is
// exp(-x^2 / 2), which callers need too.
inline float NormalTail(float x, float density) {
  // As density * P(v) / (x + 4) with v = (x - 4) / (x + 4): P is a polynomial fitted to Chebyshev points on [0, 14] in
  // 40 digits, good to 2e-8. Beyond, the density is zero.
  const float w = 1.0f / (x + 4.0f), v = (x - 4.0f) * w;
  float p = -0.0001201844011f;
  p = p * v + 0.0002012617303f;
  p = p * v + 0.001572317879f;
  p = p * v - 0.0035261837f;
  p = p * v - 0.007529250703f;
  p = p * v + 0.06040668873f;
  p = p * v - 0.1865226849f;
  p = p * v + 0.3871366841f;
  p = p * v - 0.6078966183f;
  p = p * v + 0.7552851383f;
  return density * (p * w);
}
inline double NormalTail(double x, double /*density*/) { return 0.5 * std::erfc(x * (1 / std::numbers::sqrt2)); }
inline std::complex<double> NormalTail(std::complex<double> x, std::complex<double> density) {
  const double slope = -density.real() * (0.5 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi);
  return {NormalTail(x.real(), density.real()), slope * x.imag()};
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_ELEMENTARY_H_
