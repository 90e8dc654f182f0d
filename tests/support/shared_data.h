// Finds the data that tests may use but that is not part of the project.
#ifndef GRADWATCH_TESTS_SUPPORT_SHARED_DATA_H_
#define GRADWATCH_TESTS_SUPPORT_SHARED_DATA_H_

#include <string>

#include "absl/strings/string_view.h"

namespace gradwatch::testing {

// The path of `name` below ../shared of the project's root, or "" where it is absent. Tests then skip, saying so:
//   const std::string text = SharedFile("data/tinyshakespeare.txt");
//   if (text.empty()) GTEST_SKIP() << "no ../shared/data/tinyshakespeare.txt";
std::string SharedFile(absl::string_view name);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_SHARED_DATA_H_
