#include "core/data/csv_table.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/decimal.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/utf8.h"

namespace gradwatch::core {
namespace {

constexpr int kMaxShownCell = 40;       // characters of a wrong cell in a message
constexpr size_t kMaxNotedCells = 10;   // of the first line, in the note
constexpr size_t kMaxListedCells = 20;  // in an error
constexpr int kMaxReasonCell = 24;      // characters of a cell in the reason of a note
constexpr char kMakeHeader[] = " (csv.header: yes makes it a header)";
constexpr char kNamesReason[] = "each of its numbers is one more than the one before and far from all below it";

std::string Quoted(absl::string_view text) { return absl::StrCat("\"", Shortened(text, kMaxShownCell), "\""); }

absl::Status CommentError(int64_t line) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, " looks like a comment; tables must not have any"));
}

std::string SeparatorHint(absl::string_view separator) {
  if (separator.empty()) return "";
  return absl::StrCat("; cells seem to be separated by ", separator, "; they must be separated by commas");
}

constexpr char kSingleQuotes[] = "; cells are quoted with '; use \" or none";

bool IsSingleQuoted(absl::string_view text) { return text.size() > 1 && text.front() == '\'' && text.back() == '\''; }

// What is wrong with a cell that is not a number within the range of float.
std::string CellTrouble(absl::string_view text) {
  if (text.empty()) return " is empty";
  if (ParseDecimal(text).has_value()) return absl::StrCat(": ", Quoted(text), " is too large for a float");
  if (IsHexadecimal(text)) return absl::StrCat(": ", Quoted(text), " is hexadecimal; numbers must be decimal");
  if (IsNonFiniteWord(text)) return absl::StrCat(": ", Quoted(text), " is not a finite number");
  return absl::StrCat(": ", Quoted(text), " is not a number",
                      IsSingleQuoted(text) ? kSingleQuotes : SeparatorHint(OtherSeparator(text)));
}

// As SplitCsvLine, with the number of the line in errors.
absl::Status Split(int64_t number, absl::string_view line, std::vector<CsvCell>* cells) {
  const absl::Status status = SplitCsvLine(line, cells);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", status.message()));
}

// What spreadsheets write above a table for each other: "sep=;".
bool IsSeparatorLine(absl::string_view line) {
  return absl::StartsWithIgnoreCase(line, "sep=") &&
         (line.size() == 4 || (line.size() == 5 && absl::ascii_ispunct(line[4])));
}

enum class CellKind { kNumber, kMissing, kWord };

