// The condition update_ratio: an update that is large against its weights.
#ifndef GRADWATCH_CORE_DETECT_UPDATE_RATIO_H_
#define GRADWATCH_CORE_DETECT_UPDATE_RATIO_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/detect/condition.h"

namespace gradwatch::core {

// Judges |update| / |weights| > max_ratio for every matching tensor of norm 1e-12 and more, once the step has updated.
// Needs level FULL; a skipped step is not judged. A tensor that is zero when it is first seen (a bias, as a rule) is
// left out for 100 steps, because it must grow by large parts of itself.
class UpdateRatio final : public Condition {
 public:
  static constexpr double kSmallestWeightNorm = 1e-12;
  static constexpr int64_t kStepsAfterZero = 100;

  UpdateRatio(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  // Bytes of judged_from_ for so many tensors.
  static int64_t StepBytes(int64_t tensors) { return tensors * static_cast<int64_t>(sizeof(int64_t)); }

  bool judges_update() const override { return true; }
  Verdict Judge(const StepRecord& record) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunContext& context,
                v1::Alert* alert) const override;

 private:
  static constexpr int64_t kUnseen = -1;

  const double max_ratio_;
  const std::vector<int> tensors_;
  std::vector<int64_t> judged_from_;  // of each of tensors_: its first step to judge
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_UPDATE_RATIO_H_
