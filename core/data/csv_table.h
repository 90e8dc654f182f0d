// Reads columns of numbers from comma-separated text, with errors that name line and column.
#ifndef GRADWATCH_CORE_DATA_CSV_TABLE_H_
#define GRADWATCH_CORE_DATA_CSV_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/data/byte_source.h"
#include "core/data/csv_line.h"
#include "core/data/line_reader.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// The reason of an error about CsvData.header.
inline constexpr absl::string_view kHeaderUndecided = "HEADER_UNDECIDED";

// A table in a source of bytes, of which no more than a block is held. Lines are those of LineReader, empty ones are
// skipped; cells are those of SplitCsvLine. Numbers are those of ParseDecimal, also in quotes and with space around
// them.
//
// The first line is a header, or data, if that is said (YES, NO). AUTO judges by its cells and by the lines below it:
// those of the 128 KiB after it that have as many cells and are not the same line. A cell is a number (within the range
// of double), missing (empty, or nan, na, n/a, null, none, inf, infinity, <na>, #n/a, #na, missing, ?, -, in any case,
// perhaps with a sign), or a word.
// Its numbers look like names, as years do (2019, 2020 over small numbers), if they are two or more, all of digits
// only, each one more than the one before, and each further from all numbers below it, of which there must be some,
// than ten times the width of those and ten more.
// 1. Words and no numbers: a header.
// 2. Numbers only: a header if all are quoted and there are lines below, where no number is. Undecided if they are
//    0, 1, 2, ..., three or more, or look like names. Else data.
// 3. No words: a header if the first cell is empty and those below it count 0, 1, 2, ... or 1, 2, 3, ... in at least
//    two lines; or if a number is quoted and there are numbers below it, none of them quoted. Else, if the first cell
//    is empty, all others are of digits only, and there are cells below the first one, none of them missing: a header
//    if the numbers look like names, or undecided. Else data.
// 4. Words and numbers: a header by quotes, as in 3. Else evidence is weighed. For data: a number with a point or an
//    exponent; a word that stands again below it; a word with a digit that every cell below, of at least two, is
//    written like: digits where it has digits, letters where it has letters, all else the same. For a header: below
//    some word there are numbers and no words; the numbers look like names. Undecided if there is none or both, and
//    also where data is beside two numbers or more that are digits only, each one more than the one before.
// Undecided is an error. So is a line below that begins with # or % unless the first line does, and a header once more:
// the same line, or all its names that are words if others are digits only. Lines are the same in spite of quotes and
// case if there are words in them; else quotes count, and if not all cells are quoted any line is a row.
// Thread-compatible.
class CsvTable {
 public:
  // Reads the first line and looks at the first block. INVALID_ARGUMENT: there is no line, the first one cannot be
  // split, or it is undecided what it is (reason kHeaderUndecided).
  static absl::StatusOr<CsvTable> Open(std::unique_ptr<ByteSource> file,
                                       v1::CsvData::Header header = v1::CsvData::HEADER_AUTO);

  // Whether the first line is a header.
  bool has_header() const { return has_header_; }
  // For people: how the first line was read and why, printable; empty if that was said.
  const std::string& note() const { return note_; }
  // "; line 1 is read as data (csv.header: ...", for an error about a cell of `line`; empty where that was said or
  // `line` is another one.
  std::string DataHint(int64_t line) const;

  // The column that `name` names: a name of the header, else a position from 0, of digits only; no position where some
  // name of the header is of digits only. INVALID_ARGUMENT: there is none, which lists those that there are unless
  // `*listed` says that an earlier error did, and sets that; or the header has the name twice.
  absl::StatusOr<int> FindColumn(absl::string_view name, bool* listed = nullptr) const;

  // A column, counted from 0, as errors name it: "column 2 (price)", counted from 1 as people do, with its name or,
  // where columns have none, with the position that names it in a spec: "column 2 (position 1)". Printable.
  std::string ColumnText(int column) const;
  // The same in the row that ForEachRow visits: "line 3, column 2 (price)".
  std::string PlaceInRow(int column) const { return Place(row_line_, column); }

  // How many data lines a table of `bytes` has if they are all like those of its first block.
  int64_t EstimateRows(int64_t bytes) const;

  // Reads the table from its start and calls `visit` with the numbers of `columns` in every data line, until it returns
  // false. INVALID_ARGUMENT: a line with more or fewer cells than the first or that cannot be split, or a cell that is
  // no decimal number within the range of float, with its line and column, both counted from 1; a comment, or the
  // header once more.
  absl::Status ForEachRow(std::span<const int> columns, absl::FunctionRef<bool(std::span<const double>)> visit);

  // The line of the row that ForEachRow visits, from 1; empty ones count.
  int64_t row_line() const { return row_line_; }

 private:
  CsvTable(std::unique_ptr<ByteSource> file, v1::CsvData::Header header) : file_(std::move(file)), header_(header) {}
  absl::Status ReadStart();
  absl::Status TakeFirstLine(int64_t number, absl::string_view line, std::vector<CsvCell>* cells);
  // Reads on to the end of the first block and says what the first line is.
  absl::Status JudgeFirstLine(absl::Span<const CsvCell> first_line, LineReader& lines);
  // Whether the name of `column` stands in its cell, quotes and case left aside.
  bool StandsAgain(absl::Span<const CsvCell> cells, size_t column) const;
  bool IsFirstLineAgain(absl::Span<const CsvCell> cells) const;
  // The same, or at least all names that are words, since files with other years may have been joined.
  bool IsHeaderAgain(absl::Span<const CsvCell> cells) const;
  void NoteWords();
  // Whether the first line is what the spec says.
  bool is_told() const { return header_ == v1::CsvData::HEADER_YES || header_ == v1::CsvData::HEADER_NO; }
  absl::Status Undecided() const;
  // "data, since all its cells are numbers"; without the reason where that was said.
  std::string HowRead() const;
  absl::Status NoColumn(absl::string_view name, bool has_positions, bool* listed) const;
  std::string Place(int64_t line, int column) const;
  // Why the first line perhaps is no line of a table: "; line 1 looks like a comment...", or empty.
  std::string FirstLineHint() const;
  // The same, or why all lines perhaps are not: "; cells seem to be separated by ';'...".
  std::string Hint() const;
  // Why a name perhaps is not found: how the names are written.
  std::string NamesHint() const;
  absl::Status ReadNumbers(int64_t line, absl::Span<const CsvCell> cells, std::span<const int> columns,
                           std::span<double> numbers) const;

  std::unique_ptr<ByteSource> file_;
  v1::CsvData::Header header_;
  bool has_header_ = false;
  std::string reason_;  // why it is, or is not; empty if that was said
  std::string note_;
  std::vector<std::string> first_line_;
  std::vector<bool> first_quoted_;  // which of its cells are
  bool has_words_ = false;          // some of its cells are
  std::vector<size_t> words_;       // columns whose names are words, of a header that has numbers too
  int64_t first_number_ = 0;        // of the first line, from 1
  bool starts_as_comment_ = false;  // the first line does
  bool is_title_ = false;           // it seems to stand above the table, whose lines have more cells
  std::string separator_line_;      // it, if it tells spreadsheets the separator: "sep=;"
  absl::string_view separator_;     // within the cells of most lines, which should have none; empty if there is none
  int64_t sampled_lines_ = 0, sampled_bytes_ = 0;
  int64_t row_line_ = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_CSV_TABLE_H_
