#include "core/data/example_order.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace gradwatch::core {
namespace {

TEST(PermutationTest, IsOneForEveryCount) {
  for (const int64_t count : {1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000, 4096, 10'000}) {
    for (const uint64_t epoch : {0, 1, 77}) {
      const Permutation permutation(count, 5, epoch);
      std::vector<bool> seen(count, false);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t image = permutation(i);
        ASSERT_GE(image, 0);
        ASSERT_LT(image, count);
        ASSERT_FALSE(seen[image]) << "twice: " << image << " of " << count;
        seen[image] = true;
      }
    }
  }
}

TEST(PermutationTest, SeedsAndEpochsDiffer) {
  const Permutation a(1000, 1, 0), same(1000, 1, 0), epoch(1000, 1, 1), seed(1000, 2, 0);
  int equal_epoch = 0, equal_seed = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(a(i), same(i));
    equal_epoch += a(i) == epoch(i);
    equal_seed += a(i) == seed(i);
  }
  // Two random permutations agree in one place on average, Poisson distributed.
  EXPECT_LT(equal_epoch, 10);
  EXPECT_LT(equal_seed, 10);
}

// Over many epochs every example must be equally likely to come first: chi-square with 99 degrees of freedom, five
// standard deviations.
TEST(PermutationTest, FirstPlaceIsUniform) {
  constexpr int kCount = 100, kEpochs = 20'000;
  std::vector<int> first(kCount, 0);
  for (int epoch = 0; epoch < kEpochs; ++epoch) ++first[Permutation(kCount, 3, epoch)(0)];
  double chi_square = 0;
  for (const int n : first) chi_square += std::pow(n - kEpochs / kCount, 2) * kCount / kEpochs;
  EXPECT_LT(chi_square, 99 + 5 * std::sqrt(2 * 99));
}

// Neighbours must be torn apart: that the image rises from one place to the next happens half of the time.
TEST(PermutationTest, NeighboursAreTornApart) {
  constexpr int64_t kCount = 10'000;
  const Permutation permutation(kCount, 9, 0);
  int rises = 0, adjacent = 0;
  for (int64_t i = 0; i + 1 < kCount; ++i) {
    rises += permutation(i + 1) > permutation(i);
    adjacent += std::abs(permutation(i + 1) - permutation(i)) == 1;
  }
  EXPECT_NEAR(rises, kCount / 2, 5 * std::sqrt(kCount / 12.0));
  EXPECT_LT(adjacent, 12);
}

TEST(ExampleOrderTest, EveryEpochHasEveryExampleOnce) {
  ExampleOrder order(37, 4);
  for (int epoch = 0; epoch < 5; ++epoch) {
    std::set<int64_t> seen;
    for (int i = 0; i < 37; ++i) seen.insert(order.At(epoch * 37 + i));
    EXPECT_EQ(seen.size(), 37u) << epoch;
  }
}

TEST(ExampleOrderTest, PlacesMayBeAskedInAnyOrder) {
  ExampleOrder forward(10, 4), backward(10, 4);
  std::vector<int64_t> expected;
  for (int place = 0; place < 100; ++place) expected.push_back(forward.At(place));
  for (int place = 99; place >= 0; --place) EXPECT_EQ(backward.At(place), expected[place]) << place;
  EXPECT_LT(forward.At(int64_t{1} << 60), 10);
}

}  // namespace
}  // namespace gradwatch::core
