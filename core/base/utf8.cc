#include "core/base/utf8.h"

#include <bit>

namespace gradwatch::core {

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

}  // namespace gradwatch::core
