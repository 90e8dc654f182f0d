// Checks a job before it is accepted, fills in its defaults and counts what it needs. The same code runs in the server
// and in the worker.
#ifndef GRADWATCH_CORE_SPEC_JOB_SPEC_H_
#define GRADWATCH_CORE_SPEC_JOB_SPEC_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/data/data_root.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// What a job may need at most.
struct SpecLimits {
  int64_t max_parameters = 100'000'000;
  int64_t max_bytes = int64_t{8} << 30;  // all that its process takes, see ResourceEstimate
};

// A job that can run.
struct ValidatedJob {
  v1::JobSpec spec;  // defaults filled in
  v1::ResourceEstimate estimate;
  v1::DataSummary data;                 // what was found in the data
  std::vector<v1::TensorInfo> tensors;  // in arena order
};

// Checks everything about a spec that can be known before it runs: fields, data files (they are read through, in
// blocks), shapes, limits. Takes no memory for model or data. The spec that comes back has the defaults of controls,
// optimizer and rules filled in, and says whether the first line of a table is a header; the other defaults of model
// and data belong to the code that reads them. INVALID_ARGUMENT with the path of every wrong field
// ("model.layers[2].dense.units") and its value; NOT_FOUND for a missing data file; INVALID_ARGUMENT for more
// parameters (reason QUOTA_PARAMS) or memory (QUOTA_MEMORY) than the limits; RESOURCE_EXHAUSTED (OUT_OF_MEMORY) if
// memory runs out. Parts of the vocabulary that are not served yet are refused, saying so. A job of a foreign program
// (`external`) has no tensors, no data and an empty estimate; what is about how to train is refused. Its rules are
// filled in all the same: the program is told them, and judges them.
absl::StatusOr<ValidatedJob> ValidateJob(const v1::JobSpec& spec, const DataRoots& roots, const SpecLimits& limits);

// The part of it that is about what UpdateJob may change: display name, labels and retention. INVALID_ARGUMENT with the
// path of every wrong field.
absl::Status ValidateChangeable(const v1::JobSpec& spec);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_SPEC_JOB_SPEC_H_
