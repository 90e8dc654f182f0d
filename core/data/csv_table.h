// Reads columns of numbers from comma-separated text, with errors that name line and column.
#ifndef GRADWATCH_CORE_DATA_CSV_TABLE_H_
#define GRADWATCH_CORE_DATA_CSV_TABLE_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwatch::core {

// A table over text that must outlive it. Cells are separated by commas and may stand in double quotes, with "" for a
// quote inside; lines end with LF or CR LF; empty lines are skipped. The first line is a header if none of its cells is
// a number.
class CsvTable {
 public:
  // INVALID_ARGUMENT: there is no line, or a quote in the first one is not closed.
  static absl::StatusOr<CsvTable> Open(absl::string_view text);

  // The column that `name` names: a name of the header, else a position from 0. INVALID_ARGUMENT: there is none, or the
  // header has the name twice.
  absl::StatusOr<int> FindColumn(absl::string_view name) const;

  // Calls `visit` with the numbers of `columns` in every data line. INVALID_ARGUMENT: a line with more or fewer cells
  // than the first, a quote that is not closed, or a number that is not finite as a float, with its line and column.
  absl::Status ForEachRow(std::span<const int> columns, absl::FunctionRef<void(std::span<const double>)> visit) const;

 private:
  // "line 3, column 2 (price)".
  std::string Place(int64_t line, int column) const;

  absl::string_view text_;
  bool has_header_ = false;
  std::vector<std::string> first_line_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_CSV_TABLE_H_
