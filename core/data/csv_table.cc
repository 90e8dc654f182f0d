#include "core/data/csv_table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "core/base/status_macros.h"
#include "core/base/utf8.h"
#include "core/data/line_reader.h"

namespace gradwatch::core {
namespace {

constexpr size_t kMaxCells = 65'536;  // of a line; a line of commas must not take a gigabyte
constexpr size_t kMaxShownCell = 40;  // characters of a wrong cell in a message

// Takes the next cell off `line`, quotes removed; false if a quote is not closed.
bool TakeCell(absl::string_view* line, absl::string_view* cell) {
  size_t end;
  if (absl::ConsumePrefix(line, "\"")) {
    end = line->find('"');
    while (end != absl::string_view::npos && end + 1 < line->size() && (*line)[end + 1] == '"') {
      end = line->find('"', end + 2);
    }
    if (end == absl::string_view::npos) return false;
    *cell = line->substr(0, end);
    line->remove_prefix(end + 1);
    return line->empty() || (*line)[0] == ',';
  }
  end = std::min(line->find(','), line->size());
  *cell = absl::StripAsciiWhitespace(line->substr(0, end));
  line->remove_prefix(end);
  return true;
}

absl::Status SplitLine(int64_t number, absl::string_view line, std::vector<absl::string_view>* cells) {
  cells->clear();
  for (;;) {
    absl::string_view cell;
    if (!TakeCell(&line, &cell)) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": a quote is not closed, or text follows it"));
    }
    if (cells->size() == kMaxCells) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": more than ", kMaxCells, " cells"));
    }
    cells->push_back(cell);
    if (!absl::ConsumePrefix(&line, ",")) return absl::OkStatus();
  }
}

// The standard library's reader is three times as fast; Abseil's takes what it does not: a plus sign, space, numbers
// that are too small.
bool ReadNumber(absl::string_view cell, double* number) {
  const char* const end = cell.data() + cell.size();
  const std::from_chars_result result = std::from_chars(cell.data(), end, *number);
  return (result.ec == std::errc() && result.ptr == end) || absl::SimpleAtod(cell, number);
}

bool IsNumber(absl::string_view cell) {
  double ignored;
  return ReadNumber(cell, &ignored);
}

}  // namespace

absl::StatusOr<CsvTable> CsvTable::Open(std::unique_ptr<ByteSource> file) {
  CsvTable table(std::move(file));
  GW_RETURN_IF_ERROR(table.ReadStart());
  return table;
}

absl::Status CsvTable::ReadStart() {
  LineReader lines(file_.get());
  absl::string_view line;
  GW_ASSIGN_OR_RETURN(const bool any, lines.Next(&line));
  if (!any) return absl::InvalidArgumentError("empty");
  std::vector<absl::string_view> cells;
  GW_RETURN_IF_ERROR(SplitLine(lines.number(), line, &cells));
  has_header_ = std::none_of(cells.begin(), cells.end(), IsNumber);
  for (const absl::string_view cell : cells) first_line_.push_back(absl::StrReplaceAll(cell, {{"\"\"", "\""}}));
  const int64_t start = has_header_ ? lines.position() : 0;
  sampled_lines_ = has_header_ ? 0 : 1;
  while (lines.position() < kReadBlock / 2) {
    // What is wrong with a later line is told when the rows are read.
    const absl::StatusOr<bool> more = lines.Next(&line);
    if (!more.ok() || !*more) break;
    ++sampled_lines_;
  }
  sampled_bytes_ = lines.position() - start;
  return absl::OkStatus();
}

int64_t CsvTable::EstimateRows(int64_t bytes) const {
  if (sampled_bytes_ == 0) return 0;
  return static_cast<int64_t>(static_cast<double>(bytes) / static_cast<double>(sampled_bytes_) *
                              static_cast<double>(sampled_lines_));
}

absl::StatusOr<int> CsvTable::FindColumn(absl::string_view name) const {
  if (has_header_) {
    const auto found = std::find(first_line_.begin(), first_line_.end(), name);
    if (found != first_line_.end()) {
      if (std::find(found + 1, first_line_.end(), name) == first_line_.end()) {
        return static_cast<int>(found - first_line_.begin());
      }
      return absl::InvalidArgumentError(absl::StrCat("two columns are named \"", name, "\"; give a position from 0"));
    }
  }
  int position;
  if (absl::SimpleAtoi(name, &position) && position >= 0 && position < static_cast<int>(first_line_.size())) {
    return position;
  }
  return absl::InvalidArgumentError(absl::StrCat("no column \"", name, "\" among ", first_line_.size(), " columns",
                                                 has_header_ ? "" : " without a header"));
}

absl::Status CsvTable::ForEachRow(std::span<const int> columns,
                                  absl::FunctionRef<bool(std::span<const double>)> visit) {
  GW_RETURN_IF_ERROR(file_->Rewind());
  LineReader lines(file_.get());
  std::vector<absl::string_view> cells;
  std::vector<double> numbers(columns.size());
  bool is_header = has_header_;
  for (absl::string_view line;;) {
    GW_ASSIGN_OR_RETURN(const bool more, lines.Next(&line));
    if (!more) return absl::OkStatus();
    if (std::exchange(is_header, false)) continue;
    GW_RETURN_IF_ERROR(SplitLine(lines.number(), line, &cells));
    GW_RETURN_IF_ERROR(ReadNumbers(lines.number(), cells, columns, numbers));
    if (!visit(numbers)) return absl::OkStatus();
  }
}

absl::Status CsvTable::ReadNumbers(int64_t line, absl::Span<const absl::string_view> cells,
                                   std::span<const int> columns, std::span<double> numbers) const {
  if (cells.size() != first_line_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", cells.size(), " cells, expected ",
                                                   first_line_.size(), " as in the first line"));
  }
  for (size_t i = 0; i < columns.size(); ++i) {
    const absl::string_view cell = cells[columns[i]];
    if (ReadNumber(cell, &numbers[i]) && std::isfinite(static_cast<float>(numbers[i]))) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        Place(line, columns[i]), ": \"", Printable(cell.substr(0, kMaxShownCell)), "\" is not a finite number"));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> CsvTable::CountRows() {
  GW_RETURN_IF_ERROR(file_->Rewind());
  LineReader lines(file_.get());
  int64_t count = has_header_ ? -1 : 0;
  for (absl::string_view line;; ++count) {
    GW_ASSIGN_OR_RETURN(const bool more, lines.Next(&line));
    if (!more) return count;
  }
}

std::string CsvTable::Place(int64_t line, int column) const {
  std::string place = absl::StrCat("line ", line, ", column ", column);
  if (has_header_) absl::StrAppend(&place, " (", first_line_[column], ")");
  return place;
}

}  // namespace gradwatch::core
