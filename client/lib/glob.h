// Patterns over names of tensors, rules and jobs, as the protocol has them.
#ifndef GRADWATCH_CLIENT_LIB_GLOB_H_
#define GRADWATCH_CLIENT_LIB_GLOB_H_

#include "absl/strings/string_view.h"

namespace gradwatch::client {

// Whether the whole of `text` matches: '*' stands for any characters, '?' for one byte, all else for itself.
bool GlobMatches(absl::string_view glob, absl::string_view text);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_GLOB_H_
