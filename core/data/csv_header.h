// Judges by its cells whether the first line of a table is a header.
#ifndef GRADWATCH_CORE_DATA_CSV_HEADER_H_
#define GRADWATCH_CORE_DATA_CSV_HEADER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "core/data/csv_line.h"

namespace gradwatch::core {

// How a first line is read, and why if it is data: "all its cells are numbers".
struct FirstLineVerdict {
  bool is_header = false;
  std::string reason;
};

// The rule is told at CsvTable. Thread-compatible.
class FirstLineJudge {
 public:
  explicit FirstLineJudge(absl::Span<const CsvCell> first_line);

  // Whether other lines could change the verdict.
  bool wants_lines() const;
  // Shows another line, with its number from 1.
  void ShowLine(int64_t number, absl::Span<const CsvCell> cells);

  FirstLineVerdict Verdict() const;

 private:
  struct Word {
    size_t column = 0;
    std::string text;
  };

  size_t cells_ = 0, numbers_ = 0;
  std::vector<Word> words_;  // cells that are neither numbers nor empty
  std::string no_name_;      // why some cell is hardly the name of a column; empty if there is none
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_CSV_HEADER_H_
