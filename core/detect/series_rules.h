// The conditions about the course of a series over many steps: series, drift, no_progress, clipping.
#ifndef GRADWATCH_CORE_DETECT_SERIES_RULES_H_
#define GRADWATCH_CORE_DETECT_SERIES_RULES_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/detect/condition.h"
#include "core/detect/moments.h"
#include "core/detect/series_baseline.h"

namespace gradwatch::core {

// The condition series: a value exceeds every limit that is set. What the limits are multiples of is described in
// series_baseline.h; a multiple of a baseline below 0 lies as far above it as it would of its magnitude. A gradient
// norm is not finite where an element is not. Infinities and NaN exceed every limit, before the warm-up is over as
// well; no other value is judged until then.
class Series final : public Condition {
 public:
  Series(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

  bool judges_update() const override { return series_ == v1::SeriesCondition::SERIES_UPDATE_RATIO; }
  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  // Unset: not measured on this step.
  std::optional<double> ValueOf(const StepRecord& record, const RunSignals& signals) const;
  // The largest limit. Unset: there is none yet.
  std::optional<double> Limit() const;
  Verdict JudgeValue(double value);
  std::string NameOfValue(const v1::Alert& alert) const;
  std::string NameOfBaseline() const;
  void Explain(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) const;

  const v1::SeriesCondition::Series series_;
  const v1::SeriesCondition::Baseline kind_;
  const int32_t window_;
  const std::optional<double> factor_;
  const std::optional<double> max_deviations_;
  const std::optional<double> limit_;
  const bool keep_out_;
  SeriesBaseline baseline_;
};

// The condition drift: Page's CUSUM S = max(0, S + z - slack) of z, the logarithm of the norm in standard deviations
// above the mean of its first norms, exceeds limit. Deviations below kSmallestDeviation count as that: norms that
// hardly vary would drift by their rounding. S is kept at twice the limit at most, which changes nothing about when it
// fires and lets it end. A norm that is zero, or of a step that is not finite, moves nothing.
class Drift final : public Condition {
 public:
  static constexpr double kSmallestDeviation = 0.05;

  Drift(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule& /*rule*/, const std::vector<std::string>& /*tensor_names*/) { return 0; }

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  const double slack_;
  const double limit_;
  const int32_t baseline_steps_;
  Moments baseline_;          // of the first norms
  double sum_ = 0;            // S
  int64_t drifts_since_ = 0;  // where S left 0
};

// The condition no_progress: the median of the last third of the last `window` losses is not below that of the first
// third by more than min_gain of its magnitude. Only losses of finite steps with a learning rate above 0 count; other
// steps are not judged. A median of 0 is quiet: it cannot be lower.
class NoProgress final : public Condition {
 public:
  NoProgress(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  void Admit(double loss);
  bool full() const { return first_.size() == first_.capacity(); }

  const int32_t window_;
  const double min_gain_;
  // A loss goes through the three of them; the last third is the newest.
  SortedWindow first_;
  std::vector<double> middle_;  // ring
  size_t middle_next_ = 0;
  size_t middle_size_ = 0;
  SortedWindow last_;
};

// The condition clipping: over the last `window` steps with an update the median norm before clipping exceeds factor
// times the median norm after it, and is at least growth_factor times what it was when clipping was last set: the
// median of the norms before that step, or of the first kFirstNorms where there were fewer. Clipping counts as set when
// what all tensors share of it is another one: mode, number or largest global norm. Neither an override of some tensors
// nor a threshold that adapts by itself does.
class Clipping final : public Condition {
 public:
  static constexpr int kFirstNorms = 10;
  static constexpr int64_t kNever = -1;

  Clipping(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

  bool judges_update() const override { return true; }
  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  void ObserveSettings(const StepRecord& record);
  Verdict JudgeWindow() const;

  const double factor_;
  const double growth_factor_;
  SortedWindow before_;        // norms before clipping
  SortedWindow after_;         // and after it
  TensorClipping shared_;      // of the setting that was last set,
  double norm_limit_ = 0;      // as in ClipInForce
  int64_t set_step_ = kNever;  // where clipping was last set
  // The norm then; NaN: not known yet.
  double norm_when_set_ = std::numeric_limits<double>::quiet_NaN();
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_SERIES_RULES_H_
