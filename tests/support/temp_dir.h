// A folder that is gone with its test.
#ifndef GRADWATCH_TESTS_SUPPORT_TEMP_DIR_H_
#define GRADWATCH_TESTS_SUPPORT_TEMP_DIR_H_

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/string_view.h"

namespace gradwatch::testing {

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "gradwatch.XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  // The path of `name` inside.
  std::string File(absl::string_view name) const { return path_ + "/" + std::string(name); }
  // Writes `content` to `name` inside and returns its path.
  std::string Write(absl::string_view name, absl::string_view content) const {
    std::ofstream(File(name), std::ios::binary) << content;
    return File(name);
  }

 private:
  std::string path_;
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_TEMP_DIR_H_
