// Texts and the decimal numbers that they are, for all who read numbers: they must agree.
#ifndef GRADWATCH_TESTS_SUPPORT_DECIMAL_CASES_H_
#define GRADWATCH_TESTS_SUPPORT_DECIMAL_CASES_H_

#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"

namespace gradwatch::testing {

struct DecimalCase {
  absl::string_view text;
  std::optional<double> number;  // nothing: the text is no decimal number
};

inline std::vector<DecimalCase> DecimalCases() {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return {
      {"0", 0.0},
      {"7", 7.0},
      {"+7", 7.0},
      {"-7", -7.0},
      {"010", 10.0},  // not octal
      {"-010", -10.0},
      {"1.5", 1.5},
      {".5", 0.5},
      {"-.5", -0.5},
      {"5.", 5.0},
      {"1e3", 1000.0},
      {"1E3", 1000.0},
      {"1e+3", 1000.0},
      {"-2.5E-1", -0.25},
      {"0.1", 0.1},
      {"1e39", 1e39},
      {"9007199254740993", 9007199254740992.0},  // to even
      {"1e400", kInfinity},
      {"-1e400", -kInfinity},
      {"1.7976931348623157e308", std::numeric_limits<double>::max()},
      {"1.8e308", kInfinity},
      {"1e-400", 0.0},
      {"0x10", std::nullopt},
      {"0X1F", std::nullopt},
      {"-0x1p3", std::nullopt},
      {"0x", std::nullopt},
      {"0b1", std::nullopt},
      {"0o7", std::nullopt},
      {"nan", std::nullopt},
      {"NaN", std::nullopt},
      {"nan(1)", std::nullopt},
      {"inf", std::nullopt},
      {"-inf", std::nullopt},
      {"+Infinity", std::nullopt},
      {"", std::nullopt},
      {"+", std::nullopt},
      {"-", std::nullopt},
      {".", std::nullopt},
      {"e3", std::nullopt},
      {"1e", std::nullopt},
      {"1e+", std::nullopt},
      {"+-7", std::nullopt},
      {"--7", std::nullopt},
      {"++7", std::nullopt},
      {"1_000", std::nullopt},
      {"1'000", std::nullopt},
      {"1,5", std::nullopt},
      {"1 000", std::nullopt},
      {" 1", std::nullopt},
      {"1 ", std::nullopt},
      {"1f", std::nullopt},
      {"1.2.3", std::nullopt},
      {"5%", std::nullopt},
      {"\xd9\xa1", std::nullopt},  // a digit, but not one of these ten
  };
}

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_DECIMAL_CASES_H_
