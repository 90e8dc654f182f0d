// Images or vectors with labels, from a pair of IDX files, walked in shuffled epochs.
#ifndef GRADWATCH_CORE_DATA_IDX_SOURCE_H_
#define GRADWATCH_CORE_DATA_IDX_SOURCE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/data/data_source.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// INVALID_ARGUMENT: a file is malformed, the files have different numbers of examples, a label is not below the number
// of classes, or the range is outside the file; NOT_FOUND: no such file. OUT_OF_RANGE: see OpenData.
// Violations are relative to the IdxData.
absl::StatusOr<std::unique_ptr<DataSource>> OpenIdx(const v1::IdxData& spec, int64_t batch_size, int64_t held_out,
                                                    uint64_t seed, const DataReading& reading);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_IDX_SOURCE_H_
