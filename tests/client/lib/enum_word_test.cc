#include "client/lib/enum_word.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gradwatch/v1/controls.pb.h"
#include "gradwatch/v1/job.pb.h"
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

TEST(EnumWordTest, GeneratedTypesKnowTheirWords) {
  EXPECT_EQ(Word(v1::JOB_STATE_RUNNING), "running");
  EXPECT_EQ(Word(v1::JOB_STATE_UNSPECIFIED), "");
  EXPECT_EQ(Word(v1::ClipOutcome::ACTION_NOT_NEEDED), "not_needed");
  EXPECT_EQ(Word(static_cast<v1::JobState>(77)), "77");
  EXPECT_EQ(WordMap<v1::Severity>(),
            (std::map<std::string, v1::Severity>{
                {"info", v1::SEVERITY_INFO}, {"warning", v1::SEVERITY_WARNING}, {"critical", v1::SEVERITY_CRITICAL}}));
}

}  // namespace
}  // namespace gradwatch::client
