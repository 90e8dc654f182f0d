#include "client/lib/enum_word.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gradwatch/v1/controls.pb.h"
#include "gradwatch/v1/model.pb.h"

namespace gradwatch::client {
namespace {

using ::testing::ElementsAre;

TEST(EnumWordTest, LeavesOutTheNameOfTheType) {
  EXPECT_EQ(EnumWord(*v1::ActivationFunction_descriptor()->FindValueByNumber(v1::ACTIVATION_FUNCTION_GELU_TANH)),
            "gelu_tanh");
  EXPECT_EQ(EnumWord(*v1::NonFiniteAction_descriptor()->FindValueByNumber(v1::NON_FINITE_ACTION_SKIP_STEP)),
            "skip_step");
  EXPECT_THAT(EnumWords(*v1::Pool2d::Mode_descriptor()), ElementsAre("max", "average"));
}

TEST(EnumWordTest, FindsWordsAndFullNamesInAnyCase) {
  const auto& type = *v1::Pool2d::Mode_descriptor();
  for (const char* const name : {"max", "MAX", "Max", "MODE_MAX", "mode_max"}) {
    ASSERT_NE(FindEnumValue(type, name), nullptr) << name;
    EXPECT_EQ(FindEnumValue(type, name)->number(), v1::Pool2d::MODE_MAX) << name;
  }
  for (const char* const name : {"", "ma", "maximum", "1", "POOL2D_MODE_MAX"}) {
    EXPECT_EQ(FindEnumValue(type, name), nullptr) << name;
  }
}

}  // namespace
}  // namespace gradwatch::client
