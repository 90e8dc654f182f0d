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
      return nullptr;  // refused by ValidateRules
  }
}

std::vector<int> MatchingTensors(const v1::Rule& rule, const std::vector<std::string>& tensor_names) {
  std::vector<int> matching;
  for (size_t i = 0; i < tensor_names.size(); ++i) {
    if (rule.tensors().empty() || GlobMatches(rule.tensors(), tensor_names[i])) matching.push_back(static_cast<int>(i));
  }
  return matching;
}

}  // namespace gradwatch::core
