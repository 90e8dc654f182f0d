#include "core/data/csv_table.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "core/base/status_macros.h"

namespace gradwatch::core {
namespace {

constexpr size_t kMaxShownCell = 40;  // characters of a wrong cell in a message

// Takes lines off a text; counts them from 1.
class LineReader {
 public:
  explicit LineReader(absl::string_view text) : rest_(text) { absl::ConsumePrefix(&rest_, "\xef\xbb\xbf"); }

  // The next line that is not empty; false at the end.
  bool Next(absl::string_view* line) {
    while (!rest_.empty()) {
      const size_t end = std::min(rest_.find('\n'), rest_.size());
      *line = absl::StripTrailingAsciiWhitespace(rest_.substr(0, end));
      rest_.remove_prefix(std::min(end + 1, rest_.size()));
      ++number_;
      if (!line->empty()) return true;
    }
    return false;
  }
  int64_t number() const { return number_; }

 private:
  absl::string_view rest_;
  int64_t number_ = 0;
};

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

bool SplitLine(absl::string_view line, std::vector<absl::string_view>* cells) {
  cells->clear();
  for (;;) {
    absl::string_view cell;
    if (!TakeCell(&line, &cell)) return false;
    cells->push_back(cell);
    if (!absl::ConsumePrefix(&line, ",")) return true;
  }
}

bool IsNumber(absl::string_view cell) {
  double ignored;
  return absl::SimpleAtod(cell, &ignored);
}

absl::Status BadQuotes(int64_t line) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, ": a quote is not closed, or text follows it"));
}

}  // namespace

absl::StatusOr<CsvTable> CsvTable::Open(absl::string_view text) {
  LineReader lines(text);
  absl::string_view line;
  if (!lines.Next(&line)) return absl::InvalidArgumentError("empty");
  std::vector<absl::string_view> cells;
  if (!SplitLine(line, &cells)) return BadQuotes(lines.number());
  CsvTable table;
  table.text_ = text;
  table.has_header_ = std::none_of(cells.begin(), cells.end(), IsNumber);
  for (const absl::string_view cell : cells) table.first_line_.push_back(absl::StrReplaceAll(cell, {{"\"\"", "\""}}));
  return table;
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
                                  absl::FunctionRef<void(std::span<const double>)> visit) const {
  LineReader lines(text_);
  absl::string_view line;
  if (has_header_) lines.Next(&line);
  std::vector<absl::string_view> cells;
  std::vector<double> numbers(columns.size());
  while (lines.Next(&line)) {
    if (!SplitLine(line, &cells)) return BadQuotes(lines.number());
    if (cells.size() != first_line_.size()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", lines.number(), ": ", cells.size(), " cells, expected ",
                                                     first_line_.size(), " as in the first line"));
    }
    for (size_t i = 0; i < columns.size(); ++i) {
      const absl::string_view cell = cells[columns[i]];
      if (!absl::SimpleAtod(cell, &numbers[i]) || !std::isfinite(static_cast<float>(numbers[i]))) {
        return absl::InvalidArgumentError(absl::StrCat(Place(lines.number(), columns[i]), ": \"",
                                                       cell.substr(0, kMaxShownCell), "\" is not a finite number"));
      }
    }
    visit(numbers);
  }
  return absl::OkStatus();
}

std::string CsvTable::Place(int64_t line, int column) const {
  std::string place = absl::StrCat("line ", line, ", column ", column);
  if (has_header_) absl::StrAppend(&place, " (", first_line_[column], ")");
  return place;
}

}  // namespace gradwatch::core
