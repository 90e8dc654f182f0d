#include "core/stats/denormal_flag.h"

#include <gtest/gtest.h>
#include <xmmintrin.h>

#include <limits>

namespace gradwatch::core {
namespace {

constexpr float kDenormal = std::numeric_limits<float>::min() / 2;

double Convert(float x) {
  volatile float hidden = x;  // from the compiler, which would convert it beforehand
  return hidden;
}

TEST(DenormalFlagTest, SeesADenormalOperandOnce) {
  DenormalFlag flag;
  double sum = Convert(1) + Convert(0) + Convert(std::numeric_limits<float>::min());
  EXPECT_FALSE(flag.IsSeen(&sum));
  sum += Convert(kDenormal);
  EXPECT_TRUE(flag.IsSeen(&sum));
  EXPECT_FALSE(flag.IsSeen(&sum));
}

TEST(DenormalFlagTest, LeavesOutWhatWasBefore) {
  volatile double before = Convert(kDenormal);
  const double result = before;
  DenormalFlag flag;
  EXPECT_FALSE(flag.IsSeen(&result));
}

TEST(DenormalFlagTest, IsCautiousWhereTheProcessorTakesDenormalNumbersForZeros) {
  const unsigned status = _mm_getcsr();
  _mm_setcsr(status | 1 << 6);
  DenormalFlag flag;
  const double sum = Convert(1);
  EXPECT_TRUE(flag.IsSeen(&sum));
  _mm_setcsr(status);
  EXPECT_FALSE(flag.IsSeen(&sum));
}

}  // namespace
}  // namespace gradwatch::core
