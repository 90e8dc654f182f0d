// A column: many numbers of one kind, in few bytes. Numbers are their bits, so that every NaN comes back as it was.
//
// Each number is replaced by its difference from what the ones before it suggest, the bytes of the same weight are put
// together, and zstd does the rest. What is the same throughout costs a few bytes. A long column is made of pieces,
// each by itself: who wants few of its numbers reads few of them.
#ifndef GRADWATCH_SERVER_HISTORY_COLUMN_CODEC_H_
#define GRADWATCH_SERVER_HISTORY_COLUMN_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwatch::server {

// What the bits of a number mean: it decides how differences are made, never what comes back.
enum class ColumnKind : uint8_t {
  kInteger,  // of 64 bits
  kDouble,
  kFloat,  // in the lower 32 bits; the upper ones are zero
};

// Numbers in a piece of a column; the last one has what is left.
inline constexpr size_t kColumnPiece = 4096;

// Appends the column to `to`. `level`: zstd's.
void AppendColumn(const std::vector<uint64_t>& values, ColumnKind kind, int level, std::string* to);

// Takes a column of exactly `count` numbers from the front of `bytes`. DATA_LOSS: there is none; `bytes` is then
// anything. Nothing is allocated beyond `count` numbers.
absl::StatusOr<std::vector<uint64_t>> TakeColumn(ColumnKind kind, size_t count, absl::string_view* bytes);
// As TakeColumn, but only the numbers at `places`, which rise and are below `count`; pieces without one are passed
// over.
absl::StatusOr<std::vector<uint64_t>> TakeChosen(ColumnKind kind, size_t count, const std::vector<uint32_t>& places,
                                                 absl::string_view* bytes);
// Passes over a column without reading it, however long it is. Errors as TakeColumn.
absl::Status SkipColumn(absl::string_view* bytes);

// Whole numbers of up to 64 bits, seven bits a byte. Take: false if there is none.
void AppendVarint(uint64_t value, std::string* to);
bool TakeVarint(absl::string_view* bytes, uint64_t* value);

// DATA_LOSS, reason LOG_CORRUPT.
absl::Status BatchIsDamaged();

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_COLUMN_CODEC_H_
