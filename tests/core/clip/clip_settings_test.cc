#include "core/clip/clip_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;

TEST(ClipSettingsTest, AcceptsWhatIsServed) {
  EXPECT_THAT(ValidateClipSettings(v1::ClipSettings()), IsOk());
  for (int mode = v1::CLIP_MODE_NONE; mode <= v1::CLIP_MODE_SPAM; ++mode) {
    v1::ClipSettings settings;
    settings.set_mode(static_cast<v1::ClipMode>(mode));
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
      {"overrides[0].mode", "AUTOCLIP", [](auto* s) { s->mutable_overrides(0)->set_mode(v1::CLIP_MODE_AUTOCLIP); }},
      {"adaptive.epsilon", "got 0", [](auto* s) { s->mutable_adaptive()->set_epsilon(0); }},
      {"adaptive.epsilon", "got 1001", [](auto* s) { s->mutable_adaptive()->set_epsilon(1001); }},
      {"autoclip.percentile", "got 0", [](auto* s) { s->mutable_autoclip()->set_percentile(0); }},
      {"autoclip.percentile", "got 100.5", [](auto* s) { s->mutable_autoclip()->set_percentile(100.5); }},
      {"autoclip.percentile", "got nan", [](auto* s) { s->mutable_autoclip()->set_percentile(NAN); }},
      {"autoclip.history", "got 0", [](auto* s) { s->mutable_autoclip()->set_history(0); }},
      {"autoclip.history", "got 100001", [](auto* s) { s->mutable_autoclip()->set_history(100'001); }},
      {"zclip.alpha", "got 1", [](auto* s) { s->mutable_zclip()->set_alpha(1); }},
      {"zclip.alpha", "got -0.1", [](auto* s) { s->mutable_zclip()->set_alpha(-0.1); }},
      {"zclip.alpha", "got nan", [](auto* s) { s->mutable_zclip()->set_alpha(NAN); }},
      {"zclip.z_threshold", "got 0", [](auto* s) { s->mutable_zclip()->set_z_threshold(0); }},
      {"zclip.warmup_steps", "got 1", [](auto* s) { s->mutable_zclip()->set_warmup_steps(1); }},
      {"zclip.warmup_steps", "got 10001", [](auto* s) { s->mutable_zclip()->set_warmup_steps(10'001); }},
      {"zclip.method", "5", [](auto* s) { s->mutable_zclip()->set_method(static_cast<v1::ZClip::Method>(5)); }},
      {"zclip.max_norm", "got -1", [](auto* s) { s->mutable_zclip()->set_max_norm(-1); }},
      {"zclip.max_norm", "got inf", [](auto* s) { s->mutable_zclip()->set_max_norm(INFINITY); }},
      {"adagc.lambda_abs", "got 0", [](auto* s) { s->mutable_adagc()->set_lambda_abs(0); }},
      {"adagc.lambda_rel", "got 0.9", [](auto* s) { s->mutable_adagc()->set_lambda_rel(0.9); }},
      {"adagc.beta", "got 1", [](auto* s) { s->mutable_adagc()->set_beta(1); }},
      {"adagc.warmup_steps", "got 0", [](auto* s) { s->mutable_adagc()->set_warmup_steps(0); }},
      {"spam.theta", "got 0", [](auto* s) { s->mutable_spam()->set_theta(0); }},
      {"spam.reset_interval", "got 39", [](auto* s) { s->mutable_spam()->set_reset_interval(39); }},
      {"spam.reset_interval", "got -1", [](auto* s) { s->mutable_spam()->set_reset_interval(-1); }},
      {"spam.warmup_steps", "got 0", [](auto* s) { s->mutable_spam()->set_warmup_steps(0); }},
      {"spam.warmup_steps", "is 150", [](auto* s) { s->mutable_spam()->set_reset_interval(150); }},
      {"spam.warmup_steps", "reset_interval, 500", [](auto* s) { s->mutable_spam()->set_warmup_steps(600); }},
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

TEST(ClipSettingsTest, AThresholdNeedsAModeThatReadsIt) {
  const struct {
    v1::ClipMode mode;
    bool reads;
  } cases[] = {
      {v1::CLIP_MODE_UNSPECIFIED, false}, {v1::CLIP_MODE_NONE, false},  {v1::CLIP_MODE_GLOBAL_NORM, true},
      {v1::CLIP_MODE_TENSOR_NORM, true},  {v1::CLIP_MODE_VALUE, true},  {v1::CLIP_MODE_ADAPTIVE, true},
      {v1::CLIP_MODE_AUTOCLIP, false},    {v1::CLIP_MODE_ZCLIP, false}, {v1::CLIP_MODE_ADAGC, false},
      {v1::CLIP_MODE_SPAM, false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(v1::ClipMode_Name(c.mode));
    v1::ClipSettings settings;
    settings.set_mode(c.mode);
    EXPECT_THAT(CheckThresholdIsRead(settings), IsOk()) << "there is none";
    settings.set_threshold(1.5);
    EXPECT_THAT(ValidateClipSettings(settings), IsOk()) << "it may be one of an earlier mode";
    const auto violations = GetFieldViolations(CheckThresholdIsRead(settings));
    ASSERT_EQ(violations.size(), c.reads ? 0u : 1u);
    if (c.reads) continue;
    EXPECT_EQ(violations[0].field, "threshold");
    EXPECT_THAT(violations[0].description, ::testing::HasSubstr("is 1.5, which mode "));
    EXPECT_THAT(violations[0].description, ::testing::HasSubstr("name mode GLOBAL_NORM, TENSOR_NORM, VALUE"));
  }
}

TEST(ClipSettingsTest, ResolvesDefaultsAndKeepsTheRest) {
  const v1::ClipSettings defaults = ResolveClipSettings(v1::ClipSettings());
  EXPECT_EQ(defaults.mode(), v1::CLIP_MODE_NONE);
  EXPECT_EQ(defaults.non_finite(), v1::NON_FINITE_ACTION_SKIP_STEP);
  EXPECT_EQ(defaults.max_consecutive_skips(), 100);
  EXPECT_TRUE(defaults.has_pytorch_compatible());
  EXPECT_FALSE(defaults.pytorch_compatible());

  EXPECT_FALSE(defaults.has_zclip()) << "of modes that are not in use nothing is filled in";

  v1::ClipSettings given;
  given.set_mode(v1::CLIP_MODE_VALUE);
  given.set_threshold(2);
  given.set_non_finite(v1::NON_FINITE_ACTION_ZERO);
  given.set_max_consecutive_skips(3);
  given.set_pytorch_compatible(true);
  given.mutable_zclip()->set_alpha(0.5);
  EXPECT_EQ(ResolveClipSettings(given).SerializeAsString(), given.SerializeAsString());
}

TEST(ClipSettingsTest, ResolvesTheNumbersOfTheModeInUse) {
  v1::ClipSettings settings;
  settings.set_mode(v1::CLIP_MODE_ADAPTIVE);
  settings = ResolveClipSettings(settings);
  EXPECT_EQ(settings.threshold(), 0.01);
  EXPECT_EQ(settings.adaptive().epsilon(), 1e-3);

  settings.Clear();
  settings.set_mode(v1::CLIP_MODE_AUTOCLIP);
  settings.set_threshold(7);
  settings = ResolveClipSettings(settings);
  EXPECT_EQ(settings.autoclip().percentile(), 10);
  EXPECT_EQ(settings.autoclip().history(), 10'000);
  EXPECT_EQ(settings.threshold(), 7) << "for the day when it is read again";

  settings.Clear();
  settings.set_mode(v1::CLIP_MODE_ZCLIP);
  settings.mutable_zclip()->set_alpha(0);
  settings.mutable_zclip()->set_max_norm(0);
  settings = ResolveClipSettings(settings);
  EXPECT_EQ(settings.zclip().alpha(), 0);
  EXPECT_EQ(settings.zclip().z_threshold(), 2.5);
  EXPECT_EQ(settings.zclip().warmup_steps(), 25);
  EXPECT_EQ(settings.zclip().method(), v1::ZClip::METHOD_RECIPROCAL);
  EXPECT_EQ(settings.zclip().max_norm(), 0);

  settings.Clear();
  settings.set_mode(v1::CLIP_MODE_ADAGC);
  settings = ResolveClipSettings(settings);
  EXPECT_EQ(settings.adagc().lambda_abs(), 1);
  EXPECT_EQ(settings.adagc().lambda_rel(), 1.05);
  EXPECT_EQ(settings.adagc().beta(), 0.98);
  EXPECT_EQ(settings.adagc().warmup_steps(), 100);

  settings.Clear();
  settings.set_mode(v1::CLIP_MODE_SPAM);
  settings = ResolveClipSettings(settings);
  EXPECT_EQ(settings.spam().theta(), 5000);
  EXPECT_EQ(settings.spam().reset_interval(), 500);
  EXPECT_EQ(settings.spam().warmup_steps(), 150);
}

TEST(ClipSettingsTest, AnAdaptiveOverrideGetsItsEpsilon) {
  v1::ClipSettings settings;
  v1::TensorClip* limit = settings.add_overrides();
  limit->set_tensors("*");
  limit->set_mode(v1::CLIP_MODE_ADAPTIVE);
  limit->set_threshold(0.02);
  ASSERT_THAT(ValidateClipSettings(settings), IsOk());
  EXPECT_EQ(ResolveClipSettings(settings).adaptive().epsilon(), 1e-3);
}

}  // namespace
}  // namespace gradwatch::core
