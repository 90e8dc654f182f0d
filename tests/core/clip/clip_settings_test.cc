#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/clip/clip_settings.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;

TEST(ClipSettingsTest, AcceptsWhatIsServed) {
  EXPECT_THAT(ValidateClipSettings(v1::ClipSettings()), IsOk());
  for (const auto mode : {v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_TENSOR_NORM, v1::CLIP_MODE_VALUE}) {
    v1::ClipSettings settings;
    settings.set_mode(mode);
    settings.set_threshold(1e-300);
    settings.set_non_finite(v1::NON_FINITE_ACTION_STOP);
    settings.set_max_consecutive_skips(1);
    v1::TensorClip* limit = settings.add_overrides();
    limit->set_tensors("rnn0.*");
    limit->set_mode(v1::CLIP_MODE_NONE);
    EXPECT_THAT(ValidateClipSettings(settings), IsOk());
  }
}

struct BadSettings {
  std::string field;
  std::string part;  // of the description
  std::function<void(v1::ClipSettings*)> spoil;
};

TEST(ClipSettingsTest, NamesTheFieldAndTheValue) {
  const auto threshold = [](double value) { return [value](v1::ClipSettings* s) { s->set_threshold(value); }; };
  const auto mode = [](int value) {
    return [value](v1::ClipSettings* s) { s->set_mode(static_cast<v1::ClipMode>(value)); };
  };
  const std::vector<BadSettings> cases = {
      {"threshold", "is 0", threshold(0)},
      {"threshold", "is -1", threshold(-1)},
      {"threshold", "nan", threshold(NAN)},
      {"threshold", "inf", threshold(INFINITY)},
      {"mode", "CLIP_MODE_ADAPTIVE is not served yet", mode(v1::CLIP_MODE_ADAPTIVE)},
      {"mode", "CLIP_MODE_SPAM is not served yet", mode(v1::CLIP_MODE_SPAM)},
      {"mode", "77", mode(77)},
      {"mode", "-1", mode(-1)},
      {"non_finite", "9", [](auto* s) { s->set_non_finite(static_cast<v1::NonFiniteAction>(9)); }},
      {"max_consecutive_skips", "is 0", [](auto* s) { s->set_max_consecutive_skips(0); }},
      {"overrides[0].tensors", "has 0", [](auto* s) { s->mutable_overrides(0)->clear_tensors(); }},
      {"overrides[0].tensors", "has 257", [](auto* s) { s->mutable_overrides(0)->set_tensors(std::string(257, 'a')); }},
      {"overrides[0].mode", "GLOBAL_NORM",
       [](auto* s) { s->mutable_overrides(0)->set_mode(v1::CLIP_MODE_GLOBAL_NORM); }},
      {"overrides[0].mode", "UNSPECIFIED", [](auto* s) { s->mutable_overrides(0)->clear_mode(); }},
      {"overrides[0].threshold", "is 0", [](auto* s) { s->mutable_overrides(0)->clear_threshold(); }},
      {"overrides", "are 65",
       [](auto* s) {
         while (s->overrides_size() < 65) *s->add_overrides() = s->overrides(0);
       }},
  };
  for (const BadSettings& bad : cases) {
    v1::ClipSettings settings;
    settings.set_mode(v1::CLIP_MODE_GLOBAL_NORM);
    settings.set_threshold(1);
    v1::TensorClip* limit = settings.add_overrides();
    limit->set_tensors("*");
    limit->set_mode(v1::CLIP_MODE_VALUE);
    limit->set_threshold(1);
    bad.spoil(&settings);
    const auto violations = GetFieldViolations(ValidateClipSettings(settings));
    ASSERT_EQ(violations.size(), 1u) << bad.field << " " << bad.part;
    EXPECT_EQ(violations[0].field, bad.field);
    EXPECT_THAT(violations[0].description, ::testing::HasSubstr(bad.part));
  }
}

TEST(ClipSettingsTest, AThresholdWithoutAModeMustStillBeANumber) {
  v1::ClipSettings settings;
  settings.set_threshold(-3);
  EXPECT_EQ(GetFieldViolations(ValidateClipSettings(settings)).size(), 1u);
  settings.set_threshold(3);
  EXPECT_THAT(ValidateClipSettings(settings), IsOk());
}

TEST(ClipSettingsTest, ResolvesDefaultsAndKeepsTheRest) {
  const v1::ClipSettings defaults = ResolveClipSettings(v1::ClipSettings());
  EXPECT_EQ(defaults.mode(), v1::CLIP_MODE_NONE);
  EXPECT_EQ(defaults.non_finite(), v1::NON_FINITE_ACTION_SKIP_STEP);
  EXPECT_EQ(defaults.max_consecutive_skips(), 100);
  EXPECT_TRUE(defaults.has_pytorch_compatible());
  EXPECT_FALSE(defaults.pytorch_compatible());

  v1::ClipSettings given;
  given.set_mode(v1::CLIP_MODE_VALUE);
  given.set_threshold(2);
  given.set_non_finite(v1::NON_FINITE_ACTION_ZERO);
  given.set_max_consecutive_skips(3);
  given.set_pytorch_compatible(true);
  EXPECT_EQ(ResolveClipSettings(given).SerializeAsString(), given.SerializeAsString());
}

}  // namespace
}  // namespace gradwatch::core
