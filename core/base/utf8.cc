#include "core/base/utf8.h"

#include <bit>

#include "absl/strings/str_cat.h"

namespace gradwatch::core {
namespace {

bool IsPrintable(int32_t code_point) {
  const bool control = code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0);
  const bool separator = code_point == 0x2028 || code_point == 0x2029;
  const bool direction = code_point == 0x061c || code_point == 0x200e || code_point == 0x200f ||
                         (code_point >= 0x202a && code_point <= 0x202e) ||
                         (code_point >= 0x2066 && code_point <= 0x2069);
  return !control && !separator && !direction;
}

std::string Escaped(int32_t code_point) {
  if (code_point < 0x100) return absl::StrCat("\\x", absl::Hex(code_point, absl::kZeroPad2));
  return absl::StrCat("\\u", absl::Hex(code_point, absl::kZeroPad4));
}

}  // namespace

int32_t TakeCodePoint(absl::string_view* text) {
  const auto first = static_cast<uint8_t>((*text)[0]);
  if (first < 0x80) {
    text->remove_prefix(1);
    return first;
  }
  const int length = std::countl_one(first);
  if (length < 2 || length > 4 || text->size() < static_cast<size_t>(length)) return kInvalidUtf8;
  int32_t code_point = first & (0x7f >> length);
  for (int i = 1; i < length; ++i) {
    const auto byte = static_cast<uint8_t>((*text)[i]);
    if ((byte & 0xc0) != 0x80) return kInvalidUtf8;
    code_point = code_point << 6 | (byte & 0x3f);
  }
  constexpr int32_t kSmallest[] = {0x80, 0x800, 0x10000};  // by length; anything below is overlong
  const bool surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
  if (code_point < kSmallest[length - 2] || surrogate || code_point >= kCodePoints) return kInvalidUtf8;
  text->remove_prefix(length);
  return code_point;
}

int64_t CountCodePoints(absl::string_view text) {
  int64_t count = 0;
  for (; !text.empty(); ++count) {
    if (TakeCodePoint(&text) == kInvalidUtf8) return kInvalidUtf8;
  }
  return count;
}

std::string Printable(absl::string_view text) {
  std::string printable;
  printable.reserve(text.size());
  while (!text.empty()) {
    const absl::string_view from = text;
    const int32_t code_point = TakeCodePoint(&text);
    if (code_point == kInvalidUtf8) {
      absl::StrAppend(&printable, Escaped(static_cast<uint8_t>(text[0])));
      text.remove_prefix(1);
    } else if (IsPrintable(code_point)) {
      absl::StrAppend(&printable, from.substr(0, from.size() - text.size()));
    } else {
      absl::StrAppend(&printable, Escaped(code_point));
    }
  }
  return printable;
}

}  // namespace gradwatch::core
