// The condition non_finite: a NaN or an infinity in the loss or in a gradient.
#ifndef GRADWATCH_CORE_DETECT_NON_FINITE_H_
#define GRADWATCH_CORE_DETECT_NON_FINITE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/detect/condition.h"

namespace gradwatch::core {

// Elements that are not finite.
struct NonFiniteCounts {
  int64_t nan = 0, pos_inf = 0, neg_inf = 0;
  int nearest_output = -1;  // the last tensor in arena order that holds some; -1: not known

  int64_t total() const { return nan + pos_inf + neg_inf; }
};

// With a glob in the rule only the gradients of matching tensors are judged, counted and named, and the loss is not
// judged. A global norm that is not finite counts too: foreign trainers may know no more.
//
// The tensor that is named tells most about where it began:
// - The loss is finite: backpropagation runs from the output to the input and spreads what is broken, so it began at
//   the broken tensor nearest the output, the last in arena order.
// - The loss is not finite, so the forward pass broke first, and mostly every gradient follows: the first tensor from
//   the input whose parameters are broken; if none is, the one whose gradient was largest on the last finite step.
class NonFinite final : public Condition {
 public:
  NonFinite(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule&, const std::vector<std::string>&) { return 0; }

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  NonFiniteCounts Count(const StepRecord& record) const;
  std::string Summary(const StepRecord& record) const;
  bool Watches(int tensor) const;

  const bool all_;                  // no glob
  const std::vector<int> tensors_;  // rising
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_NON_FINITE_H_
