// Reads UTF-8 strictly, and shows text that nobody has checked.
#ifndef GRADWATCH_CORE_BASE_UTF8_H_
#define GRADWATCH_CORE_BASE_UTF8_H_

#include <cstdint>
#include <string>

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

// "UTF-16" or "UTF-32" if `text` starts with the byte order mark of that; else empty.
absl::string_view EncodingOfMark(absl::string_view text);

// `text` as it may stand in a message: what could steer a terminal or cannot be seen (control characters, line ends,
// every space but the plain one, marks that turn the direction of writing, all other format characters and ignorable
// ones) and bytes that are not UTF-8 become "\x1b", "\u202e", "\U000e0001". What it gives stays as it is if given
// again. The twin of client::Printable, which writes line ends and tabs as "\n" and "\t".
std::string Printable(absl::string_view text);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_UTF8_H_
