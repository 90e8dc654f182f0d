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

// Adds both halves of `floats` to `sum`, in double.
inline void AddHalves(const Floats& floats, Doubles* sum) {
  float numbers[kFloats];
  std::memcpy(numbers, &floats, sizeof(numbers));
  *sum += LoadAsDoubles(numbers) + LoadAsDoubles(numbers + kDoubles);
}

// In pairs, so that no long chain of additions waits for each other.
inline double Sum(const Doubles& vector) {
  double sums[kDoubles];
  std::memcpy(sums, &vector, sizeof(sums));
  for (int half = kDoubles / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

// The bits without the sign. They are ordered as the magnitudes are, NaN above infinity.
inline Ints Magnitudes(const Floats& floats) { return reinterpret_cast<Ints>(floats) & 0x7fffffff; }

inline void KeepLarger(const Ints& candidates, Ints* max) { *max = candidates > *max ? candidates : *max; }
inline void KeepSmaller(const Ints& candidates, Ints* min) { *min = candidates < *min ? candidates : *min; }

inline int32_t Largest(const Ints& vector) {
  int32_t largest = vector[0];
  for (int i = 1; i < kFloats; ++i) largest = vector[i] > largest ? vector[i] : largest;
  return largest;
}

inline int32_t Smallest(const Ints& vector) {
  int32_t smallest = vector[0];
  for (int i = 1; i < kFloats; ++i) smallest = vector[i] < smallest ? vector[i] : smallest;
  return smallest;
}

}  // namespace gradwatch::core::vectors

#endif  // GRADWATCH_CORE_STATS_FLOAT_VECTORS_H_
