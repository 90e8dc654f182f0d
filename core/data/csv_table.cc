#include "core/data/csv_table.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/decimal.h"
#include "core/base/status_macros.h"
#include "core/data/csv_header.h"

namespace gradwatch::core {
namespace {

constexpr int kMaxShownCell = 40;       // characters of a wrong cell in a message
constexpr size_t kMaxNotedCells = 10;   // of the first line, in the note
constexpr size_t kMaxListedCells = 20;  // in an error

std::string Quoted(absl::string_view text) { return absl::StrCat("\"", Shortened(text, kMaxShownCell), "\""); }

absl::Status CommentError(int64_t line) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, " looks like a comment; tables must not have any"));
}

std::string SeparatorHint(absl::string_view cell) {
  const absl::string_view separator = OtherSeparator(cell);
  if (separator.empty()) return "";
  return absl::StrCat("; cells seem to be separated by ", separator, "; they must be separated by commas");
}

// What is wrong with a cell that is not a number within the range of float.
std::string CellTrouble(absl::string_view text) {
  if (text.empty()) return " is empty";
  if (ParseDecimal(text).has_value()) return absl::StrCat(": ", Quoted(text), " is too large for a float");
  if (IsHexadecimal(text)) return absl::StrCat(": ", Quoted(text), " is hexadecimal; numbers must be decimal");
  if (IsNonFiniteWord(text)) return absl::StrCat(": ", Quoted(text), " is not a finite number");
  return absl::StrCat(": ", Quoted(text), " is not a number", SeparatorHint(text));
}

// As SplitCsvLine, with the number of the line in errors.
absl::Status Split(int64_t number, absl::string_view line, std::vector<CsvCell>* cells) {
  const absl::Status status = SplitCsvLine(line, cells);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", status.message()));
}

}  // namespace

absl::StatusOr<CsvTable> CsvTable::Open(std::unique_ptr<ByteSource> file, v1::CsvData::Header header) {
  CsvTable table(std::move(file), header);
  GW_RETURN_IF_ERROR(table.ReadStart());
  return table;
}

absl::Status CsvTable::ReadStart() {
  LineReader lines(file_.get());
  absl::string_view line;
  GW_ASSIGN_OR_RETURN(const bool any, lines.Next(&line));
  if (!any) return absl::InvalidArgumentError("empty");
  std::vector<CsvCell> cells;
  GW_RETURN_IF_ERROR(TakeFirstLine(lines.number(), line, &cells));
  JudgeFirstLine(cells, lines);
  return absl::OkStatus();
}

absl::Status CsvTable::TakeFirstLine(int64_t number, absl::string_view line, std::vector<CsvCell>* cells) {
  first_number_ = number;
  starts_as_comment_ = LooksLikeComment(line);
  if (const absl::Status status = Split(number, line, cells); !status.ok()) {
    return starts_as_comment_ ? CommentError(number) : status;
  }
  for (const CsvCell& cell : *cells) first_line_.push_back(cell.Value());
  return absl::OkStatus();
}

void CsvTable::JudgeFirstLine(absl::Span<const CsvCell> first_line, LineReader& lines) {
  FirstLineJudge judge(first_line);
  const int64_t first_bytes = lines.position();
  std::vector<CsvCell> cells;
  for (absl::string_view line; lines.position() < kReadBlock / 2; ++sampled_lines_) {
    // What is wrong with a later line is told when the rows are read.
    const absl::StatusOr<bool> more = lines.Next(&line);
    if (!more.ok() || !*more) break;
    if (judge.wants_lines() && SplitCsvLine(line, &cells).ok()) judge.ShowLine(lines.number(), cells);
  }
  const FirstLineVerdict verdict = judge.Verdict();
  has_header_ = is_told() ? header_ == v1::CsvData::HEADER_YES : verdict.is_header;
  if (!is_told()) note_ = NoteOf(verdict.reason);
  sampled_bytes_ = has_header_ ? lines.position() - first_bytes : lines.position();
  if (!has_header_) ++sampled_lines_;
}

std::string CsvTable::NoteOf(absl::string_view reason) const {
  if (!has_header_) {
    return absl::StrCat("the first line is read as data, since ", reason, " (csv.header: yes makes it a header)");
  }
  return absl::StrCat("the first line is read as a header: ", ListCells(first_line_, kMaxNotedCells),
                      " (csv.header: no makes it data)");
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
      return absl::InvalidArgumentError(
          absl::StrCat("two columns are named ", Quoted(name), "; give a position from 0"));
    }
  }
  int position;
  if (absl::SimpleAtoi(name, &position) && position >= 0 && position < static_cast<int>(first_line_.size())) {
    return position;
  }
  return NoColumn(name);
}

absl::Status CsvTable::NoColumn(absl::string_view name) const {
  const absl::string_view remedy = is_told() ? "" : " (csv.header: yes makes it a header)";
  const std::string first_line =
      has_header_ ? "a header: " : absl::StrCat("data", remedy, ", so that columns have no names: ");
  return absl::InvalidArgumentError(absl::StrCat(
      "no column ", Quoted(name), " among ", first_line_.size(), first_line_.size() == 1 ? " column" : " columns",
      "; the first line is read as ", first_line, ListCells(first_line_, kMaxListedCells), "; positions are from 0 to ",
      first_line_.size() - 1, Hint()));
}

std::string CsvTable::Hint() const {
  if (starts_as_comment_) return absl::StrCat("; ", CommentError(first_number_).message());
  return first_line_.size() == 1 ? SeparatorHint(first_line_[0]) : "";
}

absl::Status CsvTable::ForEachRow(std::span<const int> columns,
                                  absl::FunctionRef<bool(std::span<const double>)> visit) {
  GW_RETURN_IF_ERROR(file_->Rewind());
  LineReader lines(file_.get());
  std::vector<CsvCell> cells;
  std::vector<double> numbers(columns.size());
  bool is_header = has_header_;
  for (absl::string_view line;;) {
    GW_ASSIGN_OR_RETURN(const bool more, lines.Next(&line));
    if (!more) return absl::OkStatus();
    if (std::exchange(is_header, false)) continue;
    absl::Status status = Split(lines.number(), line, &cells);
    if (status.ok()) status = ReadNumbers(lines.number(), cells, columns, numbers);
    if (!status.ok()) return LooksLikeComment(line) ? CommentError(lines.number()) : status;
    if (!visit(numbers)) return absl::OkStatus();
  }
}

absl::Status CsvTable::ReadNumbers(int64_t line, absl::Span<const CsvCell> cells, std::span<const int> columns,
                                   std::span<double> numbers) const {
  if (cells.size() != first_line_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", cells.size(), " cells, expected ",
                                                   first_line_.size(), " as in the first line", Hint()));
  }
  for (size_t i = 0; i < columns.size(); ++i) {
    const absl::string_view text = absl::StripAsciiWhitespace(cells[columns[i]].text);
    const std::optional<double> number = ParseDecimal(text);
    if (!number.has_value() || !std::isfinite(static_cast<float>(*number))) {
      return absl::InvalidArgumentError(absl::StrCat(Place(line, columns[i]), CellTrouble(text)));
    }
    numbers[i] = *number;
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
  if (has_header_) absl::StrAppend(&place, " (", Shortened(first_line_[column], kMaxShownCell), ")");
  return place;
}

}  // namespace gradwatch::core
