#include "core/data/line_reader.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/utf8.h"

namespace gradwatch::core {
namespace {

constexpr size_t kMaxLine = 4 << 20;
constexpr absl::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr absl::string_view kEndOfFile = "\x1a";  // Ctrl-Z
constexpr size_t kLongestMark = 4;                // of UTF-32

}  // namespace

absl::StatusOr<bool> LineReader::Next(absl::string_view* line) {
  if (!started_) GW_RETURN_IF_ERROR(SkipMark());
  for (;;) {
    GW_ASSIGN_OR_RETURN(const absl::string_view taken, TakeLine());
    if (taken.empty()) return false;
    ++number_;
    position_ += static_cast<int64_t>(taken.size());
    *line = absl::StripTrailingAsciiWhitespace(taken);
    if (absl::StrContains(taken, '\0')) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number_, ": holds NUL bytes, so this is not UTF-8 text; perhaps it is UTF-16"));
    }
    if (absl::StrContains(*line, '\r')) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number_, ": holds a carriage return (CR) alone; lines must end with LF or CR LF"));
    }
    if (*line == kEndOfFile) {
      *line = kEndOfFile;  // what lies in the block may be read over
      GW_ASSIGN_OR_RETURN(const bool at_end, IsAtEnd());
      return !at_end;
    }
    if (!line->empty()) return true;
  }
}

absl::StatusOr<absl::string_view> LineReader::TakeLine() {
  size_t searched = begin_;
  for (;;) {
    const void* const found = std::memchr(block_.data() + searched, '\n', end_ - searched);
    const size_t begin = begin_;
    if (found != nullptr || at_end_) {
      begin_ = found == nullptr ? end_ : static_cast<const char*>(found) - block_.data() + 1;
      return absl::string_view(block_.data() + begin, begin_ - begin);
    }
    searched = end_ - begin_;
    GW_RETURN_IF_ERROR(Refill());
  }
}

absl::StatusOr<bool> LineReader::IsAtEnd() {
  while (begin_ == end_ && !at_end_) GW_RETURN_IF_ERROR(Refill());
  return begin_ == end_;
}

absl::Status LineReader::Refill() {
  std::memmove(block_.data(), block_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  if (end_ == block_.size()) {
    if (end_ >= kMaxLine) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number_ + 1, ": longer than ", kMaxLine, " bytes"));
    }
    block_.resize(2 * block_.size());
  }
  GW_ASSIGN_OR_RETURN(const int64_t count,
                      source_->Read(block_.data() + end_, static_cast<int64_t>(block_.size() - end_)));
  end_ += count;
  at_end_ = count == 0;
  return absl::OkStatus();
}

absl::Status LineReader::SkipMark() {
  started_ = true;
  while (!at_end_ && end_ < kLongestMark) GW_RETURN_IF_ERROR(Refill());
  const absl::string_view start(block_.data(), end_);
  if (const absl::string_view encoding = EncodingOfMark(start); !encoding.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("is ", encoding, "; must be UTF-8"));
  }
  if (absl::StartsWith(start, kByteOrderMark)) begin_ = kByteOrderMark.size();
  return absl::OkStatus();
}

}  // namespace gradwatch::core
