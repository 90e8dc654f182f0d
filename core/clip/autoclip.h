// AutoClip: the limit of the global norm is a percentile of the norms so far.
#ifndef GRADWATCH_CORE_CLIP_AUTOCLIP_H_
#define GRADWATCH_CORE_CLIP_AUTOCLIP_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/stats/sorted_window.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::core {

// Seetharaman, Wichern, Pardo, Le Roux 2020 (arXiv 2007.14469): the norm N of a step enters the history, and the limit
// is the p-th percentile of the history, interpolated linearly. So the first step is never cut, and with p = 10 about
// nine steps in ten are.
//
// Where it differs from the reference: a norm that is not finite never comes here (there, one NaN makes the percentile
// NaN and with it every later gradient); a norm of 0 does not enter (there, a tenth of empty steps makes the limit 0
// and freezes the run); and the history is bounded, as in the authors' second version.
//
// Allocates only when made and when the size of the history changes.
class AutoClip {
 public:
  // `settings` have all fields set.
  explicit AutoClip(const v1::AutoClip& settings);
  // Bytes that one of these settings allocates.
  static int64_t Bytes(const v1::AutoClip& settings) { return SortedWindow::Bytes(settings.history()); }
  // New settings for the same history: of a smaller one the newest norms stay.
  void Configure(const v1::AutoClip& settings);

  // The limit for a step of norm `norm` (finite, not negative), which enters the history if `admit`. 0: no limit, since
  // nothing is known yet.
  double Limit(double norm, bool admit);

  // The norms, oldest first.
  std::vector<double> State() const;
  absl::Status Restore(std::span<const double> state);

 private:
  double fraction_;
  SortedWindow norms_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_CLIP_AUTOCLIP_H_
