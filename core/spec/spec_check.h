// How one process has a spec checked by another: what is asked and what is answered, as bytes.
#ifndef GRADWATCH_CORE_SPEC_SPEC_CHECK_H_
#define GRADWATCH_CORE_SPEC_SPEC_CHECK_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/data/data_root.h"
#include "core/spec/job_spec.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// What is asked: a spec, where its data may lie, what it may need. Both programs are of the same build.
std::string EncodeSpecCheck(const v1::JobSpec& spec, const DataRoots& roots, const SpecLimits& limits);

// Does what was asked and gives the answer.
std::string AnswerSpecCheck(absl::string_view request);

// An error as an answer.
std::string EncodeSpecCheckAnswer(const absl::StatusOr<ValidatedJob>& answer);

// What was answered, with all that a status carries. DATA_LOSS (no reason): these bytes are no answer.
absl::StatusOr<ValidatedJob> DecodeSpecCheckAnswer(absl::string_view answer);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_SPEC_SPEC_CHECK_H_
