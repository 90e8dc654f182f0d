// Reads UTF-8 strictly.
#ifndef GRADWATCH_CORE_BASE_UTF8_H_
#define GRADWATCH_CORE_BASE_UTF8_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace gradwatch::core {

inline constexpr int32_t kInvalidUtf8 = -1;
// One more than the largest code point.
inline constexpr int32_t kCodePoints = 0x110000;

// Takes the first code point off a text that is not empty. kInvalidUtf8 for anything that RFC 3629 does not allow
// (stray and missing continuation bytes, overlong forms, surrogates, above U+10FFFF); the text is then left as it is.
int32_t TakeCodePoint(absl::string_view* text);

// The number of code points of `text`, or kInvalidUtf8.
int64_t CountCodePoints(absl::string_view text);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_UTF8_H_
