// A data source with one batch that is spoilt on purpose, to rehearse alarms and what they make a trainer do.
#ifndef GRADWATCH_CORE_DATA_BAD_BATCH_H_
#define GRADWATCH_CORE_DATA_BAD_BATCH_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/data/data_source.h"

namespace gradwatch::core {

// `source`, whose batches have `batch_size` examples, with the inputs of one batch multiplied; holds a second batch.
// INVALID_ARGUMENT: a field is out of range, or the inputs are tokens. Violations are relative to the BadBatch.
absl::StatusOr<std::unique_ptr<DataSource>> SpoilBatch(const v1::BadBatch& spec, int64_t batch_size,
                                                       std::unique_ptr<DataSource> source);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_BAD_BATCH_H_
