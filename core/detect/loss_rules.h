// Conditions about the loss: that it jumped, that it left its best behind, that it is back where it began.
#ifndef GRADWATCH_CORE_DETECT_LOSS_RULES_H_
#define GRADWATCH_CORE_DETECT_LOSS_RULES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/detect/condition.h"
#include "core/detect/history.h"
#include "core/stats/sliding_maximum.h"

namespace gradwatch::core {

// A loss far above what was usual: l = ln(loss) above its median by ln(factor), and by max_deviations robust standard
// deviations, because the losses of single batches of a run that has nearly converged differ by powers of ten. With
// norm_factor also one of the last three norms must be that many times the usual one. A loss below a hundredth of its
// start is no jump, whatever was usual. An infinite loss is above everything; NaN is non_finite's business. Silent
// until kWarmUp losses are in.
class LossJump final : public Condition {
 public:
  static constexpr int kWarmUp = 20;

  LossJump(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  // Whether a resolved rule stands on the history of the run rather than on one of its own: where the window is that of
  // the run, and the run takes nothing into it that the rule tells.
  static bool IsShared(const v1::Rule& rule);
  static int64_t HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  bool NormIsLarge(const RunSignals& signals) const;
  void Admit(double loss, bool outlier, const RunSignals& signals);

  const double log_factor_;
  const double max_deviations_;
  const double log_norm_factor_;  // 0: norms are not looked at
  const bool shared_;             // whether the history is that of the run
  History history_;
  int era_ = 0;
};

// The share of steps on which something was so, of about 200, the last 64 left out: what begins now says nothing about
// what is usual.
class UsualShare {
 public:
  void Observe(bool is_so);
  void Clear();
  // With two standard errors on top; 0 until there are more steps than are left out.
  double value() const;

 private:
  static constexpr int64_t kLeftOut = 64;

  int64_t Counted() const;

  uint64_t last_ = 0;  // a bit for each of the steps that are left out, the newest lowest
  int64_t steps_ = 0;
  double share_ = 0;
};

// A loss that has left its best behind. `reference` is the best plus ln(factor) and max_deviations standard deviations;
// before the run has settled, and for the second sum always, the larger of best + ln(factor) and start +
// ln(start_factor). Neither rises with the loss that is judged. Three ways:
//
//   left:   the sum of l - reference, clamped to 1 a step, has reached kLimit, or what losses that are above it now and
//           then would not reach in a million steps, and the loss is not falling back from its highest of the last 20
//           steps. Once it holds so it does until the median of 10 is below the reference;
//   broken: the same with the looser reference and kBrokenLimit, while updates still turn the weights over;
//   never:  the median of 30 has been above start + ln 2 for 30 steps, and that of 10 is not below half its peak of the
//           last 200. Once it holds so it does until the first is over.
class LossDivergence final : public Condition {
 public:
  LossDivergence(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule&, const std::vector<std::string>&) { return SlidingMaximum::Bytes(220); }

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  enum class Way { kNone, kLeft, kBroken, kNever };

  void BeginAnew(int era);
  Way JudgeLoss(const RunSignals& signals, double reference, double loose_reference);
  bool NeverRecovered(const RunSignals& signals);

  const double log_factor_;
  const double log_start_factor_;
  const double max_deviations_;

  int era_ = 0;
  UsualShare above_;  // of steps above the reference
  double sum_ = 0;
  double broken_sum_ = 0;
  SlidingMaximum highest_{20};   // losses while sum_ is not 0
  int worse_ = 0;                // steps in a row with a median far above the start
  SlidingMaximum medians_{200};  // of 10 losses
  double never_factor_ = 0;      // of the last verdict that holds
  bool left_ = false;            // whether the first way held on the step before
  bool never_ = false;           // and the last one
  bool held_ = false;            // and any
  int64_t above_since_ = 0;      // the step since which sum_ is not 0
  Way way_ = Way::kNone;
};

// A loss that is lastingly back where it began: the lowest tenth of the last 30 losses above the best by ln(factor) and
// max_deviations standard deviations, and their median above start_share of the start. Of a run that had learnt less
// than the factor, but half of it: the median above the best by half of ln(factor) and a quarter of the deviations,
// which is many of those of a median, and nearer to the start than to the best, on kLastingSteps more than not.
class LossCollapse final : public Condition {
 public:
  LossCollapse(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule&, const std::vector<std::string>&) { return 0; }

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  static constexpr int kLastingSteps = 200;

  // l above which the last losses are far above the best, and whether they are; of a run that learnt much, or little.
  double Limit(const RunSignals& signals) const;
  double LimitOfLittle(const RunSignals& signals) const;
  bool IsBack(const RunSignals& signals) const;
  bool LittleIsBack(const RunSignals& signals) const;

  const double log_factor_;
  const double max_deviations_;
  const double log_start_share_;
  int little_back_ = 0;  // steps on which it was, less those on which it was not; twice kLastingSteps at most
};

// Two witnesses, each beyond its own noise, and the loss more often than chance gives: the loss above its best, and
// with it the norms, or the updates, above what they were when the loss was best. What the learning rate explains of
// the updates is taken off, up to the highest rate that was held, so that a warm restart is silent.
class JointGrowth final : public Condition {
 public:
  JointGrowth(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule&, const std::vector<std::string>&) { return 0; }

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  // l above which a loss is far above the best, for the one and the other.
  double LimitOfNorm(const RunSignals& signals) const;
  double LimitOfUpdate(const RunSignals& signals) const;
  bool NormHasGrown(const RunSignals& signals) const;
  bool UpdateHasGrown(const StepRecord& record, const RunSignals& signals) const;

  const double log_loss_factor_;
  const double log_norm_factor_;
  const double log_update_loss_factor_;
  const double log_update_factor_;
  int era_ = 0;
  UsualShare above_norm_, above_update_;  // of losses above either limit
  bool by_norm_ = false;                  // of the last verdict that holds
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_LOSS_RULES_H_
