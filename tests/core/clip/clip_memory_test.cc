// What adaptive modes remember: saved and restored, and kept or dropped when settings change.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "tests/core/clip/clip_harness.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::vector<std::vector<int64_t>> kShapes = {{1}, {6}, {4, 5}};

void RunSteps(int first, int last, ClipHarness<double>* harness) {
  for (int step = first; step < last; ++step) {
    Random scale(3, RandomStream::kSyntheticData, static_cast<uint64_t>(step));
    const double spike = step % 11 == 10 ? 8 : 1;
    harness->Randomize(0.2 * spike * std::exp(0.2 * scale.NextNormal()), static_cast<uint64_t>(step));
    harness->Clip();
    harness->UpdateMoment();
  }
}

TEST(ClipMemoryTest, ARestoredClipperGoesOnAsIfNothingHadHappened) {
  for (const v1::ClipSettings& settings : EveryMode()) {
    for (const int saved_at : {0, 1, 10, 30, 65, 130}) {
      ClipHarness<double> first(kShapes), second(kShapes);
      first.clipper().Configure(settings);
      RunSteps(0, saved_at, &first);
      const std::vector<double> state = first.clipper().State();
      second.clipper().Configure(settings);
      ASSERT_THAT(second.clipper().RestoreState(state), IsOk());
      for (size_t i = 0; i < kShapes.size(); ++i) std::ranges::copy(first.moment(i), second.moment(i).begin());
      EXPECT_EQ(second.clipper().State(), state);
      for (int step = saved_at; step < saved_at + 80; ++step) {
        for (auto* harness : {&first, &second}) RunSteps(step, step + 1, harness);
        for (size_t i = 0; i < kShapes.size(); ++i) {
          ASSERT_EQ(second.Seen(i), first.Seen(i)) << v1::ClipMode_Name(settings.mode()) << " " << saved_at;
        }
        ASSERT_EQ(second.record().clip.learning_rate_scale, first.record().clip.learning_rate_scale);
      }
      EXPECT_EQ(second.clipper().State(), first.clipper().State());
    }
  }
}

