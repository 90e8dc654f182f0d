// The condition norm_spike: a norm far above what was usual.
#ifndef GRADWATCH_CORE_DETECT_NORM_SPIKE_H_
#define GRADWATCH_CORE_DETECT_NORM_SPIKE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/detect/condition.h"
#include "core/detect/history.h"

namespace gradwatch::core {

// Judges y = ln(norm), because norms are near log-normal, by
//
//   z = (y - median) / max(1.4826 * MAD, min_deviation)  >  max_deviations
//
// over the window of steps before, for the global norm or for every matching tensor. A norm that is zero, that is
// only that of a finite part, or of a step whose loss is not finite, is not judged and never enters the history. Silent
// until kWarmUp norms are in.
//
// Norms beyond half the limit, but not below 3 deviations, are outliers to the history already, though they are no
// alert: else a rule with a high limit would learn a growing norm step by step and never see it explode.
class NormSpike final : public Condition {
 public:
  static constexpr int kWarmUp = 20;

  NormSpike(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  // Bytes of its histories.
  static int64_t HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

  Verdict Judge(const StepRecord& record) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunContext& context,
                v1::Alert* alert) const override;

 private:
  Verdict JudgeNorm(double norm, int64_t non_finite, int tensor, History* history) const;

  const double max_deviations_;
  const double outlier_deviations_;
  const double min_deviation_;
  const bool per_tensor_;
  const std::vector<int> tensors_;
  std::vector<History> histories_;  // one for the global norm, or one for each of tensors_
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_NORM_SPIKE_H_
