// Every mode over many steps against its published formula, written down plainly and slowly.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "tests/core/clip/clip_harness.h"

namespace gradwatch::core {
namespace {

using Tensors = std::vector<std::vector<double>>;

const std::vector<std::vector<int64_t>> kShapes = {{1}, {17}, {20, 15}};

double NormOf(const std::vector<double>& values) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares);
}

double GlobalNorm(const Tensors& tensors) {
  double squares = 0;
  for (const auto& tensor : tensors) squares += NormOf(tensor) * NormOf(tensor);
  return std::sqrt(squares);
}

void ScaleAll(double factor, Tensors* tensors) {
  for (auto& tensor : *tensors) {
    for (double& value : tensor) value *= factor;
  }
}

// Runs `steps` random steps, some of them spikes, and compares with `slow`, which clips a copy of the gradients.
template <typename T, typename Slow>
void Compare(const v1::ClipSettings& settings, int steps, Slow slow) {
  ClipHarness<T> harness(kShapes);
  harness.clipper().Configure(settings);
  Random scales(7, RandomStream::kSyntheticData, 1);
  int clipped = 0;
  for (int step = 0; step < steps; ++step) {
    const double spike = step % 23 == 22 ? 40 : 1;
    harness.Randomize(0.1 * spike * std::exp(0.3 * scales.NextNormal()), static_cast<uint64_t>(step));
    Tensors want;
    for (size_t i = 0; i < harness.tensors(); ++i) {
      want.emplace_back(harness.gradient(i).begin(), harness.gradient(i).end());
    }
    Tensors moments;
    for (size_t i = 0; i < harness.tensors(); ++i) {
      moments.emplace_back(harness.moment(i).begin(), harness.moment(i).end());
    }
    slow(&want, moments);
    const ClipOutcome& outcome = harness.Clip();
    const double norm = GlobalNorm(want);
    const double tolerance = std::is_same_v<T, double> ? 1e-12 : 1e-6;
    for (size_t i = 0; i < want.size(); ++i) {
      const std::vector<T> seen = harness.Seen(i);
      for (size_t j = 0; j < seen.size(); ++j) {
        ASSERT_NEAR(seen[j], want[i][j], tolerance * norm) << "step " << step << " tensor " << i << " element " << j;
      }
    }
    ASSERT_NEAR(outcome.norm_after / norm, 1, tolerance) << step;
    const bool changed = norm < 0.999 * harness.record().grad_norm;
    if (changed) {
      ASSERT_EQ(outcome.action, v1::ClipOutcome::ACTION_CLIPPED) << step;
    }
    clipped += changed ? 1 : 0;
    harness.UpdateMoment();
  }
  EXPECT_GT(clipped, 0);
}

template <typename T>
class ModeReferenceTest : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(ModeReferenceTest, Scalars);

TYPED_TEST(ModeReferenceTest, GlobalNorm) {
  Compare<TypeParam>(Settings(v1::CLIP_MODE_GLOBAL_NORM, 2), 60, [](Tensors* tensors, const Tensors&) {
    if (const double norm = GlobalNorm(*tensors); norm > 2) ScaleAll(2 / norm, tensors);
  });
}

TYPED_TEST(ModeReferenceTest, TensorNorm) {
  Compare<TypeParam>(Settings(v1::CLIP_MODE_TENSOR_NORM, 0.5), 60, [](Tensors* tensors, const Tensors&) {
    for (auto& tensor : *tensors) {
      const double factor = 0.5 / std::max(NormOf(tensor), 0.5);
      for (double& value : tensor) value *= factor;
    }
  });
}

TYPED_TEST(ModeReferenceTest, Value) {
  Compare<TypeParam>(Settings(v1::CLIP_MODE_VALUE, 0.15), 60, [](Tensors* tensors, const Tensors&) {
    for (auto& tensor : *tensors) {
      for (double& value : tensor) value = std::clamp(value, -0.15, 0.15);
    }
  });
}

TYPED_TEST(ModeReferenceTest, Adaptive) {
  // All weights are 1: a row of 15 has norm sqrt(15).
  Compare<TypeParam>(Settings(v1::CLIP_MODE_ADAPTIVE, 0.1), 60, [](Tensors* tensors, const Tensors&) {
    for (size_t i = 0; i < tensors->size(); ++i) {
      auto& tensor = (*tensors)[i];
      const size_t length = i == 2 ? 15 : tensor.size();
      for (size_t start = 0; start < tensor.size(); start += length) {
        const std::vector<double> unit(tensor.begin() + start, tensor.begin() + start + length);
        const double bound = 0.1 * std::max(std::sqrt(static_cast<double>(length)), 1e-3);
        if (NormOf(unit) < bound) continue;
        for (size_t j = start; j < start + length; ++j) tensor[j] *= bound / std::max(NormOf(unit), 1e-6);
      }
    }
  });
}

