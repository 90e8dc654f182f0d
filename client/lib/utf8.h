// Checks that text is UTF-8, as protobuf's strings must be, and takes it apart into characters.
#ifndef GRADWATCH_CLIENT_LIB_UTF8_H_
#define GRADWATCH_CLIENT_LIB_UTF8_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace gradwatch::client {

// The number of bytes of `text` before the first that RFC 3629 does not allow; text.size() if all is well.
size_t ValidUtf8Prefix(absl::string_view text);

// The bytes of the character that `text` starts with; 0 if it is empty or RFC 3629 does not allow its beginning.
size_t Utf8Length(absl::string_view text);

// The code point of a character, which must be the whole of `character` and valid.
char32_t Utf8CodePoint(absl::string_view character);

// Whether the character may be shown as it is: it can be seen (or is a space), and no terminal or reader acts on it
// instead (controls, line ends, marks that turn the direction of writing).
bool IsPrintable(char32_t code_point);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_UTF8_H_
