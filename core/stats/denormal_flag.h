// Whether a calculation has met a denormal number, told by the processor: no instruction more for every element.
// (Valgrind does not imitate this flag; under it nothing is denormal.)
#ifndef GRADWATCH_CORE_STATS_DENORMAL_FLAG_H_
#define GRADWATCH_CORE_STATS_DENORMAL_FLAG_H_

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace gradwatch::core {

// Watches the present thread from its making on.
class DenormalFlag {
 public:
  DenormalFlag() { Clear(); }

  // Whether an operation on the way to `result` may have had a denormal operand, since the last call. The processor
  // keeps this flag until it is cleared; where it takes denormal numbers for zeros it keeps none, so then they may be.
  bool IsSeen(const double* result) {
#if defined(__SSE2__)
    // Not before `result` is known: the compiler takes arithmetic for something that leaves no traces.
    asm volatile("" : : "x"(*result) : "memory");
    const unsigned status = _mm_getcsr();
    if ((status & (kDenormal | kDenormalsAreZeros)) == 0) return false;
    _mm_setcsr(status & ~kDenormal);
#endif
    return true;
  }

 private:
  static constexpr unsigned kDenormal = 1 << 1;
  static constexpr unsigned kDenormalsAreZeros = 1 << 6;

  void Clear() {
    const double nothing = 0;
    IsSeen(&nothing);
    asm volatile("" : : : "memory");
  }
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_DENORMAL_FLAG_H_