bool IsMissing(absl::string_view text) {
  if (text.size() > 1 && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  for (const absl::string_view word :
       {"", "nan", "na", "n/a", "null", "none", "inf", "infinity", "<na>", "#n/a", "#na", "missing", "?", "-"}) {
    if (absl::EqualsIgnoreCase(text, word)) return true;
  }
  return false;
}

CellKind KindOf(absl::string_view text) {
  const std::optional<double> number = ParseDecimal(text);
  if (number.has_value() && std::isfinite(*number)) return CellKind::kNumber;
  return IsMissing(text) ? CellKind::kMissing : CellKind::kWord;
}

char PatternOf(char c) { return absl::ascii_isdigit(c) ? '9' : absl::ascii_isalpha(c) ? 'a' : c; }

bool HasPattern(absl::string_view text, absl::string_view like) {
  return std::equal(text.begin(), text.end(), like.begin(), like.end(),
                    [](char a, char b) { return PatternOf(a) == PatternOf(b); });
}

// Judges by the rule that is told at CsvTable whether a first line is a header.
class FirstLineJudge {
 public:
  struct Verdict {
    std::optional<bool> is_header;  // nothing: undecided
    std::string reason;
  };

  explicit FirstLineJudge(absl::Span<const CsvCell> first_line);

  // Shows a line below, of as many cells, with its number from 1.
  void ShowLine(int64_t number, absl::Span<const CsvCell> cells);
  Verdict Judge() const;

 private:
  // A cell of the first line, and what was seen below it.
  struct Column {
    std::string text{};
    CellKind kind = CellKind::kMissing;
    bool quoted = false;
    bool numbers_below = false, quoted_numbers_below = false, words_below = false, missing_below = false;
    bool same_pattern = false;  // a word with a digit, and all below are like it
    int64_t again = 0;          // the first line where the word stands again
    double number = 0;          // of a cell that is one
    double least_below = std::numeric_limits<double>::infinity(), most_below = -least_below;
  };
  static void ShowCell(int64_t number, absl::string_view text, bool quoted, Column* column);
  // Whether the numbers of the first line are digits only, each one more than the one before.
  bool AreConsecutive() const;
  // Whether the numbers of the first line look like names, as years do.
  bool LookLikeNames() const;
  // Whether the first line may be the names of a table with an index: nothing, and then numbers of digits only.
  bool MayNameIndexed() const;
  Verdict JudgeNumbers() const;
  Verdict JudgeMissing() const;
  Verdict JudgeWordsAndNumbers() const;
  // A column that a header has and data hardly: why; empty if there is none.
  std::string QuotedNumber() const;
  std::string WordOverNumbers() const;
  // Why the line seems to be data; empty if nothing says so.
  std::string DataEvidence() const;

  std::vector<Column> columns_;
  std::vector<size_t> numbers_;  // the columns where the first line has one
  size_t words_ = 0;
  int64_t lines_below_ = 0;
  bool counts_from_0_ = true, counts_from_1_ = true;  // the first column below
};

std::string CellIn(size_t column, absl::string_view text) {
  return absl::StrCat("\"", Shortened(text, kMaxReasonCell), "\" in column ", column + 1);
}

FirstLineJudge::FirstLineJudge(absl::Span<const CsvCell> first_line) {
  for (const CsvCell& cell : first_line) {
    Column column = {.text = std::string(absl::StripAsciiWhitespace(cell.text)), .quoted = cell.quoted};
    column.kind = KindOf(column.text);
    if (column.kind == CellKind::kNumber) {
      numbers_.push_back(columns_.size());
      column.number = *ParseDecimal(column.text);
    }
    if (column.kind == CellKind::kWord) {
      ++words_;
      column.same_pattern = std::any_of(column.text.begin(), column.text.end(), absl::ascii_isdigit);
    }
    columns_.push_back(std::move(column));
  }
}

bool FirstLineJudge::AreConsecutive() const {
  std::optional<uint64_t> last;
  for (const size_t column : numbers_) {
    const std::string& text = columns_[column].text;
    uint64_t number;
    if (!IsPlainInteger(text) || !absl::SimpleAtoi(text, &number)) return false;
    if (last.has_value() && number != *last + 1) return false;
    last = number;
  }
  return true;
}

void FirstLineJudge::ShowLine(int64_t number, absl::Span<const CsvCell> cells) {
  for (size_t i = 0; i < columns_.size(); ++i) {
    ShowCell(number, absl::StripAsciiWhitespace(cells[i].text), cells[i].quoted, &columns_[i]);
  }
  const absl::string_view first = absl::StripAsciiWhitespace(cells[0].text);
  counts_from_0_ = counts_from_0_ && first == absl::StrCat(lines_below_);
  ++lines_below_;
  counts_from_1_ = counts_from_1_ && first == absl::StrCat(lines_below_);
}

bool FirstLineJudge::LookLikeNames() const {
  if (numbers_.size() < 2 || !AreConsecutive()) return false;
  return std::all_of(numbers_.begin(), numbers_.end(), [this](size_t i) {
    const Column& column = columns_[i];
    const double apart = std::max(column.least_below - column.number, column.number - column.most_below);
    return column.numbers_below && apart > 10 * (column.most_below - column.least_below + 1);
  });
}

bool FirstLineJudge::MayNameIndexed() const {
  if (!columns_[0].text.empty() || columns_.size() < 2 || lines_below_ == 0 || columns_[0].missing_below) return false;
  return std::all_of(columns_.begin() + 1, columns_.end(),
                     [](const Column& column) { return IsPlainInteger(column.text); });
}

void FirstLineJudge::ShowCell(int64_t number, absl::string_view text, bool quoted, Column* column) {
  const CellKind kind = KindOf(text);
  if (kind == CellKind::kNumber) {
    const double value = *ParseDecimal(text);
    column->least_below = std::min(column->least_below, value);
    column->most_below = std::max(column->most_below, value);
  }
  column->words_below |= kind == CellKind::kWord;
  column->missing_below |= kind == CellKind::kMissing;
  column->numbers_below |= kind == CellKind::kNumber;
  column->quoted_numbers_below |= kind == CellKind::kNumber && quoted;
  if (column->kind != CellKind::kWord) return;
  if (column->again == 0 && text == column->text) column->again = number;
  column->same_pattern = column->same_pattern && HasPattern(text, column->text);
}

FirstLineJudge::Verdict FirstLineJudge::Judge() const {
  if (words_ > 0 && numbers_.empty()) return {.is_header = true, .reason = "none of its cells is a number"};
  if (numbers_.size() == columns_.size()) return JudgeNumbers();
  return words_ == 0 ? JudgeMissing() : JudgeWordsAndNumbers();
}

FirstLineJudge::Verdict FirstLineJudge::JudgeNumbers() const {
  const auto by_quotes = [](const Column& column) { return column.quoted && !column.quoted_numbers_below; };
  if (lines_below_ > 0 && std::all_of(columns_.begin(), columns_.end(), by_quotes)) {
    return {.is_header = true, .reason = "all its cells are quoted and no number below is"};
  }
  size_t positions = 0;
  while (positions < columns_.size() && columns_[positions].text == absl::StrCat(positions)) ++positions;
  if (positions > 2 && positions == columns_.size()) return {.is_header = std::nullopt, .reason = ""};
  if (LookLikeNames()) return {.is_header = std::nullopt, .reason = ""};
  return {.is_header = false, .reason = "all its cells are numbers"};
}

FirstLineJudge::Verdict FirstLineJudge::JudgeMissing() const {
  if (columns_[0].text.empty() && lines_below_ > 1 && (counts_from_0_ || counts_from_1_)) {
    return {.is_header = true, .reason = "its first cell is empty and the column below counts the lines"};
  }
  if (std::string column = QuotedNumber(); !column.empty()) return {.is_header = true, .reason = std::move(column)};
  if (MayNameIndexed()) {
    if (LookLikeNames()) return {.is_header = true, .reason = kNamesReason};
    return {.is_header = std::nullopt, .reason = ""};
  }
  return {.is_header = false, .reason = "its cells are numbers or missing ones"};
}

FirstLineJudge::Verdict FirstLineJudge::JudgeWordsAndNumbers() const {
  if (std::string column = QuotedNumber(); !column.empty()) return {.is_header = true, .reason = std::move(column)};
  std::string data = DataEvidence(), word = WordOverNumbers();
  if (!data.empty()) {
    const bool may_be_header = !word.empty() || (numbers_.size() > 1 && AreConsecutive());
    if (may_be_header) return {.is_header = std::nullopt, .reason = ""};
    return {.is_header = false, .reason = std::move(data)};
  }
  if (!word.empty()) return {.is_header = true, .reason = std::move(word)};
  if (LookLikeNames()) return {.is_header = true, .reason = kNamesReason};
  return {.is_header = std::nullopt, .reason = ""};
}

std::string FirstLineJudge::QuotedNumber() const {
  for (const size_t i : numbers_) {
    const Column& column = columns_[i];
    if (column.quoted && column.numbers_below && !column.quoted_numbers_below) {
      return absl::StrCat(CellIn(i, column.text), " is quoted and no number below it is");
    }
  }
  return "";
}

std::string FirstLineJudge::WordOverNumbers() const {
  for (size_t i = 0; i < columns_.size(); ++i) {
    const Column& column = columns_[i];
    if (column.kind == CellKind::kWord && column.numbers_below && !column.words_below) {
      return absl::StrCat(CellIn(i, column.text), " stands over numbers");
    }
  }
  return "";
}

std::string FirstLineJudge::DataEvidence() const {
  for (size_t i = 0; i < columns_.size(); ++i) {
    const Column& column = columns_[i];
    const std::string cell = CellIn(i, column.text);
    if (column.kind == CellKind::kNumber && column.text.find_first_of(".eE") != std::string::npos) {
      return absl::StrCat(cell, " has a point or an exponent");
    }
    if (column.again > 0) return absl::StrCat(cell, " stands again in line ", column.again);
    if (column.same_pattern && lines_below_ > 1) {
      return absl::StrCat(cell, " is written as all the cells below it");
    }
  }
  return "";
}

// Looks for another separator than commas within the cells of most lines.
class SeparatorSearch {
 public:
  void ShowLine(absl::Span<const CsvCell> cells) {
    ++lines_;
    for (const CsvCell& cell : cells) {
      const absl::string_view separator = cell.quoted ? "" : OtherSeparator(cell.text);
      if (separator.empty()) continue;
      ++counts_[separator];
      return;
    }
  }
  absl::string_view Found() const {
    for (const auto& [separator, count] : counts_) {
      if (2 * count > lines_) return separator;
    }
    return "";
  }

 private:
  int64_t lines_ = 0;
  std::map<absl::string_view, int64_t> counts_;
};

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
  return JudgeFirstLine(cells, lines);
}

