#include "client/lib/suggestion.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace gradwatch::client {
namespace {

constexpr size_t kMaxListed = 20;  // candidates in a message
constexpr size_t kMaxWord = 64;    // longer words are like nothing that we know

// Insertions, removals and replacements of single letters and swaps of neighbours (optimal string alignment).
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<std::vector<size_t>> distance(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) distance[i][0] = i;
  for (size_t k = 0; k <= b.size(); ++k) distance[0][k] = k;
  const auto same = [&](size_t i, size_t k) { return absl::ascii_tolower(a[i - 1]) == absl::ascii_tolower(b[k - 1]); };
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t k = 1; k <= b.size(); ++k) {
      const size_t replaced = distance[i - 1][k - 1] + (same(i, k) ? 0 : 1);
      distance[i][k] = std::min({replaced, distance[i - 1][k] + 1, distance[i][k - 1] + 1});
      if (i > 1 && k > 1 && same(i, k - 1) && same(i - 1, k)) {
        distance[i][k] = std::min(distance[i][k], distance[i - 2][k - 2] + 1);
      }
    }
  }
  return distance[a.size()][b.size()];
}

// "lr" of "learning_rate"; "" of what is one word.
std::string Initials(absl::string_view name) {
  const std::vector<absl::string_view> words = absl::StrSplit(name, '_', absl::SkipEmpty());
  if (words.size() < 2) return "";
  std::string initials;
  for (const absl::string_view word : words) initials += word[0];
  return initials;
}

}  // namespace

std::string NearestSuggestion(absl::string_view word, const std::vector<std::string>& candidates) {
  for (const std::string& candidate : candidates) {
    if (!word.empty() && absl::EqualsIgnoreCase(word, Initials(candidate))) {
      return absl::StrCat("; did you mean ", candidate, "?");
    }
  }
  return NearestSuggestion(word, candidates, std::max<size_t>(1, word.size() / 3));
}

std::string NearestSuggestion(absl::string_view word, const std::vector<std::string>& candidates, size_t most_edits) {
  const std::string* nearest = nullptr;
  size_t nearest_distance = most_edits + 1;
  for (const std::string& candidate : candidates) {
    if (word.size() > kMaxWord) break;
    if (const size_t distance = EditDistance(word, candidate); distance < nearest_distance) {
      nearest = &candidate;
      nearest_distance = distance;
    }
  }
  return nearest == nullptr ? "" : absl::StrCat("; did you mean ", *nearest, "?");
}

std::string Suggestion(absl::string_view word, const std::vector<std::string>& candidates) {
  if (std::string nearest = NearestSuggestion(word, candidates); !nearest.empty()) return nearest;
  if (candidates.empty() || candidates.size() > kMaxListed) return "";
  return absl::StrCat(candidates.size() == 1 ? "; there is " : "; one of ", absl::StrJoin(candidates, ", "));
}

}  // namespace gradwatch::client
