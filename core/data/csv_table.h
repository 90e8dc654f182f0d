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
#include "core/data/csv_line.h"
#include "core/data/line_reader.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// A table in a source of bytes, of which no more than a block is held. Lines are those of LineReader, empty ones are
// skipped; cells are those of SplitCsvLine. Numbers are those of ParseDecimal, also in quotes and with space around
// them.
//
// The first line is a header, or data, if that is said (YES, NO). AUTO judges by its cells:
// - all are numbers: data; none is one: a header ("nan", "inf" and an empty cell are no numbers);
// - some are numbers: data if one of these has a point, an exponent or a sign (names such as 2019 have not); else data
//   if a cell that is neither a number nor empty stands again in its column within the first 128 KiB; else a header.
// Thread-compatible.
class CsvTable {
 public:
  // Reads the first line and looks at the first block. INVALID_ARGUMENT: there is no line, or the first one cannot be
  // split.
  static absl::StatusOr<CsvTable> Open(std::unique_ptr<ByteSource> file,
                                       v1::CsvData::Header header = v1::CsvData::HEADER_AUTO);

  // Whether the first line is a header.
  bool has_header() const { return has_header_; }
  // For people: how the first line was read and why, printable; empty if that was said.
  const std::string& note() const { return note_; }

  // The column that `name` names: a name of the header, else a position from 0. INVALID_ARGUMENT: there is none, which
  // tells those that there are, or the header has the name twice.
  absl::StatusOr<int> FindColumn(absl::string_view name) const;

  // How many data lines a table of `bytes` has if they are all like those of its first block.
  int64_t EstimateRows(int64_t bytes) const;

  // Reads the table from its start and calls `visit` with the numbers of `columns` in every data line, until it returns
  // false. INVALID_ARGUMENT: a line with more or fewer cells than the first or that cannot be split, or a cell that is
  // no decimal number within the range of float, with its line and column.
  absl::Status ForEachRow(std::span<const int> columns, absl::FunctionRef<bool(std::span<const double>)> visit);

  // Data lines, whatever they hold.
  absl::StatusOr<int64_t> CountRows();

 private:
  CsvTable(std::unique_ptr<ByteSource> file, v1::CsvData::Header header) : file_(std::move(file)), header_(header) {}
  absl::Status ReadStart();
  absl::Status TakeFirstLine(int64_t number, absl::string_view line, std::vector<CsvCell>* cells);
  // Reads on to the end of the first block and says what the first line is.
  void JudgeFirstLine(absl::Span<const CsvCell> first_line, LineReader& lines);
  // Whether the first line is what the spec says.
  bool is_told() const { return header_ == v1::CsvData::HEADER_YES || header_ == v1::CsvData::HEADER_NO; }
  std::string NoteOf(absl::string_view reason) const;
  absl::Status NoColumn(absl::string_view name) const;
  // "line 3, column 1 (price)".
  std::string Place(int64_t line, int column) const;
  // Why a line that was expected to be one of the table perhaps is not: "; cells seem to be separated by ';'...".
  std::string Hint() const;
  absl::Status ReadNumbers(int64_t line, absl::Span<const CsvCell> cells, std::span<const int> columns,
                           std::span<double> numbers) const;

  std::unique_ptr<ByteSource> file_;
  v1::CsvData::Header header_;
  bool has_header_ = false;
  std::string note_;
  std::vector<std::string> first_line_;
  int64_t first_number_ = 0;        // of the first line, from 1
  bool starts_as_comment_ = false;  // the first line does
  int64_t sampled_lines_ = 0, sampled_bytes_ = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_CSV_TABLE_H_
