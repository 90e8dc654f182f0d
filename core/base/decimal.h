// The numbers that a text may hold: decimal ones, and nothing else that looks like a number.
#ifndef GRADWATCH_CORE_BASE_DECIMAL_H_
#define GRADWATCH_CORE_BASE_DECIMAL_H_

#include <optional>

#include "absl/strings/string_view.h"

namespace gradwatch::core {

// The number that `text` is in decimal: digits, perhaps with a sign, a point and an exponent ("7", "+7", "-1.5e-3",
// ".5", "5."; "010" is ten). Nothing for anything else: hexadecimal, "nan", "inf", "1_000", "1,5", space around it.
// Infinite where the number is too large for a double, 0 or the smallest where it is too small. The twin of
// client::ParseDecimal.
std::optional<double> ParseDecimal(absl::string_view text);

// Whether `text` is hexadecimal as C has it: "0x1F", "-0X1p3".
bool IsHexadecimal(absl::string_view text);

// Whether `text` is a word for what is not finite: "nan", "-inf", "Infinity".
bool IsNonFiniteWord(absl::string_view text);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_DECIMAL_H_
