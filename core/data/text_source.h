// Text read character by character: random windows, the target being the next character.
#ifndef GRADWATCH_CORE_DATA_TEXT_SOURCE_H_
#define GRADWATCH_CORE_DATA_TEXT_SOURCE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/data/data_source.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// The file is plain or gzipped. INVALID_ARGUMENT: not UTF-8, NUL bytes, fewer than sequence_length + 1 characters, or
// fewer than 2 or more than 65,536 different ones; NOT_FOUND: no such file. OUT_OF_RANGE: see OpenData.
// Violations are relative to the TextData.
absl::StatusOr<std::unique_ptr<DataSource>> OpenText(const v1::TextData& spec, int64_t batch_size, int64_t held_out,
                                                     uint64_t seed, const DataReading& reading);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_TEXT_SOURCE_H_
