// A text as numbers: each character is its place among the sorted different characters of the text.
#ifndef GRADWATCH_CORE_DATA_TEXT_TOKENS_H_
#define GRADWATCH_CORE_DATA_TEXT_TOKENS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/data/byte_source.h"
#include "core/data/data_source.h"

namespace gradwatch::core {

struct TokenizedText {
  int64_t length = 0;              // characters
  int64_t vocabulary = 0;          // different ones
  int64_t lines = 0;               // that end with LF
  int64_t carriage_returns = 0;    // before that
  std::vector<uint16_t> tokens{};  // none if they are checked and not kept
};

// Bytes that the tokens of so many characters take.
int64_t TextBytes(int64_t characters);

// Reads the text of the file at `path` from the start of `file`, where that stands: once to know its characters and,
// if it is kept, once more. INVALID_ARGUMENT, as a violation of "path": not UTF-8, NUL bytes, fewer than 2 or more than
// 65,536 different characters, not the same both times, or it cannot be read; with QUOTA_MEMORY as soon as it takes
// more memory than it may.
absl::StatusOr<TokenizedText> ReadText(const std::string& path, const DataReading& reading, ByteSource& file);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_TEXT_TOKENS_H_
