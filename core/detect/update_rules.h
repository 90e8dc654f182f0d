// Conditions about updates against the weights that they change, and about the very first step.
#ifndef GRADWATCH_CORE_DETECT_UPDATE_RULES_H_
#define GRADWATCH_CORE_DETECT_UPDATE_RULES_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/detect/condition.h"
#include "core/detect/judged_weights.h"

namespace gradwatch::core {

// |update| / |weights| > max_ratio for any matching tensor, without those that JudgedWeights leaves out. Needs level
// FULL. A step that was skipped because something was not finite would have had an infinite update, and counts as one.
class UpdateRatio final : public Condition {
 public:
  UpdateRatio(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

  bool judges_update() const override { return true; }
  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  Verdict JudgeSkipped(const StepRecord& record) const;

  const double max_ratio_;
  const std::vector<int> tensors_;
  JudgedWeights judged_;  // of tensors_
};

// Updates that have turned the weights over while the loss is broken: the sum of ln(ratio), each ratio 4 at most, over
// steps in a row with a loss above start_factor times its start and the one before them, whose update the first of
// these losses shows; it never falls below 0. One update of e^2 times the weights is enough where the loss, or the next
// one, is 10 times its start.
class Overshoot final : public Condition {
 public:
  Overshoot(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule&, const std::vector<std::string>&) { return 0; }

  bool judges_update() const override { return true; }
  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  const double limit_;
  const double log_start_factor_;
  double log_product_ = 0;
  RunSignals::Update last_;  // the last that was judged
  RunSignals::Update told_;  // the larger one of it and the one before
};

// A learning rate that, after its warm-up, rises from step to step in a geometric way (in the second half of its rise
// by at least 0.8 times as much, in logarithms, as in the first: a linear one slows down), by rate_factor in all, and
// ratios that follow by update_factor. Single raises, restarts, triangles and second warm-ups are none.
class UpdateGrowth final : public Condition {
 public:
  UpdateGrowth(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule&, const std::vector<std::string>&) { return 0; }

  bool judges_update() const override { return true; }
  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  static constexpr int kMostRises = 128;
  void FollowRate(double rate, int64_t step, const RunSignals& signals);
  bool IsGeometric() const;

  const double log_rate_factor_;
  const double update_factor_;
  std::array<double, kMostRises> rates_{};  // ln(rate) after each rise of the ramp
  int rises_ = 0;
  bool was_geometric_ = false;  // on the step before
  int flat_ = 0;                // steps in a row without a rise or a fall
  double last_rate_ = 0;        // ln
  bool has_rate_ = false;       // whether there is a last_rate_
  double rate_before_ = 0;      // ln, before the ramp
  double ratio_before_ = 0;     // usual ratio before the ramp
  int64_t began_ = 0;           // step of the first rise
};

// The first step, judged once its update is known.
class FirstStep final : public Condition {
 public:
  FirstStep(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule&, const std::vector<std::string>&) { return 0; }

  bool judges_update() const override { return true; }
  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  static double GuessingLoss(const RunFacts& facts);
  bool IsFarAboveGuessing(const StepRecord& record, const RunFacts& facts) const;
  Verdict JudgeSince(const RunSignals& signals) const;
  void ExplainFirstLoss(const RunFacts& facts, v1::Alert* alert) const;

  const double max_update_ratio_;
  const double max_loss_factor_;
  const double max_input_scale_;
  bool was_bad_ = false;  // loss or inputs of the first step
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_UPDATE_RULES_H_
