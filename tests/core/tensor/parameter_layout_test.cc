#include "core/tensor/parameter_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/tensor/arena.h"

namespace gradwatch::core {
namespace {

using ::testing::ElementsAre;

TEST(ParameterLayoutTest, StartsEveryTensorOnACacheLine) {
  ParameterLayout layout;
  v1::Initializer initializer;
  initializer.set_method(v1::INITIALIZER_METHOD_HE);
  EXPECT_EQ(layout.Add("a.weight", {3, 7}, 0, initializer), 0);
  EXPECT_EQ(layout.Add("a.bias", {3}, 0, {}), 1);
  EXPECT_EQ(layout.Add("b.weight", {16, 2}, 1, {}), 2);

  const auto& segments = layout.segments();
  EXPECT_EQ(segments[0].offset, 0);
  EXPECT_EQ(segments[0].size, 21);
  EXPECT_EQ(segments[0].initializer.method(), v1::INITIALIZER_METHOD_HE);
  EXPECT_EQ(segments[1].offset, 32);
  EXPECT_EQ(segments[2].offset, 48);
  EXPECT_EQ(segments[2].name, "b.weight");
  EXPECT_EQ(segments[2].depth, 1);
  EXPECT_THAT(segments[2].shape, ElementsAre(16, 2));
  EXPECT_EQ(layout.arena_size(), 80);
  EXPECT_EQ(layout.parameter_count(), 21 + 3 + 32);
}

TEST(ParameterLayoutTest, FansCountTheAreaOfAKernel) {
  ParameterLayout layout;
  layout.Add("matrix", {3, 7}, 0, {});
  layout.Add("kernel", {8, 4, 5, 5}, 0, {});
  layout.Add("bias", {6}, 0, {});
  EXPECT_EQ(layout.segments()[0].fan_in, 7);
  EXPECT_EQ(layout.segments()[0].fan_out, 3);
  EXPECT_EQ(layout.segments()[1].fan_in, 100);
  EXPECT_EQ(layout.segments()[1].fan_out, 200);
  EXPECT_EQ(layout.segments()[2].fan_in, 1);
  EXPECT_EQ(layout.segments()[2].fan_out, 6);
}

TEST(ParameterLayoutTest, HugeSizesStopInsteadOfOverflowing) {
  ParameterLayout layout;
  for (int i = 0; i < 20; ++i) layout.Add("huge", {int64_t{1} << 40, int64_t{1} << 40}, 0, {});
  EXPECT_EQ(layout.parameter_count(), kMaxElements);
  EXPECT_EQ(layout.arena_size(), kMaxElements);
}

TEST(ArenaTest, IsAlignedAndZero) {
  Arena<float> arena(100);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.data()) % 64, 0u);
  EXPECT_EQ(arena.span().size(), 100u);
  for (const float value : arena.span()) EXPECT_EQ(value, 0);
}

TEST(ArenaTest, SizesSaturate) {
  EXPECT_EQ(AddSizes(2, 3), 5);
  EXPECT_EQ(AddSizes(kMaxElements, kMaxElements), kMaxElements);
  EXPECT_EQ(MultiplySizes(6, 7), 42);
  EXPECT_EQ(MultiplySizes(int64_t{1} << 31, int64_t{1} << 31), kMaxElements);
  EXPECT_EQ(MultiplySizes(0, 7), 0);
  EXPECT_EQ(AlignSize(0), 0);
  EXPECT_EQ(AlignSize(17), 32);
}

}  // namespace
}  // namespace gradwatch::core
