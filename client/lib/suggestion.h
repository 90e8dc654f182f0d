// What a user may have meant by a word that nobody knows.
#ifndef GRADWATCH_CLIENT_LIB_SUGGESTION_H_
#define GRADWATCH_CLIENT_LIB_SUGGESTION_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace gradwatch::client {

// "; did you mean dense?" if one of `candidates` is near to `word` by edits, or has it as its initials (lr for
// learning_rate); else "".
std::string NearestSuggestion(absl::string_view word, const std::vector<std::string>& candidates);
// The same of one that is at most `most_edits` away.
std::string NearestSuggestion(absl::string_view word, const std::vector<std::string>& candidates, size_t most_edits);

// "; did you mean dense?" if one of `candidates` is near to `word` in one of these ways; else, if they are few, "; one
// of ..."; else "".
std::string Suggestion(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_SUGGESTION_H_
