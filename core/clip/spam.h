// SPAM: when the moments of Adam are reset, when elements may be cut against them, and how the rate rises again.
#ifndef GRADWATCH_CORE_CLIP_SPAM_H_
#define GRADWATCH_CORE_CLIP_SPAM_H_

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::core {

// Huang et al. 2025 (arXiv 2501.06842). Every reset_interval steps both moments of Adam are set to zero, its count of
// steps is not. From kSettleSteps steps after a reset (and after the start), an element g with g^2 > theta * v, v being
// its second moment before the update and without bias correction, is cut to sign(g) * sqrt(theta * v) (see
// CutToMoment). k steps after a reset the learning rate is multiplied by 1 - 0.99 * (1 + cos(pi * k / (w + 1))) / 2
// with w = warmup_steps, from 0.01 at k = 0 to 1; without it the first step would be (1 - beta1) / sqrt(1 - beta2), 3.2
// times as long as Adam's first.
//
// Where it differs from the reference: an element with v = 0 is not cut (there, an element whose gradient was always
// zero stays zero for ever); steps with non-finite gradients never come here. As there, the first kSettleSteps steps
// are not protected; and the factor acts on the rate, so on AdamW's decay too.
//
// Never allocates. Counts the steps that are updates.
class SpamSchedule {
 public:
  static constexpr int kSettleSteps = 20;

  struct Step {
    bool reset_moments = false;
    bool cuts = false;
    double learning_rate_scale = 1;
  };

  // `settings` have all fields set.
  explicit SpamSchedule(const v1::SpamClip& settings) : settings_(settings) {}
  // New settings from the next step on; the steps since the last reset still count.
  void Configure(const v1::SpamClip& settings) { settings_ = settings; }

  // What is to be done in this step.
  Step Next();

  // Steps since the last reset or the start, and whether there was a reset (1 or 0).
  std::vector<double> State() const { return {since_, reset_before_ ? 1.0 : 0.0}; }
  absl::Status Restore(std::span<const double> state);

 private:
  double LearningRateScale() const;

  v1::SpamClip settings_;
  double since_ = 0;
  bool reset_before_ = false;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_CLIP_SPAM_H_
