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

// Whether a terminal or reader would act on the character instead of showing it: C0, DEL and C1 controls, line and
// paragraph separators, and the marks that turn the direction of writing (Unicode's Bidi_Control).
bool IsControl(char32_t code_point);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_UTF8_H_
