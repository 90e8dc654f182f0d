// JSON objects on one line with their fields in the order in which they were added; streams print one a line.
#ifndef GRADWATCH_CLIENT_CLI_JSON_H_
#define GRADWATCH_CLIENT_CLI_JSON_H_

#include <google/protobuf/message.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/lib/spec_writer.h"

namespace gradwatch::cli {

// Shortest text that reads back as the same number; NaN and infinities are the strings "NaN", "Infinity", "-Infinity".
std::string JsonNumber(double value);
class JsonObject {
 public:
  JsonObject& Add(absl::string_view key, absl::string_view text) { return AddRaw(key, client::JsonString(text)); }
  JsonObject& Add(absl::string_view key, const char* text) { return AddRaw(key, client::JsonString(text)); }
  JsonObject& Add(absl::string_view key, double value) { return AddRaw(key, JsonNumber(value)); }
  JsonObject& Add(absl::string_view key, int64_t value) { return AddRaw(key, std::to_string(value)); }
  JsonObject& Add(absl::string_view key, int value) { return AddRaw(key, std::to_string(value)); }
  JsonObject& Add(absl::string_view key, const JsonObject& object) { return AddRaw(key, object.Build()); }
  // `json` is a JSON value.
  JsonObject& AddRaw(absl::string_view key, absl::string_view json);
  // All fields of a message as client::FormatMessage writes them, those with default values too.
  JsonObject& AddFields(const google::protobuf::Message& message);

  std::string Build() const { return "{" + fields_ + "}"; }

 private:
  std::string fields_;
};

std::string JsonArray(const std::vector<std::string>& values);

// The same value as YAML, in block style.
std::string JsonToYaml(const std::string& json);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_JSON_H_
