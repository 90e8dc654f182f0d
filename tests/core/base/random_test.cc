#include "core/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace gradwatch::core {
namespace {

TEST(RandomTest, IsAPureFunctionOfSeedStreamAndIndex) {
  Random a(7, RandomStream::kBatches, 3), b(7, RandomStream::kBatches, 3);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.NextBits(), b.NextBits());
}

TEST(RandomTest, SeedsStreamsAndIndicesDiffer) {
  const uint64_t base = Random(7, RandomStream::kBatches, 3).NextBelow(~uint64_t{0});
  EXPECT_NE(base, Random(8, RandomStream::kBatches, 3).NextBelow(~uint64_t{0}));
  EXPECT_NE(base, Random(7, RandomStream::kInitialization, 3).NextBelow(~uint64_t{0}));
  EXPECT_NE(base, Random(7, RandomStream::kBatches, 4).NextBelow(~uint64_t{0}));
  EXPECT_NE(base, Random(7, RandomStream::kBatches, uint64_t{3} << 32).NextBelow(~uint64_t{0}));
}

// Known answer of Philox 4x32-10 with counter and key zero, from Random123's test vectors.
TEST(RandomTest, MatchesPublishedPhilox) {
  Random random(0, static_cast<RandomStream>(0), 0);
  EXPECT_EQ(random.NextBits(), 0x6627e8d5u);
  EXPECT_EQ(random.NextBits(), 0xe169c58du);
  EXPECT_EQ(random.NextBits(), 0xbc57ac4cu);
  EXPECT_EQ(random.NextBits(), 0x9b00dbd8u);
}

TEST(RandomTest, GivesManyBitsAtOnce) {
  const Random many(0x123456789ABCDEF0, RandomStream::kDropout, 0xFEDCBA987654321);
  for (const size_t size : {4, 60, 64, 68, 4096}) {
    Random one = many;
    std::vector<uint32_t> expected(size + 8), bits(size);
    for (uint32_t& b : expected) b = one.NextBits();
    many.Bits(8, bits);
    EXPECT_TRUE(std::equal(bits.begin(), bits.end(), expected.begin() + 8)) << size;
  }
}

TEST(RandomTest, UniformAndNormalHaveTheirMoments) {
  constexpr int kCount = 200'000;
  Random random(1, RandomStream::kSyntheticData, 0);
  double uniform = 0, normal = 0, square = 0;
  for (int i = 0; i < kCount; ++i) {
    const double u = random.NextUniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    uniform += u;
    const double z = random.NextNormal();
    ASSERT_TRUE(std::isfinite(z));
    normal += z;
    square += z * z;
  }
  // Five standard errors.
  EXPECT_NEAR(uniform / kCount, 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
  EXPECT_NEAR(normal / kCount, 0, 5 * std::sqrt(1.0 / kCount));
  EXPECT_NEAR(square / kCount, 1, 5 * std::sqrt(2.0 / kCount));
}

TEST(RandomTest, BelowCoversItsRangeEvenly) {
  Random random(2, RandomStream::kBatches, 0);
  std::vector<int> counts(7);
  for (int i = 0; i < 70'000; ++i) ++counts[random.NextBelow(7)];
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 5 * std::sqrt(10'000 * 6.0 / 7));
  EXPECT_EQ(random.NextBelow(1), 0u);
}

}  // namespace
}  // namespace gradwatch::core
