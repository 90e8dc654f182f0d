#include "server/base/checksum.h"

#include <zlib.h>

#include <cstddef>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gradwatch::server {
namespace {

uint32_t WithZlib(absl::string_view bytes, uint32_t before) {
  if (bytes.empty()) return before;  // zlib takes a null pointer for a new beginning
  return static_cast<uint32_t>(crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

#if defined(__x86_64__)
#define GW_CARRYLESS __attribute__((target("pclmul,sse4.1")))

constexpr size_t kLane = 16;
constexpr size_t kStride = 4 * kLane;

GW_CARRYLESS __m128i Load(const char* bytes) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)); }

// What `sum` amounts to as far on as the keys say, and what lies there.
GW_CARRYLESS __m128i Fold(__m128i sum, __m128i keys, __m128i next) {
  const __m128i low = _mm_clmulepi64_si128(sum, keys, 0x00), high = _mm_clmulepi64_si128(sum, keys, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

// The remainder of 128 bits.
GW_CARRYLESS uint32_t Reduce(__m128i sum, __m128i keys) {
  const __m128i lower = _mm_setr_epi32(~0, 0, ~0, 0);
  sum = _mm_xor_si128(_mm_clmulepi64_si128(sum, keys, 0x10), _mm_srli_si128(sum, 8));
  const __m128i rest = _mm_srli_si128(sum, 4);
  sum = _mm_clmulepi64_si128(_mm_and_si128(sum, lower), _mm_set_epi64x(0, 0x0163cd6124), 0x00);
  sum = _mm_xor_si128(sum, rest);
  const __m128i polynomial = _mm_set_epi64x(0x01f7011641, 0x01db710641);
  __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(sum, lower), polynomial, 0x10);
  quotient = _mm_clmulepi64_si128(_mm_and_si128(quotient, lower), polynomial, 0x00);
  return static_cast<uint32_t>(_mm_extract_epi32(_mm_xor_si128(sum, quotient), 1));
}

// Of at least kStride bytes, a multiple of kLane. V. Gopal and others, "Fast CRC Computation for Generic Polynomials
// Using PCLMULQDQ Instruction", Intel 2009, with the numbers for this polynomial.
GW_CARRYLESS uint32_t WithCarrylessProducts(absl::string_view bytes, uint32_t before) {
  const __m128i by_stride = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4);
  const __m128i by_lane = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
  const char* at = bytes.data();
  const char* const end = at + bytes.size();
  __m128i sums[4] = {Load(at), Load(at + kLane), Load(at + 2 * kLane), Load(at + 3 * kLane)};
  sums[0] = _mm_xor_si128(sums[0], _mm_cvtsi32_si128(static_cast<int>(~before)));
  for (at += kStride; at + kStride <= end; at += kStride) {
    for (size_t i = 0; i < 4; ++i) sums[i] = Fold(sums[i], by_stride, Load(at + i * kLane));
  }
  __m128i sum = sums[0];
  for (size_t i = 1; i < 4; ++i) sum = Fold(sum, by_lane, sums[i]);
  for (; at < end; at += kLane) sum = Fold(sum, by_lane, Load(at));
  return ~Reduce(sum, by_lane);
}
#undef GW_CARRYLESS
#endif

}  // namespace

uint32_t Crc32(absl::string_view bytes, uint32_t before) {
#if defined(__x86_64__)
  static const bool has_products = __builtin_cpu_supports("pclmul") != 0 && __builtin_cpu_supports("sse4.1") != 0;
  if (has_products && bytes.size() >= kStride) {
    const size_t size = bytes.size() / kLane * kLane;
    before = WithCarrylessProducts(bytes.substr(0, size), before);
    bytes.remove_prefix(size);
  }
#endif
  return WithZlib(bytes, before);
}

}  // namespace gradwatch::server
