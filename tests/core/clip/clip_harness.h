// A network's gradients with a clipper on them, step by step, as the trainer and the optimizer see them.
#ifndef GRADWATCH_TESTS_CORE_CLIP_CLIP_HARNESS_H_
#define GRADWATCH_TESTS_CORE_CLIP_CLIP_HARNESS_H_

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/clip/clipper.h"
#include "core/stats/gradient_statistics.h"
#include "core/stats/norm_sum.h"

namespace gradwatch::core {

inline v1::ClipSettings Settings(v1::ClipMode mode, double threshold = 0) {
  v1::ClipSettings settings;
  settings.set_mode(mode);
  settings.set_threshold(threshold);
  return settings;
}

inline void AddOverride(const std::string& tensors, v1::ClipMode mode, double threshold, v1::ClipSettings* settings) {
  v1::TensorClip* limit = settings->add_overrides();
  limit->set_tensors(tensors);
  limit->set_mode(mode);
  limit->set_threshold(threshold);
}

// Valid settings of every mode, each so that a gradient of norm 100 is cut, be it after a history of norms about 1.
inline std::vector<v1::ClipSettings> EveryMode() {
  std::vector<v1::ClipSettings> modes;
  modes.push_back(Settings(v1::CLIP_MODE_GLOBAL_NORM, 5));
  modes.push_back(Settings(v1::CLIP_MODE_TENSOR_NORM, 2));
  modes.push_back(Settings(v1::CLIP_MODE_VALUE, 1));
  modes.push_back(Settings(v1::CLIP_MODE_ADAPTIVE, 0.1));
  modes.push_back(Settings(v1::CLIP_MODE_AUTOCLIP));
  modes.back().mutable_autoclip()->set_percentile(50);
  modes.push_back(Settings(v1::CLIP_MODE_ZCLIP));
  modes.back().mutable_zclip()->set_max_norm(0);
  modes.push_back(Settings(v1::CLIP_MODE_ADAGC));
  modes.back().mutable_adagc()->set_warmup_steps(20);
  modes.push_back(Settings(v1::CLIP_MODE_SPAM));
  modes.back().mutable_spam()->set_reset_interval(40);
  modes.back().mutable_spam()->set_warmup_steps(10);
  return modes;
}

// Tensors "t0", "t1", ... All weights are 1. The second moment is kept as Adam does, with beta2 = 0.999.
template <typename T>
class ClipHarness {
 public:
  explicit ClipHarness(const std::vector<std::vector<int64_t>>& shapes) { Start(shapes); }
  explicit ClipHarness(const std::vector<std::vector<T>>& tensors) {
    std::vector<std::vector<int64_t>> shapes;
    for (const auto& tensor : tensors) shapes.push_back({static_cast<int64_t>(tensor.size())});
    Start(shapes);
    for (size_t i = 0; i < tensors.size(); ++i) {
      std::copy(tensors[i].begin(), tensors[i].end(), gradient(i).begin());
    }
    Measure();
  }
  ClipHarness(const ClipHarness&) = delete;
  ClipHarness& operator=(const ClipHarness&) = delete;

  size_t tensors() const { return layout_.segments().size(); }
  std::span<T> gradient(size_t i) { return Part(gradients_, i); }
  std::span<T> weights(size_t i) { return Part(weights_, i); }
  std::span<T> moment(size_t i) { return Part(moment_, i); }
  Clipper<T>& clipper() { return *clipper_; }
  StepRecord& record() { return record_; }
  const ParameterLayout& layout() const { return layout_; }

  // Normal numbers, in all tensors.
  void Randomize(double scale, uint64_t seed) {
    Random random(seed, RandomStream::kSyntheticData, 0);
    for (size_t i = 0; i < tensors(); ++i) {
      for (T& value : gradient(i)) value = static_cast<T>(scale * random.NextNormal());
    }
  }
  void Measure() { MeasureGradients<T>(layout_, gradients_, v1::STATISTICS_LEVEL_NORM, nullptr, &record_); }
  // Measures and clips.
  const ClipOutcome& Clip() {
    Measure();
    clipper_->Apply({gradients_, weights_, moment_}, &record_);
    return record_.clip;
  }
  const ClipOutcome& Clip(const v1::ClipSettings& settings) {
    clipper_->Configure(settings);
    return Clip();
  }
  // What the optimizer makes its update of.
  std::vector<T> Seen(size_t i) {
    const T scale = static_cast<T>(record_.tensors[i].clip_scale);
    std::vector<T> seen;
    for (const T value : gradient(i)) seen.push_back(scale * value);
    return seen;
  }
  // Puts what the optimizer sees in place of the gradients.
  void Bake() {
    for (size_t i = 0; i < tensors(); ++i) std::ranges::copy(Seen(i), gradient(i).begin());
    Measure();
  }
  // Norm of all that the optimizer sees.
  double SeenNorm() {
    NormSum sum;
    for (size_t i = 0; i < tensors(); ++i) {
      for (const T value : Seen(i)) sum.Add(std::fabs(value));
    }
    return sum.Norm();
  }
  // What Adam does with its second moment after clipping; nothing if the step was skipped.
  void UpdateMoment() {
    const auto action = record_.clip.action;
    if (action == v1::ClipOutcome::ACTION_SKIPPED || action == v1::ClipOutcome::ACTION_STOPPED) return;
    if (record_.clip.moments_reset) std::ranges::fill(moment_, T{0});
    for (size_t i = 0; i < tensors(); ++i) {
      const std::vector<T> seen = Seen(i);
      for (size_t j = 0; j < seen.size(); ++j) {
        moment(i)[j] = static_cast<T>(0.999 * moment(i)[j] + 0.001 * double{seen[j]} * seen[j]);
      }
    }
  }
  std::vector<T> gradients() const { return gradients_; }

 private:
  void Start(const std::vector<std::vector<int64_t>>& shapes) {
    for (size_t i = 0; i < shapes.size(); ++i) {
      layout_.Add("t" + std::to_string(i), shapes[i], 0, v1::Initializer());
    }
    gradients_.assign(static_cast<size_t>(layout_.arena_size()), 0);
    moment_ = gradients_;
    weights_.assign(gradients_.size(), 1);
    record_.tensors.resize(shapes.size());
    clipper_ = std::make_unique<Clipper<T>>(&layout_);
  }
  std::span<T> Part(std::vector<T>& arena, size_t i) {
    const ParameterSegment& segment = layout_.segments()[i];
    return std::span<T>(arena).subspan(static_cast<size_t>(segment.offset), static_cast<size_t>(segment.size));
  }

  ParameterLayout layout_;
  std::vector<T> gradients_, weights_, moment_;
  StepRecord record_;
  std::unique_ptr<Clipper<T>> clipper_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_TESTS_CORE_CLIP_CLIP_HARNESS_H_
