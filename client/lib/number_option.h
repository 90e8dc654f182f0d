// Options of a command line whose value is a number: decimal as in specs, with the same words for what is wrong.
#ifndef GRADWATCH_CLIENT_LIB_NUMBER_OPTION_H_
#define GRADWATCH_CLIENT_LIB_NUMBER_OPTION_H_

#include <CLI/App.hpp>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include "client/lib/decimal.h"

namespace gradwatch::client {

// Refuses all but finite numbers above 0.
inline CLI::Validator FinitePositive() {
  return CLI::Validator(
      [](const std::string& text) -> std::string {
        const std::optional<double> value = ParseDecimal(text);
        if (!value.has_value()) return "\"" + text + "\" is not a decimal number";
        if (std::isinf(*value) && *value > 0) return "\"" + text + "\" is too large for a double";
        return std::isfinite(*value) && *value > 0 ? "" : "\"" + text + "\" is not a finite number above 0";
      },
      "", "FinitePositive");
}

// Adds an option that takes seconds, from 0 to `most`, also as "1e3" or "0.5". `target` is a double, or an optional
// one.
template <typename Target>
CLI::Option* AddSecondsOption(CLI::App& app, const std::string& name, Target& target, const std::string& description,
                              double most) {
  const auto read = [most](std::string& text) -> std::string {
    const std::optional<double> value = ParseDecimal(text);
    if (!value.has_value()) return "\"" + text + "\" is not a decimal number";
    if (!(*value >= 0)) return "\"" + text + "\" is below 0";
    if (*value > most) return "\"" + text + "\" is too large, at most " + std::to_string(std::llround(most));
    return "";
  };
  return app.add_option(name, target, description)->check(CLI::Validator(read, ""));
}

// The whole numbers that an option takes, and what it calls those from `least` on: "a whole number above 0".
struct WholeRange {
  int64_t least = 0;
  int64_t most = 0;
  const char* name = "";
};

// Adds an option that takes whole numbers of a range, also as "1e6". `target` is an integer that holds all of them, or
// an optional one.
template <typename Target>
CLI::Option* AddWholeOption(CLI::App& app, const std::string& name, Target& target, const std::string& description,
                            const WholeRange& range) {
  // The number is written anew, since CLI11 would read "010" as 8, "0x10" as 16.
  const auto read = [range](std::string& text) -> std::string {
    const std::optional<double> number = ParseDecimal(text);
    if (!number.has_value()) return "\"" + text + "\" is not a decimal number";
    const std::optional<int64_t> value = ParseWhole<int64_t>(text);
    // Some that are too large are no int64_t, nor even a double.
    const bool beyond =
        !value.has_value() && *number == std::floor(*number) && *number >= static_cast<double>(range.most);
    if (beyond || value.value_or(0) > range.most) {
      return "\"" + text + "\" is too large, at most " + std::to_string(range.most);
    }
    if (!value.has_value() || *value < range.least) return "\"" + text + "\" is not " + range.name;
    text = std::to_string(*value);
    return "";
  };
  return app.add_option(name, target, description)->transform(CLI::Validator(read, ""));
}

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_NUMBER_OPTION_H_