TYPED_TEST(ModeReferenceTest, AutoClip) {
  for (const double percentile : {10.0, 50.0, 97.0}) {
    for (const size_t bound : {20u, 1000u}) {
      v1::ClipSettings settings = Settings(v1::CLIP_MODE_AUTOCLIP);
      settings.mutable_autoclip()->set_percentile(percentile);
      settings.mutable_autoclip()->set_history(static_cast<int32_t>(bound));
      std::vector<double> history;
      Compare<TypeParam>(settings, 120, [&](Tensors* tensors, const Tensors&) {
        const double norm = GlobalNorm(*tensors);
        history.push_back(norm);
        if (history.size() > bound) history.erase(history.begin());
        std::vector<double> sorted = history;
        std::sort(sorted.begin(), sorted.end());
        const double rank = percentile / 100 * static_cast<double>(sorted.size() - 1);
        const auto below = static_cast<size_t>(std::floor(rank)), above = static_cast<size_t>(std::ceil(rank));
        const double limit = sorted[below] + (rank - std::floor(rank)) * (sorted[above] - sorted[below]);
        ScaleAll(std::min(1.0, limit / norm), tensors);
      });
    }
  }
}

TYPED_TEST(ModeReferenceTest, ZClip) {
  for (const auto method : {v1::ZClip::METHOD_RECIPROCAL, v1::ZClip::METHOD_MEAN}) {
    for (const double max_norm : {0.0, 2.5}) {
      v1::ClipSettings settings = Settings(v1::CLIP_MODE_ZCLIP);
      settings.mutable_zclip()->set_method(method);
      settings.mutable_zclip()->set_max_norm(max_norm);
      settings.mutable_zclip()->set_warmup_steps(15);  // before the first spike
      std::vector<double> buffer;
      double mean = 0, variance = 0;
      Compare<TypeParam>(settings, 200, [&](Tensors* tensors, const Tensors&) {
        const double norm = GlobalNorm(*tensors);
        double cut = norm;
        if (buffer.size() < 15) {
          buffer.push_back(norm);
          mean = variance = 0;
          for (const double n : buffer) mean += n / static_cast<double>(buffer.size());
          for (const double n : buffer) variance += (n - mean) * (n - mean) / static_cast<double>(buffer.size());
        } else {
          const double deviation = std::sqrt(variance), z = (norm - mean) / deviation;
          if (z > 2.5) cut = method == v1::ZClip::METHOD_MEAN ? mean : mean + deviation * 2.5 / (z / 2.5);
          mean = 0.97 * mean + (1 - 0.97) * cut;
          variance = 0.97 * variance + (1 - 0.97) * (cut - mean) * (cut - mean);
        }
        if (max_norm > 0) cut = std::min(cut, max_norm);
        ScaleAll(cut / norm, tensors);
      });
    }
  }
}

TYPED_TEST(ModeReferenceTest, AdaGc) {
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_ADAGC);
  settings.mutable_adagc()->set_warmup_steps(20);
  int step = 0;
  std::vector<double> averages(kShapes.size());
  Compare<TypeParam>(settings, 120, [&](Tensors* tensors, const Tensors&) {
    ++step;
    const double global = std::min(1.0, 1.0 / GlobalNorm(*tensors));
    for (size_t i = 0; i < tensors->size(); ++i) {
      const double norm = NormOf((*tensors)[i]);
      const double factor = step < 20 ? global : std::min(1.0, 1.05 * averages[i] / norm);
      for (double& value : (*tensors)[i]) value *= factor;
      if (step == 1) {
        averages[i] = factor * norm;
      } else {
        averages[i] = step < 20 ? std::min(averages[i], factor * norm) : 0.98 * averages[i] + 0.02 * factor * norm;
      }
    }
  });
}

TYPED_TEST(ModeReferenceTest, Spam) {
  v1::ClipSettings settings = Settings(v1::CLIP_MODE_SPAM);
  settings.mutable_spam()->set_theta(50);
  settings.mutable_spam()->set_reset_interval(60);
  int step = 0;
  Compare<TypeParam>(settings, 200, [&](Tensors* tensors, const Tensors& moments) {
    ++step;
    if (step < 20 || step % 60 < 20) return;
    for (size_t i = 0; i < tensors->size(); ++i) {
      for (size_t j = 0; j < (*tensors)[i].size(); ++j) {
        double& value = (*tensors)[i][j];
        const double bound = 50 * moments[i][j];
        if (value * value > bound) value = std::copysign(std::sqrt(bound), value);
      }
    }
  });
}

TEST(SpamScheduleTest, ResetsAndWarmsUpAsPublished) {
  v1::SpamClip settings;
  settings.set_reset_interval(100);
  settings.set_warmup_steps(30);
  SpamSchedule schedule(settings);
  for (int step = 1; step <= 350; ++step) {
    const SpamSchedule::Step got = schedule.Next();
    EXPECT_EQ(got.reset_moments, step % 100 == 0) << step;
    EXPECT_EQ(got.cuts, step >= 20 && step % 100 >= 20) << step;
    const int since = step % 100;
    const double scale = 1 - 0.99 * (1 + std::cos(std::numbers::pi * since / 31)) / 2;
    EXPECT_NEAR(got.learning_rate_scale, step < 100 || since > 30 ? 1 : scale, 1e-15) << step;
  }
}

TEST(SpamScheduleTest, NeverResetsIfNotAsked) {
  v1::SpamClip settings;
  settings.set_reset_interval(0);
  settings.set_warmup_steps(150);
  SpamSchedule schedule(settings);
  for (int step = 1; step <= 2000; ++step) {
    const SpamSchedule::Step got = schedule.Next();
    EXPECT_FALSE(got.reset_moments);
    EXPECT_EQ(got.cuts, step >= 20);
    EXPECT_EQ(got.learning_rate_scale, 1);
  }
}

}  // namespace
}  // namespace gradwatch::core
