// Tests that have a short form for every day and a long one.
#ifndef GRADWATCH_TESTS_SUPPORT_LONG_FORM_H_
#define GRADWATCH_TESTS_SUPPORT_LONG_FORM_H_

#include <cstdlib>

#include "absl/strings/string_view.h"

namespace gradwatch::testing {

// Whether the long forms were asked for: GRADWATCH_LONG=1.
inline bool IsLong() {
  const char* value = std::getenv("GRADWATCH_LONG");
  return value != nullptr && absl::string_view(value) == "1";
}

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_LONG_FORM_H_