TEST(ClipMemoryTest, RefusesAStateThatCannotBe) {
  const double nan = std::nan("");
  for (const v1::ClipSettings& settings : EveryMode()) {
    ClipHarness<double> harness(kShapes);
    harness.clipper().Configure(settings);
    RunSteps(0, 30, &harness);
    std::vector<double> state = harness.clipper().State();
    const bool remembers = settings.mode() >= v1::CLIP_MODE_AUTOCLIP;
    EXPECT_EQ(!state.empty(), remembers);
    EXPECT_THAT(harness.clipper().RestoreState(std::vector<double>(20'000)),
                StatusIs(absl::StatusCode::kInvalidArgument, _));
    if (!remembers) continue;
    for (const double bad : {nan, std::numeric_limits<double>::infinity(), -1.0}) {
      std::vector<double> broken = state;
      broken.back() = bad;
      EXPECT_THAT(harness.clipper().RestoreState(broken), StatusIs(absl::StatusCode::kInvalidArgument, _));
    }
    EXPECT_EQ(harness.clipper().State(), state) << "a refused state changes nothing";
  }
}

// Settings of one adaptive mode after 30 steps, then others.
std::vector<double> StateAfter(const v1::ClipSettings& before, const v1::ClipSettings& after) {
  ClipHarness<double> harness(kShapes);
  harness.clipper().Configure(before);
  RunSteps(0, 30, &harness);
  harness.clipper().Configure(after);
  return harness.clipper().State();
}

v1::ClipSettings Changed(v1::ClipSettings settings, const std::function<void(v1::ClipSettings*)>& change) {
  change(&settings);
  return settings;
}

TEST(ClipMemoryTest, OtherNumbersOfTheSameModeKeepIt) {
  const auto change = [](v1::ClipSettings* s) {
    s->set_non_finite(v1::NON_FINITE_ACTION_ZERO);
    s->set_pytorch_compatible(true);
    s->mutable_autoclip()->set_percentile(90);
    s->mutable_zclip()->set_alpha(0.5);
    s->mutable_zclip()->set_max_norm(3);
    s->mutable_zclip()->set_warmup_steps(100);
    s->mutable_adagc()->set_lambda_rel(2);
    s->mutable_spam()->set_theta(7);
    s->mutable_spam()->set_reset_interval(200);
  };
  for (const v1::ClipSettings& settings : EveryMode()) {
    EXPECT_EQ(StateAfter(settings, Changed(settings, change)), StateAfter(settings, settings));
  }
}

TEST(ClipMemoryTest, AnotherModeStartsAnew) {
  for (const v1::ClipSettings& settings : EveryMode()) {
    ClipHarness<double> harness(kShapes);
    harness.clipper().Configure(settings);
    const std::vector<double> fresh = harness.clipper().State();
    RunSteps(0, 30, &harness);
    harness.clipper().Configure(v1::ClipSettings());
    EXPECT_THAT(harness.clipper().State(), IsEmpty());
    harness.clipper().Configure(settings);
    EXPECT_EQ(harness.clipper().State(), fresh) << v1::ClipMode_Name(settings.mode());
  }
}

TEST(ClipMemoryTest, OverridesThatChangeTheNormStartItsHistoryAnew) {
  const auto change = [](v1::ClipSettings* s) { AddOverride("t1", v1::CLIP_MODE_NONE, 0, s); };
  for (const v1::ClipSettings& settings : EveryMode()) {
    const std::vector<double> before = StateAfter(settings, settings);
    const std::vector<double> after = StateAfter(settings, Changed(settings, change));
    switch (settings.mode()) {
      case v1::CLIP_MODE_AUTOCLIP:
        EXPECT_THAT(after, IsEmpty());
        break;
      case v1::CLIP_MODE_ZCLIP:
        EXPECT_EQ(after, std::vector<double>(3));
        break;
      case v1::CLIP_MODE_ADAGC: {
        ASSERT_THAT(after, SizeIs(5));
        std::vector<double> forgotten = before;
        forgotten[2 + 1] = 0;
        EXPECT_EQ(after, forgotten) << "only what belongs to t1 goes";
        break;
      }
      default:
        EXPECT_EQ(after, before);
    }
  }
}

TEST(ClipMemoryTest, AShorterHistoryKeepsTheNewest) {
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_AUTOCLIP);
  const std::vector<double> all = StateAfter(settings, settings);
  ASSERT_THAT(all, SizeIs(30));
  v1::ClipSettings shorter = settings;
  shorter.mutable_autoclip()->set_history(4);
  EXPECT_EQ(StateAfter(settings, shorter), std::vector<double>(all.end() - 4, all.end()));
  v1::ClipSettings longer = settings;
  longer.mutable_autoclip()->set_history(100'000);
  EXPECT_EQ(StateAfter(settings, longer), all);
}

TEST(ClipMemoryTest, AWarmUpThatIsOverStaysOver) {
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_ZCLIP);
  settings.mutable_zclip()->set_warmup_steps(20);
  settings.mutable_adagc()->set_warmup_steps(20);
  v1::ClipSettings longer = settings;
  longer.mutable_zclip()->set_warmup_steps(1000);
  longer.mutable_adagc()->set_warmup_steps(1000);
  for (const auto mode : {v1::CLIP_MODE_ZCLIP, v1::CLIP_MODE_ADAGC}) {
    settings.set_mode(mode);
    longer.set_mode(mode);
    ClipHarness<double> kept(kShapes), changed(kShapes), restored(kShapes);
    for (auto* harness : {&kept, &changed}) {
      harness->clipper().Configure(settings);
      RunSteps(0, 30, harness);
    }
    changed.clipper().Configure(longer);
    restored.clipper().Configure(longer);
    ASSERT_THAT(restored.clipper().RestoreState(changed.clipper().State()), IsOk());
    for (int step = 30; step < 80; ++step) {
      for (auto* harness : {&kept, &changed, &restored}) RunSteps(step, step + 1, harness);
      for (size_t i = 0; i < kShapes.size(); ++i) {
        ASSERT_EQ(changed.Seen(i), kept.Seen(i)) << v1::ClipMode_Name(mode) << " " << step;
        ASSERT_EQ(restored.Seen(i), kept.Seen(i)) << v1::ClipMode_Name(mode) << " " << step;
      }
    }
  }
}

TEST(ClipMemoryTest, AWarmUpThatBecomesShorterEnds) {
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_ZCLIP);
  settings.mutable_zclip()->set_warmup_steps(50);
  EXPECT_THAT(StateAfter(settings, settings), SizeIs(3 + 30));
  v1::ClipSettings shorter = settings;
  shorter.mutable_zclip()->set_warmup_steps(10);
  const std::vector<double> state = StateAfter(settings, shorter);
  ASSERT_THAT(state, SizeIs(3));
  EXPECT_EQ(state[0], 1);
  EXPECT_GT(state[1], 0);
}

}  // namespace
}  // namespace gradwatch::core