absl::Status CsvTable::TakeFirstLine(int64_t number, absl::string_view line, std::vector<CsvCell>* cells) {
  first_number_ = number;
  starts_as_comment_ = LooksLikeComment(line);
  if (IsSeparatorLine(line)) separator_line_ = std::string(line);
  if (const absl::Status status = Split(number, line, cells); !status.ok()) {
    return starts_as_comment_ ? CommentError(number) : status;
  }
  for (const CsvCell& cell : *cells) {
    first_line_.push_back(cell.Value());
    first_quoted_.push_back(cell.quoted);
    has_words_ |= KindOf(absl::StripAsciiWhitespace(cell.text)) == CellKind::kWord;
  }
  return absl::OkStatus();
}

absl::Status CsvTable::JudgeFirstLine(absl::Span<const CsvCell> first_line, LineReader& lines) {
  FirstLineJudge judge(first_line);
  SeparatorSearch separators;
  // A name may have a semicolon in it; where it is alone, it rather is several.
  if (first_line.size() == 1) separator_ = OtherSeparator(first_line[0].text);
  const int64_t first_bytes = lines.position();
  std::vector<CsvCell> cells;
  int64_t wider = 0;
  for (absl::string_view line; lines.position() - first_bytes < kReadBlock / 2; ++sampled_lines_) {
    // What is wrong with a later line is told when the rows are read.
    const absl::StatusOr<bool> more = lines.Next(&line);
    if (!more.ok() || !*more) break;
    if (!SplitCsvLine(line, &cells).ok()) continue;
    separators.ShowLine(cells);
    if (cells.size() > 1) ++wider;
    if (!is_told() && cells.size() == first_line_.size() && !IsFirstLineAgain(cells)) {
      judge.ShowLine(lines.number(), cells);
    }
  }
  is_title_ = first_line.size() == 1 && separators.Found().empty() && 2 * wider > sampled_lines_;
  if (is_title_ || !separators.Found().empty()) separator_ = separators.Found();
  const FirstLineJudge::Verdict verdict = judge.Judge();
  if (!is_told() && !verdict.is_header.has_value()) return Undecided();
  has_header_ = is_told() ? header_ == v1::CsvData::HEADER_YES : *verdict.is_header;
  if (has_header_) NoteWords();
  if (!is_told()) {
    reason_ = verdict.reason;
    note_ = has_header_ ? absl::StrCat("the first line is read as ", HowRead(), ": ",
                                       ListCells(first_line_, kMaxNotedCells), " (csv.header: no makes it data)")
                        : absl::StrCat("the first line is read as ", HowRead(), kMakeHeader);
  }
  sampled_bytes_ = has_header_ ? lines.position() - first_bytes : lines.position();
  if (!has_header_) ++sampled_lines_;
  return absl::OkStatus();
}

