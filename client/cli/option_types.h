// Options whose value is a word of an enum, true or false, a count or a step, and texts that must not be empty.
#ifndef GRADWATCH_CLIENT_CLI_OPTION_TYPES_H_
#define GRADWATCH_CLIENT_CLI_OPTION_TYPES_H_

#include <CLI/App.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/str_replace.h"
#include "absl/types/optional.h"
#include "client/lib/enum_word.h"
#include "client/lib/number_option.h"

namespace gradwatch::cli {

// Refuses an empty text: that of a shell variable which nobody has set would otherwise mean "all" or "any".
inline CLI::Validator NotEmpty() {
  return CLI::Validator([](const std::string& text) -> std::string { return text.empty() ? "is empty" : ""; }, "");
}

// The enum value of `text`: its short word, or its name as the protocol and the server's errors have it, in any case of
// letters, with '-' or '_'; a usage error if it is none.
template <typename E>
E ParseWord(const std::string& option, const std::string& text) {
  const auto& type = *google::protobuf::GetEnumDescriptor<E>();
  const auto* const found = client::FindEnumValue(type, absl::StrReplaceAll(text, {{"-", "_"}}));
  if (found != nullptr && found->number() != 0) return static_cast<E>(found->number());  // 0 means unset
  std::string known;
  for (const auto& [word, value] : client::WordMap<E>()) known += (known.empty() ? "" : ", ") + word;
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

// Adds an option that is true or false, in no other words: CLI11 would take "5", "0x1" and "1abc" too.
inline CLI::Option* AddBoolOption(CLI::App& app, const std::string& name, absl::optional<bool>& target,
                                  const std::string& description) {
  return app.add_option(name, target, description)->check(CLI::IsMember({"true", "false"}).description(""));
}

// Adds an option that counts something, from 1 to what the target holds.
template <typename Target>
CLI::Option* AddCountOption(CLI::App& app, const std::string& name, Target& target, const std::string& description) {
  constexpr bool kIsLong = std::is_same_v<Target, int64_t>;  // the others are int, or optional
  constexpr int64_t kMost = kIsLong ? std::numeric_limits<int64_t>::max() : std::numeric_limits<int>::max();
  return client::AddWholeOption(app, name, target, description,
                                {.least = 1, .most = kMost, .name = "a whole number above 0"});
}

// Adds an option that is the number of a step.
template <typename Target>
CLI::Option* AddStepOption(CLI::App& app, const std::string& name, Target& target, const std::string& description) {
  return client::AddWholeOption(
      app, name, target, description,
      {.least = 0, .most = std::numeric_limits<int64_t>::max(), .name = "the number of a step"});
}

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_OPTION_TYPES_H_
