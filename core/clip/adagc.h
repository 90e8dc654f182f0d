// AdaGC: each tensor is limited by the moving average of its own norms.
#ifndef GRADWATCH_CORE_CLIP_ADAGC_H_
#define GRADWATCH_CORE_CLIP_ADAGC_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::core {

// Wang et al. 2025 (arXiv 2502.11034). In the warm-up (steps 1 to warmup_steps - 1) all gradients are scaled so that
// the global norm is at most lambda_abs, and the average a of a tensor is the smallest norm that it had after that.
// Then a tensor's norm n may be at most lambda_rel * a, and a = beta * a + (1 - beta) * min(n, lambda_rel * a). So an
// average rises by at most (1 - beta) * (lambda_rel - 1) a step, 0.1 % by default: after a real change of regime it
// takes some 690 steps to double.
//
// Where it differs from the reference: no epsilon is added to norms; a norm that is not finite never comes here; a norm
// of 0 does not enter (there, a tensor without gradient on one step of the warm-up is frozen for ever); a tensor that
// has no average yet may have at most norm lambda_abs, and starts with that. A spike in the warm-up scales all tensors
// down, so that their smallest norms, hence all later gradients, would stay tiny: a step whose global norm is above
// kOutlier times the smallest so far does not enter, and one below a kOutlier-th of it shows that those before were
// spikes and starts the averages again.
//
// Allocates only when made.
class AdaGc {
 public:
  static constexpr double kOutlier = 10;

  // `settings` have all fields set.
  AdaGc(const v1::AdaGcClip& settings, size_t tensors);
  // Bytes that one of so many tensors allocates.
  static int64_t Bytes(int64_t tensors) { return tensors * static_cast<int64_t>(sizeof(double)); }
  // New settings for the same averages and the same count of steps. A warm-up that is over stays so.
  void Configure(const v1::AdaGcClip& settings);
  // Drops what is known of a tensor.
  void Forget(size_t tensor) { averages_[tensor] = 0; }

  // Begins a step of global norm `norm` (finite, not negative), which enters the averages if `admit`. Returns the
  // factor on all gradients, 1 after the warm-up.
  double BeginStep(double norm, bool admit);
  // The factor on the gradient of a tensor of norm `norm` in this step. Call once a tensor and step.
  double Coefficient(size_t tensor, double norm);
  // lambda_abs or lambda_rel, whichever limits in this step.
  double Threshold() const { return warming_up_ ? settings_.lambda_abs() : settings_.lambda_rel(); }

  // Steps so far (at least those of a warm-up that is over), smallest global norm of the warm-up, then the average of
  // every tensor; 0 is unknown.
  std::vector<double> State() const;
  absl::Status Restore(std::span<const double> state);

 private:
  void AdmitToWarmUp(double norm);

  v1::AdaGcClip settings_;
  double steps_ = 0;
  double smallest_norm_ = 0;  // 0: none yet
  std::vector<double> averages_;
  // Of the present step.
  bool warming_up_ = false;
  bool admit_ = false;
  double global_coefficient_ = 1;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_CLIP_ADAGC_H_
