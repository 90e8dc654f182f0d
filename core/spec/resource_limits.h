// Counts what a job needs and compares it with what it may need.
#ifndef GRADWATCH_CORE_SPEC_RESOURCE_LIMITS_H_
#define GRADWATCH_CORE_SPEC_RESOURCE_LIMITS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "core/nn/network.h"
#include "core/spec/job_spec.h"

namespace gradwatch::core {

// What a job of this resolved spec needs with its network and so much data; nothing has to be initialised for it. The
// sum is never below what an attached trainer has resident, but for alerts and other notices that no server takes and
// edits that wait: in most jobs nothing, in a flood some MiB (see client/worker/notice_log.h).
v1::ResourceEstimate EstimateResources(const Network<float>& network, const v1::JobSpec& spec, int64_t data_bytes);

// All bytes of an estimate together; the largest number there is, rather than a wrong one.
int64_t EstimatedBytes(const v1::ResourceEstimate& estimate);

// INVALID_ARGUMENT, with the reason QUOTA_PARAMS or QUOTA_MEMORY, if `estimate` is beyond the limits; the field is what
// can be changed and takes most: "model", "data", "data.batch_size" (of activations, if it is above 1), "rules" or
// "steps". The message names the largest tensor of `layout`, or every part of the memory that matters. A limit that the
// program alone exceeds is said to be one, with no field.
absl::Status CheckLimits(const v1::ResourceEstimate& estimate, const ParameterLayout& layout, int64_t batch_size,
                         const SpecLimits& limits);

// Whether `job` stays within the limit of memory if its controls become `changed`: the cosine of gradients takes a copy
// of them, modes of clipping have histories, and so have rules, over the job's tensors as far as they are known; the
// estimate has what the spec asks for. INVALID_ARGUMENT with the reason QUOTA_MEMORY and the field "gradient_cosine",
// "clip" or "rules", whichever grows most, if not; the message tells all that grow.
absl::Status CheckControlsMemory(const v1::Job& job, const v1::Controls& changed, const SpecLimits& limits);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_SPEC_RESOURCE_LIMITS_H_
