#include "tests/support/shared_data.h"

#include <filesystem>

namespace gradwatch::testing {

std::string SharedFile(absl::string_view name) {
  const auto path = std::filesystem::path(GRADWATCH_SOURCE_DIR).parent_path() / "shared" / std::string(name);
  return std::filesystem::exists(path) ? path.string() : std::string();
}

}  // namespace gradwatch::testing
