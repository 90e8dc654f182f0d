// The numbers that a text may hold: decimal ones, and nothing else that looks like a number.
#ifndef GRADWATCH_CLIENT_LIB_DECIMAL_H_
#define GRADWATCH_CLIENT_LIB_DECIMAL_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace gradwatch::client {

// The number that `text` is in decimal: digits, perhaps with a sign, a point and an exponent ("7", "+7", "-1.5e-3",
// ".5", "5."; "010" is ten). Nothing for anything else: hexadecimal, "nan", "inf", "1_000", "1,5", space around it.
// Infinite where the number is too large for a double, 0 or the smallest where it is too small. The twin of
// core::ParseDecimal.
std::optional<double> ParseDecimal(absl::string_view text);

// The same for whole numbers, also written "1e6" and "5.0" as far as a double is exact. Nothing also for what
// `Integer` cannot hold.
template <typename Integer>
std::optional<Integer> ParseWhole(absl::string_view text) {
  const std::optional<double> number = ParseDecimal(text);
  if (!number.has_value()) return std::nullopt;
  Integer value{};
  if (absl::SimpleAtoi(text, &value)) return value;
  constexpr double kExact = 0x1p53;
  const double low = std::max(-kExact, static_cast<double>(std::numeric_limits<Integer>::min()));
  const double high = std::min(kExact, static_cast<double>(std::numeric_limits<Integer>::max()));
  if (*number < low || *number > high || *number != std::floor(*number)) return std::nullopt;
  return static_cast<Integer>(*number);
}

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_DECIMAL_H_
