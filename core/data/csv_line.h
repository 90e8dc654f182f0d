// One line of comma-separated text: its cells, how they are shown, and what it seems to be where it is no such line.
#ifndef GRADWATCH_CORE_DATA_CSV_LINE_H_
#define GRADWATCH_CORE_DATA_CSV_LINE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gradwatch::core {

struct CsvCell {
  absl::string_view text;  // of an unquoted cell without the space around it; of a quoted one all between the quotes
  bool quoted = false;

  // With "" in a quoted cell made a quote.
  std::string Value() const;
};

// The cells of `line`, which are views into it. They are separated by commas and may stand in double quotes, with space
// around those and "" for a quote inside; quotes within an unquoted cell are characters as others. INVALID_ARGUMENT,
// with the column: a quoted cell does not end on the line, or text follows it; more than 65,536 cells.
absl::Status SplitCsvLine(absl::string_view line, std::vector<CsvCell>* cells);

// Whether `line` begins as comments do in some files: with # or %.
bool LooksLikeComment(absl::string_view line);

// How the cells of a text that has no commas seem to be separated: "';'", "'|'", "a tab"; empty if there is no sign.
absl::string_view OtherSeparator(absl::string_view text);

// At most `max_characters` of `text`, printable, and "..." for the rest.
std::string Shortened(absl::string_view text, int max_characters);

// "city, 2019, "" and 3 more": at most `max_cells`, each shortened.
std::string ListCells(absl::Span<const std::string> cells, size_t max_cells);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_CSV_LINE_H_
