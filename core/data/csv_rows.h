// The numbers of a table, row after row.
#ifndef GRADWATCH_CORE_DATA_CSV_ROWS_H_
#define GRADWATCH_CORE_DATA_CSV_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/data/csv_table.h"
#include "core/data/data_source.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// Positions of the columns that a spec names.
struct CsvColumns {
  std::vector<int> all;  // inputs, then targets
  size_t inputs = 0;
};

// Only their count if they are checked and not kept.
struct CsvRows {
  std::vector<float> inputs{};   // [rows, inputs]
  std::vector<float> targets{};  // [rows, targets]
  int64_t count = 0;
};

// Bytes that `rows` rows of the columns that `spec` names take when they are kept.
int64_t CsvRowBytes(const v1::CsvData& spec, int64_t rows);

// Reads a table once, or three times where columns are to be scaled, and keeps nothing. Ends as soon as there are more
// rows than the limit of memory allows.
// INVALID_ARGUMENT: that (QUOTA_MEMORY), the table cannot be read, a class is none (a whole number from 0 to below
// `spec.classes`, where that is set), or else a target is not in [0, 1] where `reading.targets` are probabilities.
// Violations are relative to the CsvData.
absl::StatusOr<CsvRows> CheckCsvRows(const v1::CsvData& spec, CsvTable& table, const CsvColumns& columns,
                                     int64_t held_out, const DataReading& reading);

// Reads a table two or three times, each time to its end: to count its rows, to measure columns that are to be scaled
// (over all rows but the last `held_out`; neither classes nor probabilities are), and to keep them. INVALID_ARGUMENT as
// above, or the table is not the same each time.
absl::StatusOr<CsvRows> ReadCsvRows(const v1::CsvData& spec, CsvTable& table, const CsvColumns& columns,
                                    int64_t held_out, const DataReading& reading);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_CSV_ROWS_H_
