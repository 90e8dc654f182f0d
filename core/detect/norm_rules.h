// Conditions about the gradient norm: above a limit, far above what was usual, grown manifold.
#ifndef GRADWATCH_CORE_DETECT_NORM_RULES_H_
#define GRADWATCH_CORE_DETECT_NORM_RULES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/detect/condition.h"
#include "core/detect/history.h"

namespace gradwatch::core {

// A norm above a limit. One that holds an infinity is above any; of one that holds a NaN the finite part may be.
class NormLimit final : public Condition {
 public:
  NormLimit(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule&, const std::vector<std::string>&) { return 0; }

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  Verdict JudgeNorm(double norm, int64_t infinities, int64_t nans, int tensor) const;

  const double max_norm_;
  const bool per_tensor_;
  const std::vector<int> tensors_;
};

// Judges y = ln(norm), because norms are near log-normal, by
//
//   z = (y - median) / max(min(1.4826 * MAD, 1), min_deviation)  >  max_deviations
//
// over the window of steps before, for the global norm or for every matching tensor. An infinite norm is above any. A
// norm that is zero, that is only that of a finite part, or of a step whose loss is not finite, is not judged and never
// enters the history. Silent until kWarmUp norms are in.
//
// Norms beyond half the limit, but not below 3 deviations, are outliers to the history already, though they are no
// alert: else a rule with a high limit would learn a growing norm step by step and never see it explode.
class NormSpike final : public Condition {
 public:
  static constexpr int kWarmUp = 20;

  NormSpike(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  // Whether a resolved rule stands on the history of the run rather than on one of its own: where the window is that of
  // the run, and the run takes nothing into it that the rule tells.
  static bool IsShared(const v1::Rule& rule);
  static int64_t HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  Verdict JudgeAgainst(double norm, const History& usual, int tensor) const;
  Verdict JudgeNorm(double norm, const RunSignals& signals);
  bool Matters(const RunSignals& signals) const;
  Verdict JudgeTensor(const StepRecord& record, size_t i);
  Verdict JudgeTensors(const StepRecord& record);

  const double max_deviations_;
  const double outlier_deviations_;
  const double min_deviation_;
  const double log_start_factor_;  // -infinity: the first norms do not matter
  const bool per_tensor_;
  const bool shared_;
  const std::vector<int> tensors_;
  std::vector<History> histories_;  // one for the global norm, or one for each of tensors_; none if shared
};

// A norm that has grown manifold. At a run: more than doubled three times in a row, and above factor times the largest
// before. Or slowly: the median of 10 above factor times the lowest median of 50 that there was, which does not follow
// the norm up, and well above the first 10, while the loss does not fall; five times as far it does not matter what the
// loss does, unless the task is all but solved.
class NormGrowth final : public Condition {
 public:
  NormGrowth(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule&, const std::vector<std::string>&) { return 0; }

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  bool Runs(double norm);
  bool HasGrown(const RunSignals& signals);
  bool Learns(const RunSignals& signals);

  const double log_factor_;
  int64_t norms_ = 0;
  double last_ = 0;  // y of the norm before
  double largest_;   // of all before
  double largest_before_run_;
  int rises_ = 0;              // in a row, each of more than a doubling
  double start_ = 0;           // median of the first 10
  double lowest_;              // median of 50
  bool at_a_run_ = false;      // of the last verdict that holds
  int era_ = 0;                // of the losses, on the step before
  double loss_at_lowest_ = 0;  // the best loss when the norm was lowest
  int64_t best_ = 0;           // RunSignals::Best::losses of the step before
  int64_t since_best_ = 0;     // steps since the loss had a new best
  uint64_t new_bests_ = 0;     // a bit for each of the last steps: whether the loss had a new best
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_NORM_RULES_H_
