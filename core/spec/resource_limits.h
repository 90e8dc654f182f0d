// Counts what a job needs and compares it with what it may need.
#ifndef GRADWATCH_CORE_SPEC_RESOURCE_LIMITS_H_
#define GRADWATCH_CORE_SPEC_RESOURCE_LIMITS_H_

#include "absl/status/status.h"
#include "core/nn/network.h"
#include "core/spec/job_spec.h"

namespace gradwatch::core {

// What a job of this resolved spec needs with its network and so much data, as it starts; nothing has to be initialised
// for it.
v1::ResourceEstimate EstimateResources(const Network<float>& network, const v1::JobSpec& spec, int64_t data_bytes);

// INVALID_ARGUMENT, with the reason QUOTA_PARAMS or QUOTA_MEMORY and the field "model" or "data", if `estimate` is
// beyond the limits. The message names the largest tensor of `layout`.
absl::Status CheckLimits(const v1::ResourceEstimate& estimate, const ParameterLayout& layout, const SpecLimits& limits);

// Whether `job` stays within the limit of memory if its controls become `changed`: switched on, the cosine of gradients
// takes a copy of them, which the estimate has only if the spec asks for it. INVALID_ARGUMENT with the reason
// QUOTA_MEMORY and the field "gradient_cosine" if not.
absl::Status CheckControlsMemory(const v1::Job& job, const v1::Controls& changed, const SpecLimits& limits);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_SPEC_RESOURCE_LIMITS_H_
