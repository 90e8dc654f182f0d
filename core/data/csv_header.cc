#include "core/data/csv_header.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/base/decimal.h"

namespace gradwatch::core {
namespace {

constexpr int kMaxShown = 24;  // characters

bool IsPlainInteger(absl::string_view text) { return std::all_of(text.begin(), text.end(), absl::ascii_isdigit); }

}  // namespace

FirstLineJudge::FirstLineJudge(absl::Span<const CsvCell> first_line) : cells_(first_line.size()) {
  for (size_t i = 0; i < first_line.size(); ++i) {
    const absl::string_view text = absl::StripAsciiWhitespace(first_line[i].text);
    if (!ParseDecimal(text).has_value()) {
      if (!text.empty()) words_.push_back({.column = i, .text = std::string(text)});
      continue;
    }
    ++numbers_;
    if (!no_name_.empty() || IsPlainInteger(text)) continue;
    no_name_ = absl::StrCat("\"", Shortened(text, kMaxShown), "\" in column ", i,
                            " is written with a point, an exponent or a sign");
  }
}

bool FirstLineJudge::wants_lines() const {
  return numbers_ > 0 && numbers_ < cells_ && no_name_.empty() && !words_.empty();
}

void FirstLineJudge::ShowLine(int64_t number, absl::Span<const CsvCell> cells) {
  for (const Word& word : words_) {
    if (word.column >= cells.size() || absl::StripAsciiWhitespace(cells[word.column].text) != word.text) continue;
    no_name_ = absl::StrCat("\"", Shortened(word.text, kMaxShown), "\" stands again in column ", word.column,
                            " of line ", number);
    return;
  }
}

FirstLineVerdict FirstLineJudge::Verdict() const {
  if (numbers_ == cells_) return {.is_header = false, .reason = "all its cells are numbers"};
  if (numbers_ == 0 || no_name_.empty()) return {.is_header = true, .reason = ""};
  return {.is_header = false, .reason = no_name_};
}

}  // namespace gradwatch::core
