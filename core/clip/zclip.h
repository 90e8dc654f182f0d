// ZClip: a global norm far above its moving average is cut back towards it.
#ifndef GRADWATCH_CORE_CLIP_ZCLIP_H_
#define GRADWATCH_CORE_CLIP_ZCLIP_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::core {

// Kumar, Owen, Chowdhury, Guera 2025 (arXiv 2504.02507). With the moving mean m and standard deviation s of the norms,
// z = (N - m) / s of a step of norm N. If z > z_threshold the norm is cut to m + s * z_threshold^2 / z (RECIPROCAL) or
// to m (MEAN); in any case it is at most max_norm. Then x = N, or what it was cut to (max_norm left aside), enters:
// m = alpha * m + (1 - alpha) * x, variance = alpha * variance + (1 - alpha) * (x - new m)^2. The first mean and
// variance are those of the first warmup_steps norms; until then only max_norm limits.
//
// Where it differs from the reference: a norm that is not finite never comes here (there, one NaN switches it off for
// ever); a norm of 0 does not enter; s is at least kLeastDeviation * m (there, after constant norms s is 0 and any norm
// above m is infinitely far out; the 1e-6 that it adds to s would blind it to small gradients); and of the warm-up a
// norm above kOutlier times the median counts as the median (there, one spike blinds it for hundreds of steps). It
// judges the norm itself, not its logarithm, and only its upper tail, as the reference does: of log-normal norms 1 to
// 3 % are cut in healthy steps.
//
// Allocates only when made and when the warm-up changes.
class ZClip {
 public:
  static constexpr double kLeastDeviation = 0.01;
  static constexpr double kOutlier = 10;

  // Where to cut a step, and above which norm it would be cut at all; 0: nowhere.
  struct Verdict {
    double limit = 0;
    double threshold = 0;
  };

  // `settings` have all fields set.
  explicit ZClip(const v1::ZClip& settings);
  // Bytes that one of these settings allocates.
  static int64_t Bytes(const v1::ZClip& settings) {
    return settings.warmup_steps() * static_cast<int64_t>(sizeof(double));
  }
  // New settings for the same averages. A warm-up that is over stays so; one that becomes shorter than what it has seen
  // ends.
  void Configure(const v1::ZClip& settings);

  // Judges a step of norm `norm` (finite, not negative), which enters the averages if `admit`.
  Verdict Judge(double norm, bool admit);

  // Whether warm (1 or 0), mean, variance, then the norms of a warm-up that is not over.
  std::vector<double> State() const;
  absl::Status Restore(std::span<const double> state);

 private:
  void AdmitToWarmUp(double norm);
  void StartAverages();
  void Admit(double norm);

  v1::ZClip settings_;
  bool warm_ = false;
  double mean_ = 0;
  double variance_ = 0;
  std::vector<double> warm_up_;  // never grows beyond what it has reserved
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_CLIP_ZCLIP_H_
