#include "client/lib/decimal.h"

#include <charconv>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"

namespace gradwatch::client {
namespace {

absl::string_view WithoutSign(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, "-")) absl::ConsumePrefix(&text, "+");
  return text;
}

}  // namespace

std::optional<double> ParseDecimal(absl::string_view text) {
  const absl::string_view digits = WithoutSign(text);
  // No words: the library knows "nan" and "inf".
  if (digits.empty() || !(absl::ascii_isdigit(digits[0]) || digits[0] == '.')) return std::nullopt;
  if (text[0] == '+') text = digits;  // the library takes a minus only
  const char* const end = text.data() + text.size();
  double number = 0;
  const std::from_chars_result result = std::from_chars(text.data(), end, number);
  if (result.ptr != end || result.ec == std::errc::invalid_argument) return std::nullopt;
  // Too large or too small: the standard library does not say which, Abseil's reader does.
  if (result.ec != std::errc() && !absl::SimpleAtod(text, &number)) return std::nullopt;
  return number;
}

}  // namespace gradwatch::client
