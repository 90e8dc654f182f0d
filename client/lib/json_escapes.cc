#include "client/lib/json_escapes.h"

#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

namespace gradwatch::client {
namespace {

constexpr size_t kEscape = 6;  // \uXXXX

// The code unit that `text` starts with as an escape; 0 if it does not.
uint32_t EscapedUnit(absl::string_view text) {
  uint32_t unit = 0;
  if (!absl::StartsWith(text, "\\u") || text.size() < kEscape) return 0;
  return absl::SimpleHexAtoi(text.substr(2, 4), &unit) ? unit : 0;
}

bool IsHighSurrogate(uint32_t unit) { return unit >= 0xd800 && unit < 0xdc00; }
bool IsLowSurrogate(uint32_t unit) { return unit >= 0xdc00 && unit < 0xe000; }

}  // namespace

std::string JoinSurrogateEscapes(absl::string_view json) {
  std::string joined;
  while (!json.empty()) {
    const uint32_t high = EscapedUnit(json);
    const uint32_t low = IsHighSurrogate(high) ? EscapedUnit(json.substr(kEscape)) : 0;
    if (IsLowSurrogate(low)) {
      absl::StrAppendFormat(&joined, "\\U%08x", 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
      json.remove_prefix(2 * kEscape);
      continue;
    }
    const size_t taken = json[0] == '\\' && json.size() > 1 ? 2 : 1;  // "\\" hides a "u" after it
    joined.append(json.data(), taken);
    json.remove_prefix(taken);
  }
  return joined;
}

}  // namespace gradwatch::client