absl::Status CsvTable::Undecided() const {
  return WithReason(absl::InvalidArgumentError(absl::StrCat(
                        "line ", first_number_, " may be a header or data: ", ListCells(first_line_, kMaxNotedCells),
                        "; say yes or no", Hint())),
                    kHeaderUndecided);
}

bool CsvTable::StandsAgain(absl::Span<const CsvCell> cells, size_t column) const {
  const CsvCell& cell = cells[column];
  // Doubled quotes make it no shorter.
  return cell.text.size() >= first_line_[column].size() && absl::EqualsIgnoreCase(cell.Value(), first_line_[column]);
}

bool CsvTable::IsFirstLineAgain(absl::Span<const CsvCell> cells) const {
  if (cells.size() != first_line_.size()) return false;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (!StandsAgain(cells, i) || (!has_words_ && cells[i].quoted != first_quoted_[i])) return false;
  }
  return true;
}

bool CsvTable::IsHeaderAgain(absl::Span<const CsvCell> cells) const {
  // Names that are numbers may be numbers of a row as well.
  const bool can_be_told = has_words_ || absl::c_all_of(first_quoted_, [](bool quoted) { return quoted; });
  if (can_be_told && IsFirstLineAgain(cells)) return true;
  if (words_.empty() || cells.size() != first_line_.size()) return false;
  return std::all_of(words_.begin(), words_.end(), [&](size_t column) { return StandsAgain(cells, column); });
}

void CsvTable::NoteWords() {
  const bool has_numbers = absl::c_any_of(
      first_line_, [](absl::string_view name) { return IsPlainInteger(absl::StripAsciiWhitespace(name)); });
  for (size_t i = 0; has_numbers && i < first_line_.size(); ++i) {
    if (KindOf(absl::StripAsciiWhitespace(first_line_[i])) == CellKind::kWord) words_.push_back(i);
  }
}

