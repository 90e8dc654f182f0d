#include "core/detect/condition.h"

#include "core/base/glob.h"
#include "core/detect/loss_jump.h"
#include "core/detect/non_finite.h"
#include "core/detect/norm_limit.h"
#include "core/detect/norm_spike.h"
#include "core/detect/update_ratio.h"

namespace gradwatch::core {

std::unique_ptr<Condition> MakeCondition(const v1::Rule& rule, const std::vector<std::string>& tensor_names) {
  switch (rule.condition_case()) {
    case v1::Rule::kNonFinite:
      return std::make_unique<NonFinite>(rule, tensor_names);
    case v1::Rule::kNormLimit:
      return std::make_unique<NormLimit>(rule, tensor_names);
    case v1::Rule::kNormSpike:
      return std::make_unique<NormSpike>(rule, tensor_names);
    case v1::Rule::kLossJump:
      return std::make_unique<LossJump>(rule);
    case v1::Rule::kUpdateRatio:
      return std::make_unique<UpdateRatio>(rule, tensor_names);
    default:
      return nullptr;  // refused by ValidateRules; stalls, which the server judges
  }
}

int64_t ConditionBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names) {
  const auto names = static_cast<int64_t>(tensor_names.size());
  const int64_t matching = names * static_cast<int64_t>(sizeof(int));  // see MatchingTensors
  switch (rule.condition_case()) {
    case v1::Rule::kNonFinite:
      return static_cast<int64_t>(sizeof(NonFinite)) + matching;
    case v1::Rule::kNormLimit:
      return static_cast<int64_t>(sizeof(NormLimit)) + matching;
    case v1::Rule::kNormSpike:
      return static_cast<int64_t>(sizeof(NormSpike)) + matching + NormSpike::HistoryBytes(rule, tensor_names);
    case v1::Rule::kLossJump:
      return static_cast<int64_t>(sizeof(LossJump)) + History::Bytes(rule.loss_jump().window());
    case v1::Rule::kUpdateRatio:
      return static_cast<int64_t>(sizeof(UpdateRatio)) + matching +
             UpdateRatio::StepBytes(static_cast<int64_t>(MatchingTensors(rule, tensor_names).size()));
    default:
      return 0;
  }
}

std::vector<int> MatchingTensors(const v1::Rule& rule, const std::vector<std::string>& tensor_names) {
  std::vector<int> matching;
  matching.reserve(tensor_names.size());
  for (size_t i = 0; i < tensor_names.size(); ++i) {
    if (rule.tensors().empty() || GlobMatches(rule.tensors(), tensor_names[i])) matching.push_back(static_cast<int>(i));
  }
  return matching;
}

}  // namespace gradwatch::core
