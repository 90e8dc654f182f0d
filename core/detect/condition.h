// The seam between the conditions of rules and the episodes of their alerts.
#ifndef GRADWATCH_CORE_DETECT_CONDITION_H_
#define GRADWATCH_CORE_DETECT_CONDITION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/detect/run_signals.h"
#include "core/stats/step_record.h"
#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// What a condition says about one step.
struct Verdict {
  enum class Kind {
    kUnknown,  // cannot be judged: too little history, not measured, or not finite; changes nothing about an episode
    kQuiet,
    kHolds,
  };

  Kind kind = Kind::kUnknown;
  // Of a verdict that holds:
  double value = 0;         // what was judged
  double limit = 0;         // what it was judged against
  int tensor = -1;          // the worst tensor by the condition's measure; -1: none stands out
  double usual = 0;         // the median, of conditions with a history
  double deviations = 0;    // robust standard deviations above the median, of norm_spike
  bool low_is_bad = false;  // the limit is a lower one
};

// Thread-compatible.
class Condition {
 public:
  virtual ~Condition() = default;
  // Whether it judges the update rather than the gradients of a step.
  virtual bool judges_update() const { return false; }
  // Judges a step, then takes it into its history, if it has one. Never allocates.
  virtual Verdict Judge(const StepRecord& record, const RunSignals& signals) = 0;
  // Fills tensor, summary and diagnosis of the alert about a step that it has just found to hold.
  virtual void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                        v1::Alert* alert) const = 0;
};

// The condition of a resolved rule over the tensors of these names. The rule must be valid. Null: a rule about stalls,
// which the server judges.
std::unique_ptr<Condition> MakeCondition(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

// Bytes that this condition allocates, but for its alert.
int64_t ConditionBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

// Indices of the names that match a rule's glob; empty glob: all.
std::vector<int> MatchingTensors(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_CONDITION_H_
