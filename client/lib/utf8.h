// Checks that text is UTF-8, as protobuf's strings must be.
#ifndef GRADWATCH_CLIENT_LIB_UTF8_H_
#define GRADWATCH_CLIENT_LIB_UTF8_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace gradwatch::client {

// The number of bytes of `text` before the first that RFC 3629 does not allow; text.size() if all is well.
size_t ValidUtf8Prefix(absl::string_view text);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_UTF8_H_
