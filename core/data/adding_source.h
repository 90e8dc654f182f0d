// The adding problem: sum the two marked numbers of a sequence (Le, Jaitly and Hinton 2015).
#ifndef GRADWATCH_CORE_DATA_ADDING_SOURCE_H_
#define GRADWATCH_CORE_DATA_ADDING_SOURCE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/data/data_source.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// Features of a row: a value from U[0, 1) and a mark, 1 on one step of each half of the sequence. Target: the sum of
// the two marked values. Violations are relative to the AddingTask.
absl::StatusOr<std::unique_ptr<DataSource>> MakeAdding(const v1::AddingTask& spec, int64_t batch_size, uint64_t seed);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_ADDING_SOURCE_H_
