// The edge cases in which published implementations differ, and what is done here: by default, and like PyTorch.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/core/clip/clip_harness.h"

namespace gradwatch::core {
namespace {

using Outcome = v1::ClipOutcome;

const float kNan = std::numeric_limits<float>::quiet_NaN();
const float kInfinity = std::numeric_limits<float>::infinity();

struct EdgeCase {
  const char* name;
  std::vector<float> gradient;
  Outcome::Action action, pytorch_action;
  std::vector<double> seen, pytorch_seen;  // with threshold 1
};

TEST(ClipEdgeCaseTest, GlobalNorm) {
  const std::vector<EdgeCase> cases = {
      {"norm below the threshold",
       {.3f, .4f},
       Outcome::ACTION_NOT_NEEDED,
       Outcome::ACTION_NOT_NEEDED,
       {.3, .4},
       {.3, .4}},
      {"norm at the threshold: PyTorch scales",
       {.6f, .8f},
       Outcome::ACTION_NOT_NEEDED,
       Outcome::ACTION_CLIPPED,
       {.6, .8},
       {.5999994, .7999992}},
      {"norm 5e-7 below the threshold: PyTorch scales",
       {.5999997f, .7999996f},
       Outcome::ACTION_NOT_NEEDED,
       Outcome::ACTION_CLIPPED,
       {.5999997, .7999996},
       {.5999994, .7999992}},
      {"norm above the threshold",
       {3, 4},
       Outcome::ACTION_CLIPPED,
       Outcome::ACTION_CLIPPED,
       {.6, .8},
       {3 / 5.000001, 4 / 5.000001}},
      // PyTorch: every gradient becomes NaN.
      {"one NaN", {kNan, 4}, Outcome::ACTION_SKIPPED, Outcome::ACTION_SKIPPED, {}, {}},
      // PyTorch: that element becomes NaN and every other 0.
      {"one infinity", {kInfinity, 4}, Outcome::ACTION_SKIPPED, Outcome::ACTION_SKIPPED, {}, {}},
      {"one negative infinity", {4, -kInfinity}, Outcome::ACTION_SKIPPED, Outcome::ACTION_SKIPPED, {}, {}},
      // PyTorch: the norm overflows, and every gradient becomes 0 without a word; the switch is for the 1e-6 only.
      {"finite, norm beyond float",
       {3e20f, 4e20f},
       Outcome::ACTION_CLIPPED,
       Outcome::ACTION_CLIPPED,
       {.6, .8},
       {.6, .8}},
      {"norm 0", {0, 0}, Outcome::ACTION_NOT_NEEDED, Outcome::ACTION_NOT_NEEDED, {0, 0}, {0, 0}},
      {"denormal numbers", {1e-42f, 0}, Outcome::ACTION_NOT_NEEDED, Outcome::ACTION_NOT_NEEDED, {1e-42, 0}, {1e-42, 0}},
  };
  for (const EdgeCase& edge : cases) {
    for (const bool pytorch : {false, true}) {
      ClipHarness<float> harness(std::vector<std::vector<float>>{edge.gradient});
      // In single precision .6 and .8 have a norm a little above 1: the threshold is the norm.
      v1::ClipSettings settings = Settings(v1::CLIP_MODE_GLOBAL_NORM, 1);
      if (edge.gradient[0] == .6f) settings.set_threshold(harness.record().grad_norm);
      settings.set_pytorch_compatible(pytorch);
      EXPECT_EQ(harness.Clip(settings).action, pytorch ? edge.pytorch_action : edge.action) << edge.name;
      const std::vector<double>& want = pytorch ? edge.pytorch_seen : edge.seen;
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_NEAR(harness.Seen(0)[i], want[i], 1.2e-7 * std::fabs(want[i]) + 1e-45) << edge.name << " " << pytorch;
      }
    }
  }
}

TEST(ClipEdgeCaseTest, ValueKeepsInfinitiesOut) {
  // PyTorch turns an infinity into the limit and keeps NaN. Here both are answered before any clamping.
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_VALUE, 1);
  settings.set_non_finite(v1::NON_FINITE_ACTION_ZERO);
  ClipHarness<float> harness(std::vector<std::vector<float>>{{kNan, kInfinity, -kInfinity, 3, -3, .5f}});
  EXPECT_EQ(harness.Clip(settings).action, Outcome::ACTION_ZEROED);
  EXPECT_EQ(harness.Seen(0), (std::vector<float>{0, 0, 0, 1, -1, .5f}));
  EXPECT_EQ(harness.record().clip.elements_clipped, 2);
}

TEST(ClipEdgeCaseTest, TheEpsilonOfPytorchServesComputedThresholdsToo) {
  // AutoClip calls clip_grad_norm_: the first norm is its own percentile and scaled all the same.
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_AUTOCLIP);
  settings.set_pytorch_compatible(true);
  ClipHarness<double> autoclip(std::vector<std::vector<double>>{{.6, .8}});
  EXPECT_NEAR(autoclip.Clip(settings).coefficient, 1 / 1.000001, 1e-15);
  // ZClip compares first.
  settings = Settings(v1::CLIP_MODE_ZCLIP);
  settings.set_pytorch_compatible(true);
  ClipHarness<double> zclip(std::vector<std::vector<double>>{{0, 1}});
  EXPECT_EQ(zclip.Clip(settings).coefficient, 1);
  zclip.gradient(0)[1] = 2;
  EXPECT_NEAR(zclip.Clip().coefficient, 1 / 2.000001, 1e-15) << "at most 1, in the warm-up too";
}

}  // namespace
}  // namespace gradwatch::core
