#include "server/job/launcher.h"

#include <string.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/base/utf8.h"

namespace gradwatch::server {
namespace {

std::string LastLine(absl::string_view text) {
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n', absl::SkipWhitespace());
  return lines.empty() ? std::string() : std::string(lines.back());
}

}  // namespace

std::string LastWordsFile(absl::string_view words_folder, absl::string_view uid, int32_t attempt) {
  return absl::StrCat(words_folder, "/", uid, "-", attempt, ".words");
}

std::string ProcessEnd::ToString() const {
  if (unknown) return "ended; how is not known, since an earlier life of the server had started it";
  if (signal != 0) {
    const char* name = sigabbrev_np(signal);
    return absl::StrCat("killed by signal ", signal, name == nullptr ? "" : absl::StrCat(" (SIG", name, ")"));
  }
  const std::string line = core::Printable(LastLine(last_output));  // whoever wrote it
  return absl::StrCat("ended with exit code ", exit_code, line.empty() ? "" : ": ", line);
}

}  // namespace gradwatch::server
