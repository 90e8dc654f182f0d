// Rows of a table, or windows of consecutive rows, walked in shuffled epochs.
#ifndef GRADWATCH_CORE_DATA_CSV_SOURCE_H_
#define GRADWATCH_CORE_DATA_CSV_SOURCE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/data/data_source.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// The file is plain or gzipped. INVALID_ARGUMENT: it is undecided whether the first line is a header, a column is not
// there, a cell is not a finite number, a class or a probability where it must be, or the table is too short;
// NOT_FOUND: no such file. OUT_OF_RANGE: see OpenData. Violations are relative to the CsvData.
absl::StatusOr<std::unique_ptr<DataSource>> OpenCsv(const v1::CsvData& spec, int64_t batch_size, int64_t held_out,
                                                    uint64_t seed, const DataReading& reading);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_CSV_SOURCE_H_
