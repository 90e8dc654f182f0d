#include "core/data/csv_line.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/base/decimal.h"
#include "core/base/utf8.h"

namespace gradwatch::core {
namespace {

constexpr size_t kMaxCells = 65'536;  // a line of commas must not take a gigabyte
constexpr int kMaxListed = 24;        // characters of a cell in a list

// Takes a cell off `line`, which stands behind its opening quote.
absl::Status TakeQuoted(absl::string_view* line, CsvCell* cell) {
  size_t end = line->find('"');
  while (end != absl::string_view::npos && end + 1 < line->size() && (*line)[end + 1] == '"') {
    end = line->find('"', end + 2);
  }
  if (end == absl::string_view::npos) {
    return absl::InvalidArgumentError("a quoted cell does not end on its line; line breaks within cells are not read");
  }
  *cell = {.text = line->substr(0, end), .quoted = true};
  *line = absl::StripLeadingAsciiWhitespace(line->substr(end + 1));
  if (line->empty() || line->front() == ',') return absl::OkStatus();
  return absl::InvalidArgumentError("text follows a closing quote");
}

absl::Status TakeCell(absl::string_view* line, CsvCell* cell) {
  absl::string_view start = absl::StripLeadingAsciiWhitespace(*line);
  if (absl::ConsumePrefix(&start, "\"")) {
    *line = start;
    return TakeQuoted(line, cell);
  }
  const size_t end = std::min(line->find(','), line->size());
  *cell = {.text = absl::StripAsciiWhitespace(line->substr(0, end)), .quoted = false};
  line->remove_prefix(end);
  return absl::OkStatus();
}

}  // namespace

std::string CsvCell::Value() const { return quoted ? absl::StrReplaceAll(text, {{"\"\"", "\""}}) : std::string(text); }

absl::Status SplitCsvLine(absl::string_view line, std::vector<CsvCell>* cells) {
  cells->clear();
  for (;;) {
    CsvCell cell;
    if (const absl::Status status = TakeCell(&line, &cell); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("in column ", cells->size() + 1, " ", status.message()));
    }
    if (cells->size() == kMaxCells) return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxCells, " cells"));
    cells->push_back(cell);
    if (!absl::ConsumePrefix(&line, ",")) return absl::OkStatus();
  }
}

bool LooksLikeComment(absl::string_view line) {
  line = absl::StripLeadingAsciiWhitespace(line);
  for (const absl::string_view error : {"#N/A", "#DIV/0!", "#REF!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!"}) {
    if (absl::StartsWith(line, error)) return false;  // a cell, as spreadsheets write what they could not compute
  }
  return absl::StartsWith(line, "#") || absl::StartsWith(line, "%");
}

absl::string_view OtherSeparator(absl::string_view text) {
  if (absl::StrContains(text, ';')) return "';'";
  if (absl::StrContains(text, '\t')) return "a tab";
  if (absl::StrContains(text, '|')) return "'|'";
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ' ', absl::SkipEmpty());
  const auto is_number = [](absl::string_view part) { return ParseDecimal(part).has_value(); };
  return parts.size() > 1 && std::all_of(parts.begin(), parts.end(), is_number) ? "spaces" : "";
}

bool IsPlainInteger(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

std::string Shortened(absl::string_view text, int max_characters) {
  absl::string_view rest = text;
  for (int i = 0; i < max_characters && !rest.empty(); ++i) {
    if (TakeCodePoint(&rest) == kInvalidUtf8) rest.remove_prefix(1);
  }
  return absl::StrCat(Printable(text.substr(0, text.size() - rest.size())), rest.empty() ? "" : "...");
}

std::string ListCells(absl::Span<const std::string> cells, size_t max_cells) {
  std::string list;
  for (size_t i = 0; i < std::min(cells.size(), max_cells); ++i) {
    absl::StrAppend(&list, i == 0 ? "" : ", ");
    const bool bare = !cells[i].empty() && !absl::StrContains(cells[i], ',');
    absl::StrAppend(&list, bare ? "" : "\"", Shortened(cells[i], kMaxListed), bare ? "" : "\"");
  }
  if (cells.size() > max_cells) absl::StrAppend(&list, " and ", cells.size() - max_cells, " more");
  return list;
}

}  // namespace gradwatch::core
