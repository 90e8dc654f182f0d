// What is said of a clipper's memory against what it takes.
#include <gtest/gtest.h>

#include "core/clip/clip_settings.h"
#include "core/clip/clipper.h"
#include "tests/core/clip/clip_harness.h"
#include "tests/support/allocation_count.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kTensors = 2000;

ParameterLayout ManyTensors() {
  ParameterLayout layout;
  for (int64_t i = 0; i < kTensors; ++i) layout.Add("t", {3}, 0, v1::Initializer());
  return layout;
}

TEST(ClipBytesTest, AreThoseThatItTakes) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "not counted under a sanitizer";
  const ParameterLayout layout = ManyTensors();
  for (v1::ClipSettings settings : EveryMode()) {
    SCOPED_TRACE(v1::ClipMode_Name(settings.mode()));
    settings.mutable_autoclip()->set_history(100'000);
    settings.mutable_zclip()->set_warmup_steps(10'000);
    const v1::ClipSettings resolved = ResolveClipSettings(settings);
    const int64_t said = Clipper<float>::TensorBytes(kTensors) + Clipper<float>::HistoryBytes(resolved);
    testing::RestartPeak();
    const int64_t before = testing::AllocatedBytes();
    Clipper<float> clipper(&layout);
    clipper.Configure(v1::ClipSettings());
    clipper.Configure(resolved);
    const int64_t taken = testing::PeakAllocatedBytes() - before;
    EXPECT_GE(said + 1024, taken) << "but for the settings themselves";
    EXPECT_LE(said, taken + 8 * kTensors + (16 << 10)) << "averages are counted in every mode";
    if (settings.mode() == v1::CLIP_MODE_AUTOCLIP) {
      EXPECT_GE(taken, 2 * 100'000 * 8);
    } else if (settings.mode() == v1::CLIP_MODE_ZCLIP) {
      EXPECT_GE(taken, 10'000 * 8);
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
