// The condition norm_limit: a norm above a limit.
#ifndef GRADWATCH_CORE_DETECT_NORM_LIMIT_H_
#define GRADWATCH_CORE_DETECT_NORM_LIMIT_H_

#include <string>
#include <vector>

#include "core/detect/condition.h"

namespace gradwatch::core {

// Judges the global norm or every matching tensor's. With non-finite elements the norm is that of the finite part:
// above the limit it tells the truth, below it tells nothing.
class NormLimit final : public Condition {
 public:
  NormLimit(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

  Verdict Judge(const StepRecord& record) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunContext& context,
                v1::Alert* alert) const override;

 private:
  Verdict JudgeNorm(double norm, int64_t non_finite, int tensor) const;

  const double max_norm_;
  const bool per_tensor_;
  const std::vector<int> tensors_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_NORM_LIMIT_H_
