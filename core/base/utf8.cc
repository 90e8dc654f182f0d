#include "core/base/utf8.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gradwatch::core {
namespace {

struct Range {
  int32_t first, last;
};

// What steers a terminal, turns the direction of writing or cannot be seen. Of Unicode 15: Cc, Cf, Zl, Zp, Zs but the
// space, and Default_Ignorable_Code_Point.
constexpr Range kNotPrintable[] = {
    {0x0, 0x1f},        {0x7f, 0xa0},       {0xad, 0xad},       {0x34f, 0x34f},     {0x600, 0x605},
    {0x61c, 0x61c},     {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},     {0x8e2, 0x8e2},
    {0x115f, 0x1160},   {0x1680, 0x1680},   {0x17b4, 0x17b5},   {0x180b, 0x180f},   {0x2000, 0x200f},
    {0x2028, 0x202f},   {0x205f, 0x206f},   {0x3000, 0x3000},   {0x3164, 0x3164},   {0xfe00, 0xfe0f},
    {0xfeff, 0xfeff},   {0xffa0, 0xffa0},   {0xfff0, 0xfffb},   {0x110bd, 0x110bd}, {0x110cd, 0x110cd},
    {0x13430, 0x1343f}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
};

bool IsPrintable(int32_t code_point) {
  return std::none_of(std::begin(kNotPrintable), std::end(kNotPrintable), [code_point](const Range& range) {
    return code_point >= range.first && code_point <= range.last;
  });
}

std::string Escaped(int32_t code_point) {
  if (code_point < 0x100) return absl::StrCat("\\x", absl::Hex(code_point, absl::kZeroPad2));
  if (code_point < 0x10000) return absl::StrCat("\\u", absl::Hex(code_point, absl::kZeroPad4));
  return absl::StrCat("\\U", absl::Hex(code_point, absl::kZeroPad8));
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

absl::string_view EncodingOfMark(absl::string_view text) {
  constexpr absl::string_view kLittle32("\xff\xfe\0\0", 4), kBig32("\0\0\xfe\xff", 4);
  if (absl::StartsWith(text, kLittle32) || absl::StartsWith(text, kBig32)) return "UTF-32";
  if (absl::StartsWith(text, "\xff\xfe") || absl::StartsWith(text, "\xfe\xff")) return "UTF-16";
  return "";
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
