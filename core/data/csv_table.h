// Reads columns of numbers from comma-separated text, with errors that name line and column.
#ifndef GRADWATCH_CORE_DATA_CSV_TABLE_H_
#define GRADWATCH_CORE_DATA_CSV_TABLE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/data/byte_source.h"

namespace gradwatch::core {

// A table in a source of bytes, of which no more than a block is held. Cells are separated by commas and may stand in
// double quotes, with "" for a quote inside; lines are those of LineReader, empty ones are skipped. The first line is a
// header if none of its cells is a number. Thread-compatible.
class CsvTable {
 public:
  // Reads the first line and looks at the first block. INVALID_ARGUMENT: there is no line, or a quote in the first one
  // is not closed.
  static absl::StatusOr<CsvTable> Open(std::unique_ptr<ByteSource> file);

  // The column that `name` names: a name of the header, else a position from 0. INVALID_ARGUMENT: there is none, or the
  // header has the name twice.
  absl::StatusOr<int> FindColumn(absl::string_view name) const;

  // How many data lines a table of `bytes` has if they are all like those of its first block.
  int64_t EstimateRows(int64_t bytes) const;

  // Reads the table from its start and calls `visit` with the numbers of `columns` in every data line, until it returns
  // false. INVALID_ARGUMENT: a line with more or fewer cells than the first, a quote that is not closed, or a number
  // that is not finite as a float, with its line and column.
  absl::Status ForEachRow(std::span<const int> columns, absl::FunctionRef<bool(std::span<const double>)> visit);

  // Data lines, whatever they hold.
  absl::StatusOr<int64_t> CountRows();

 private:
  explicit CsvTable(std::unique_ptr<ByteSource> file) : file_(std::move(file)) {}
  absl::Status ReadStart();
  // "line 3, column 2 (price)".
  std::string Place(int64_t line, int column) const;
  absl::Status ReadNumbers(int64_t line, absl::Span<const absl::string_view> cells, std::span<const int> columns,
                           std::span<double> numbers) const;

  std::unique_ptr<ByteSource> file_;
  bool has_header_ = false;
  std::vector<std::string> first_line_;
  int64_t sampled_lines_ = 0, sampled_bytes_ = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_CSV_TABLE_H_
