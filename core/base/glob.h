// Globs over names: '*' stands for any characters, '?' for one. No other special characters.
#ifndef GRADWATCH_CORE_BASE_GLOB_H_
#define GRADWATCH_CORE_BASE_GLOB_H_

#include "absl/strings/string_view.h"

namespace gradwatch::core {

// Whether all of `text` matches `pattern`. The empty pattern matches only the empty text.
bool GlobMatches(absl::string_view pattern, absl::string_view text);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_GLOB_H_
