// Options whose value is a word of an enum, and numbers that must be usable as limits.
#ifndef GRADWATCH_CLIENT_CLI_OPTION_TYPES_H_
#define GRADWATCH_CLIENT_CLI_OPTION_TYPES_H_

#include <CLI/App.hpp>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "client/lib/enum_word.h"

namespace gradwatch::cli {

// The enum value of `text`; a usage error if it is none.
template <typename E>
E ParseWord(const std::string& option, const std::string& text) {
  const auto words = client::WordMap<E>();
  const auto found = words.find(text);
  if (found != words.end()) return found->second;
  std::string known;
  for (const auto& [word, value] : words) known += (known.empty() ? "" : ", ") + word;
  throw CLI::ValidationError(option, "\"" + text + "\" is none of " + known);
}

// Adds an option that takes one of the enum's short words.
template <typename E>
CLI::Option* AddWordOption(CLI::App& app, const std::string& name, E& target, const std::string& description) {
  return app.add_option_function<std::string>(
      name, [&target, name](const std::string& text) { target = ParseWord<E>(name, text); }, description);
}

// The same for an option that may be repeated.
template <typename E>
CLI::Option* AddWordListOption(CLI::App& app, const std::string& name, std::vector<E>& target,
                               const std::string& description) {
  return app
      .add_option_function<std::vector<std::string>>(
          name,
          [&target, name](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) target.push_back(ParseWord<E>(name, text));
          },
          description)
      ->allow_extra_args(false)
      ->take_all();
}

// Refuses all but finite numbers above 0.
inline const CLI::Validator& FinitePositive() {
  static const CLI::Validator validator(
      [](const std::string& text) -> std::string {
        double value = 0;
        if (absl::SimpleAtod(text, &value) && std::isfinite(value) && value > 0) return "";
        return "\"" + text + "\" is not a finite number above 0";
      },
      "", "FinitePositive");
  return validator;
}

// Refuses all but whole numbers from `least` on, which are called `what`.
inline CLI::Validator WholeFrom(int64_t least, const char* what) {
  return CLI::Validator(
      [least, what](const std::string& text) -> std::string {
        int64_t value = 0;
        if (absl::SimpleAtoi(text, &value) && value >= least) return "";
        return "\"" + text + "\" is not " + what;
      },
      "");
}

inline CLI::Validator WholePositive() { return WholeFrom(1, "a whole number above 0"); }
inline CLI::Validator StepNumber() { return WholeFrom(0, "the number of a step"); }

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_OPTION_TYPES_H_
