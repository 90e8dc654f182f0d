#include "core/detect/condition.h"

#include "core/base/glob.h"
#include "core/detect/layer_rules.h"
#include "core/detect/loss_rules.h"
#include "core/detect/non_finite.h"
#include "core/detect/norm_rules.h"
#include "core/detect/series_rules.h"
#include "core/detect/update_rules.h"

namespace gradwatch::core {
namespace {

// Hands the class of a rule's condition to `use`, as a null pointer to it; nothing for stalls, which the server judges.
template <typename Use>
void WithClass(const v1::Rule& rule, Use use) {
  switch (rule.condition_case()) {
    case v1::Rule::kNonFinite:
      return use(static_cast<NonFinite*>(nullptr));
    case v1::Rule::kNormLimit:
      return use(static_cast<NormLimit*>(nullptr));
    case v1::Rule::kNormSpike:
      return use(static_cast<NormSpike*>(nullptr));
    case v1::Rule::kNormGrowth:
      return use(static_cast<NormGrowth*>(nullptr));
    case v1::Rule::kLossJump:
      return use(static_cast<LossJump*>(nullptr));
    case v1::Rule::kLossDivergence:
      return use(static_cast<LossDivergence*>(nullptr));
    case v1::Rule::kLossCollapse:
      return use(static_cast<LossCollapse*>(nullptr));
    case v1::Rule::kJointGrowth:
      return use(static_cast<JointGrowth*>(nullptr));
    case v1::Rule::kUpdateRatio:
      return use(static_cast<UpdateRatio*>(nullptr));
    case v1::Rule::kOvershoot:
      return use(static_cast<Overshoot*>(nullptr));
    case v1::Rule::kUpdateGrowth:
      return use(static_cast<UpdateGrowth*>(nullptr));
    case v1::Rule::kFirstStep:
      return use(static_cast<FirstStep*>(nullptr));
    case v1::Rule::kVanishing:
      return use(static_cast<Vanishing*>(nullptr));
    case v1::Rule::kGrowth:
      return use(static_cast<Growth*>(nullptr));
    case v1::Rule::kSaturation:
      return use(static_cast<Saturation*>(nullptr));
    case v1::Rule::kAttention:
      return use(static_cast<Attention*>(nullptr));
    case v1::Rule::kFrozen:
      return use(static_cast<Frozen*>(nullptr));
    case v1::Rule::kSeries:
      return use(static_cast<Series*>(nullptr));
    case v1::Rule::kDrift:
      return use(static_cast<Drift*>(nullptr));
    case v1::Rule::kNoProgress:
      return use(static_cast<NoProgress*>(nullptr));
    case v1::Rule::kClipping:
      return use(static_cast<Clipping*>(nullptr));
    case v1::Rule::kStall:
    case v1::Rule::CONDITION_NOT_SET:
      return;
  }
}

}  // namespace

std::unique_ptr<Condition> MakeCondition(const v1::Rule& rule, const std::vector<std::string>& tensor_names) {
  std::unique_ptr<Condition> condition;
  WithClass(rule, [&]<typename Class>(Class*) { condition = std::make_unique<Class>(rule, tensor_names); });
  return condition;
}

int64_t ConditionBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names) {
  int64_t bytes = 0;
  WithClass(rule, [&]<typename Class>(Class*) {
    bytes = static_cast<int64_t>(sizeof(Class)) + Class::HistoryBytes(rule, tensor_names) +
            static_cast<int64_t>(tensor_names.size() * sizeof(int));  // see MatchingTensors
  });
  return bytes;
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