std::string CsvTable::HowRead() const {
  return absl::StrCat(has_header_ ? "a header" : "data", reason_.empty() ? "" : ", since ", reason_);
}

std::string CsvTable::DataHint(int64_t line) const {
  if (has_header_ || is_told() || line != first_number_) return "";
  return absl::StrCat("; line ", line, " is read as data", kMakeHeader);
}

int64_t CsvTable::EstimateRows(int64_t bytes) const {
  if (sampled_bytes_ == 0) return 0;
  return static_cast<int64_t>(static_cast<double>(bytes) / static_cast<double>(sampled_bytes_) *
                              static_cast<double>(sampled_lines_));
}

absl::StatusOr<int> CsvTable::FindColumn(absl::string_view name, bool* listed) const {
  // Where names are numbers, one that is not there must not become a position.
  const bool has_positions = !has_header_ || std::none_of(first_line_.begin(), first_line_.end(), IsPlainInteger);
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
  if (has_positions && IsPlainInteger(name) && absl::SimpleAtoi(name, &position) &&
      position < static_cast<int>(first_line_.size())) {
    return position;
  }
  return NoColumn(name, has_positions, listed);
}

absl::Status CsvTable::NoColumn(absl::string_view name, bool has_positions, bool* listed) const {
  if (listed != nullptr && std::exchange(*listed, true)) {
    return absl::InvalidArgumentError(absl::StrCat("no column ", Quoted(name), " either"));
  }
  const std::string first_line = absl::StrCat(HowRead(), has_header_ || is_told() ? "" : kMakeHeader,
                                              has_header_ ? ": " : ", so that columns have no names: ");
  return absl::InvalidArgumentError(absl::StrCat(
      "no column ", Quoted(name), " among ", first_line_.size(), first_line_.size() == 1 ? " column" : " columns",
      "; the first line is read as ", first_line, ListCells(first_line_, kMaxListedCells),
      has_positions ? absl::StrCat("; positions are from 0 to ", first_line_.size() - 1)
                    : "; columns are named by numbers here, so they cannot be given by position",
      Hint(), NamesHint()));
}

std::string CsvTable::FirstLineHint() const {
  if (starts_as_comment_) return absl::StrCat("; ", CommentError(first_number_).message());
  const std::string what = !separator_line_.empty() ? absl::StrCat(" (", separator_line_, ")")
                           : is_title_              ? "; perhaps it is a title"
                                                    : "";
  return what.empty() ? "" : absl::StrCat("; line ", first_number_, " is not part of the table", what);
}

std::string CsvTable::Hint() const {
  return absl::StrCat(FirstLineHint(), starts_as_comment_ ? "" : SeparatorHint(separator_));
}

std::string CsvTable::NamesHint() const {
  if (!has_header_) return "";
  if (std::all_of(first_line_.begin(), first_line_.end(), IsSingleQuoted)) {
    return kSingleQuotes;
  }
  const auto is_utf8 = [](const std::string& name) { return CountCodePoints(name) != kInvalidUtf8; };
  if (std::all_of(first_line_.begin(), first_line_.end(), is_utf8)) return "";
  return "; the table is not UTF-8, perhaps Latin-1 or Windows-1252";
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
    if (!starts_as_comment_ && LooksLikeComment(line)) return CommentError(lines.number());
    GW_RETURN_IF_ERROR(Split(lines.number(), line, &cells));
    if (has_header_ && IsHeaderAgain(cells)) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", lines.number(), " is the header once more; tables have one"));
    }
    GW_RETURN_IF_ERROR(ReadNumbers(lines.number(), cells, columns, numbers));
    row_line_ = lines.number();
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
      return absl::InvalidArgumentError(
          absl::StrCat(Place(line, columns[i]), CellTrouble(text), DataHint(line), FirstLineHint()));
    }
    numbers[i] = *number;
  }
  return absl::OkStatus();
}

std::string CsvTable::ColumnText(int column) const {
  const std::string name =
      has_header_ ? Shortened(first_line_[column], kMaxShownCell) : absl::StrCat("position ", column);
  return absl::StrCat("column ", column + 1, " (", name, ")");
}

std::string CsvTable::Place(int64_t line, int column) const {
  return absl::StrCat("line ", line, ", ", ColumnText(column));
}

}  // namespace gradwatch::core
