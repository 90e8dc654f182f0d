// Vectors as wide as the processor's registers, in the notation that gcc and clang share. Internal to core's sources:
// the width differs between the builds of the engine, so nobody else may include this.
#ifndef GRADWATCH_CORE_TENSOR_VECTOR_H_
#define GRADWATCH_CORE_TENSOR_VECTOR_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#ifdef __SSE2__
#include <immintrin.h>
#endif

#define GW_INLINE inline __attribute__((always_inline))

namespace gradwatch::core {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
inline constexpr int kVectorRegisters = 32;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32;
inline constexpr int kVectorRegisters = 16;
#else
inline constexpr int kVectorBytes = 16;
inline constexpr int kVectorRegisters = 16;
#endif

template <typename T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(kVectorBytes)));
};
// T is float or double.
template <typename T>
using Vector = typename VectorOf<T>::Type;
// Numbers in a vector.
template <typename T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <typename T>
GW_INLINE Vector<T> LoadVector(const T* x) {
  Vector<T> v;
  std::memcpy(&v, x, sizeof(v));
  return v;
}

template <typename T>
GW_INLINE void StoreVector(const Vector<T>& v, T* x) {
  std::memcpy(x, &v, sizeof(v));
}

// The first `count` lanes, from 0 to all; the other ones are zero, and their memory is not touched.
template <typename T>
GW_INLINE Vector<T> LoadLanes(const T* x, int count) {
#if defined(__AVX512F__)
  const auto mask = static_cast<uint16_t>((uint32_t{1} << count) - 1);
  if constexpr (sizeof(T) == 4) {
    return _mm512_maskz_loadu_ps(mask, x);
  } else {
    return _mm512_maskz_loadu_pd(static_cast<uint8_t>(mask), x);
  }
#else
  Vector<T> v{};
  for (int i = 0; i < count; ++i) v[i] = x[i];
  return v;
#endif
}

// Stores the first `count` lanes.
template <typename T>
GW_INLINE void StoreLanes(const Vector<T>& v, int count, T* x) {
#if defined(__AVX512F__)
  const auto mask = static_cast<uint16_t>((uint32_t{1} << count) - 1);
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_ps(x, mask, v);
  } else {
    _mm512_mask_storeu_pd(x, static_cast<uint8_t>(mask), v);
  }
#else
  for (int i = 0; i < count; ++i) x[i] = v[i];
#endif
}

// Without the sign.
template <typename T>
GW_INLINE Vector<T> Magnitudes(const Vector<T>& x) {
  using Bits = decltype(x < x);  // integers of the same size
  const Bits mask = ~reinterpret_cast<Bits>(-Vector<T>{});
  return reinterpret_cast<Vector<T>>(reinterpret_cast<Bits>(x) & mask);
}

// Rounded as std::sqrt is.
template <typename T>
GW_INLINE Vector<T> SquareRoots(const Vector<T>& x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_sqrt_ps(x);
  if constexpr (sizeof(T) == 8) return _mm512_sqrt_pd(x);
#elif defined(__AVX__)
  if constexpr (sizeof(T) == 4) return _mm256_sqrt_ps(x);
  if constexpr (sizeof(T) == 8) return _mm256_sqrt_pd(x);
#elif defined(__SSE2__)
  if constexpr (sizeof(T) == 4) return _mm_sqrt_ps(x);
  if constexpr (sizeof(T) == 8) return _mm_sqrt_pd(x);
#else
  Vector<T> roots;
  for (int i = 0; i < kLanes<T>; ++i) roots[i] = std::sqrt(x[i]);
  return roots;
#endif
}

// One step of a transposition: exchanges the off-diagonal blocks of kStride lanes of two rows that are kStride apart.
template <typename T, int kStride, int... kLane>
GW_INLINE void ExchangeBlocks(Vector<T>& upper, Vector<T>& lower, std::integer_sequence<int, kLane...>) {
  constexpr int kWidth = sizeof...(kLane);
  const Vector<T> u = upper, l = lower;
  upper = __builtin_shufflevector(u, l, ((kLane & kStride) == 0 ? kLane : kWidth + kLane - kStride)...);
  lower = __builtin_shufflevector(u, l, ((kLane & kStride) == 0 ? kLane + kStride : kWidth + kLane)...);
}

// Transposes a square of kLanes rows, in registers.
template <typename T, int kStride = 1>
GW_INLINE void TransposeSquare(Vector<T> (&rows)[kLanes<T>]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<T>; ++i) {
    if ((i & kStride) != 0) continue;
    ExchangeBlocks<T, kStride>(rows[i], rows[i + kStride], std::make_integer_sequence<int, kLanes<T>>());
  }
  if constexpr (2 * kStride < kLanes<T>) TransposeSquare<T, 2 * kStride>(rows);
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TENSOR_VECTOR_H_
