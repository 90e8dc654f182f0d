// Vectors of floats and doubles as wide as the registers of this build, in the notation that gcc and clang share. For
// the passes of this folder only: their types differ between the builds of the engine.
#ifndef GRADWATCH_CORE_STATS_FLOAT_VECTORS_H_
#define GRADWATCH_CORE_STATS_FLOAT_VECTORS_H_

#include <cstdint>
#include <cstring>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace gradwatch::core::vectors {

#if defined(__AVX512F__)
inline constexpr int kBytes = 64;
#elif defined(__AVX__)
inline constexpr int kBytes = 32;
#else
inline constexpr int kBytes = 16;
#endif
// Floats and doubles in a register.
inline constexpr int kFloats = kBytes / 4;
inline constexpr int kDoubles = kBytes / 8;

using Floats = float __attribute__((vector_size(kBytes)));
using Ints = int32_t __attribute__((vector_size(kBytes)));
using Bytes = int8_t __attribute__((vector_size(kBytes)));
using Doubles = double __attribute__((vector_size(kBytes)));
// As many floats as a register holds doubles.
using NarrowFloats = float __attribute__((vector_size(kBytes / 2)));

template <typename Vector>
Vector Load(const void* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

// kDoubles floats from memory: reading them from there again is cheaper than to split a register.
inline Doubles LoadAsDoubles(const float* from) {
#ifdef __AVX512F__
  // gcc 12 would convert the two halves and put them together.
  return reinterpret_cast<Doubles>(_mm512_cvtps_pd(_mm256_loadu_ps(from)));
#else
  return __builtin_convertvector(Load<NarrowFloats>(from), Doubles);
#endif
}

inline Doubles LoadAsDoubles(const double* from) { return Load<Doubles>(from); }

// Adds the sum of both halves of `floats`, which is a float, to `sum`, which is double.
inline void AddHalves(const Floats& floats, Doubles* sum) {
#ifdef __AVX512F__
  const __m512 both = reinterpret_cast<__m512>(floats);
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(both), _mm512_extractf32x8_ps(both, 1));
  *sum += reinterpret_cast<Doubles>(_mm512_cvtps_pd(half));
#else
  NarrowFloats halves[2];
  std::memcpy(halves, &floats, sizeof(halves));
  *sum += __builtin_convertvector(halves[0] + halves[1], Doubles);
#endif
}

// Combines the lanes of one half with those of the other, and so on: no long chain waits for itself.
template <typename Number, int kCount, typename Combine>
inline Number Fold(Number (&lanes)[kCount], Combine combine) {
#pragma GCC unroll 4
  for (int half = kCount / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) lanes[i] = combine(lanes[i], lanes[i + half]);
  }
  return lanes[0];
}

// In pairs, so that no long chain of additions waits for each other.
inline double Sum(const Doubles& vector) {
#ifdef __AVX512F__
  return _mm512_reduce_add_pd(reinterpret_cast<__m512d>(vector));
#else
  double lanes[kDoubles];
  std::memcpy(lanes, &vector, sizeof(lanes));
  return Fold(lanes, [](double a, double b) { return a + b; });
#endif
}

// Magnitudes are floats without a sign. Where one of two is NaN, the result is either of them.
inline Floats Magnitudes(const Floats& x) { return reinterpret_cast<Floats>(reinterpret_cast<Ints>(x) & 0x7fffffff); }

#ifdef __AVX512F__
// The integers' maximum has one port of the processor, these have two.
inline Floats Larger(const Floats& a, const Floats& b) { return reinterpret_cast<Floats>(_mm512_max_ps(a, b)); }
inline Floats Smaller(const Floats& a, const Floats& b) { return reinterpret_cast<Floats>(_mm512_min_ps(a, b)); }
inline Floats LargerMagnitude(const Floats& x, const Floats& y) { return _mm512_range_ps(x, y, 0b1011); }
inline Floats SmallerMagnitude(const Floats& x, const Floats& y) { return _mm512_range_ps(x, y, 0b1010); }
#else
// Of magnitudes: their bits are ordered as they are.
inline Floats Larger(const Floats& a, const Floats& b) {
  const Ints x = reinterpret_cast<Ints>(a), y = reinterpret_cast<Ints>(b);
  return reinterpret_cast<Floats>(x > y ? x : y);
}
inline Floats Smaller(const Floats& a, const Floats& b) {
  const Ints x = reinterpret_cast<Ints>(a), y = reinterpret_cast<Ints>(b);
  return reinterpret_cast<Floats>(x < y ? x : y);
}
inline Floats LargerMagnitude(const Floats& x, const Floats& y) { return Larger(Magnitudes(x), Magnitudes(y)); }
inline Floats SmallerMagnitude(const Floats& x, const Floats& y) { return Smaller(Magnitudes(x), Magnitudes(y)); }
#endif

// Counters that overflow no sooner than after 127 additions.
#ifdef __AVX512F__
using Counters = Bytes;
#else
using Counters = Ints;
#endif

// Adds 1 to some counter for every one of four vectors of magnitudes that is not zero.
inline void CountNonZero(const Floats& a, const Floats& b, const Floats& c, const Floats& d, Counters* counters) {
#ifdef __AVX512F__
  // What does not fit becomes the largest number that does, first of 16 bits, then of 8.
  const __m512i ab = _mm512_packs_epi32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
  const __m512i cd = _mm512_packs_epi32(reinterpret_cast<__m512i>(c), reinterpret_cast<__m512i>(d));
  *counters += reinterpret_cast<Bytes>(_mm512_min_epi8(_mm512_packs_epi16(ab, cd), _mm512_set1_epi8(1)));
#else
  // A comparison that holds is -1.
  for (const Floats& x : {a, b, c, d}) *counters -= reinterpret_cast<Ints>(x) > 0;
#endif
}

inline int64_t Total(const Counters& counters) {
#ifdef __AVX512F__
  return _mm512_reduce_add_epi64(_mm512_sad_epu8(reinterpret_cast<__m512i>(counters), __m512i{}));
#else
  int64_t total = 0;
  for (int i = 0; i < kFloats; ++i) total += counters[i];
  return total;
#endif
}

inline int32_t LargestBits(const Floats& magnitudes) {
#ifdef __AVX512F__
  return _mm512_reduce_max_epi32(reinterpret_cast<__m512i>(magnitudes));
#else
  int32_t lanes[kFloats];
  std::memcpy(lanes, &magnitudes, sizeof(lanes));
  return Fold(lanes, [](int32_t a, int32_t b) { return a > b ? a : b; });
#endif
}

inline int32_t SmallestBits(const Floats& magnitudes) {
#ifdef __AVX512F__
  return _mm512_reduce_min_epi32(reinterpret_cast<__m512i>(magnitudes));
#else
  int32_t lanes[kFloats];
  std::memcpy(lanes, &magnitudes, sizeof(lanes));
  return Fold(lanes, [](int32_t a, int32_t b) { return a < b ? a : b; });
#endif
}

}  // namespace gradwatch::core::vectors

#endif  // GRADWATCH_CORE_STATS_FLOAT_VECTORS_H_
