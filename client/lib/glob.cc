#include "client/lib/glob.h"

#include <cstddef>

namespace gradwatch::client {

bool GlobMatches(absl::string_view glob, absl::string_view text) {
  size_t at = 0, star = absl::string_view::npos, resume = 0;
  for (size_t i = 0; i < text.size();) {
    if (at < glob.size() && glob[at] == '*') {
      star = at++;
      resume = i;
    } else if (at < glob.size() && (glob[at] == '?' || glob[at] == text[i])) {
      ++at;
      ++i;
    } else if (star != absl::string_view::npos) {  // let the last star take one more
      at = star + 1;
      i = ++resume;
    } else {
      return false;
    }
  }
  while (at < glob.size() && glob[at] == '*') ++at;
  return at == glob.size();
}

}  // namespace gradwatch::client
