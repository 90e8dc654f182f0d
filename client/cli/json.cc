#include "client/cli/json.h"

#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace gradwatch::cli {
namespace {

void SetBlockStyle(YAML::Node node) {
  if (node.IsScalar() || node.IsNull() || node.size() == 0) return;
  node.SetStyle(YAML::EmitterStyle::Block);
  for (auto child : node) SetBlockStyle(node.IsMap() ? child.second : YAML::Node(child));
}

}  // namespace

std::string JsonNumber(double value) {
  if (std::isnan(value)) return "\"NaN\"";
  if (std::isinf(value)) return value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, end.ptr);
}

JsonObject& JsonObject::AddRaw(absl::string_view key, absl::string_view json) {
  absl::StrAppend(&fields_, fields_.empty() ? "" : ",", client::JsonString(key), ":", json);
  return *this;
}

JsonObject& JsonObject::AddFields(const google::protobuf::Message& message) {
  const std::string json = client::FormatMessage(message, client::OutputSyntax::kJson, {.include_defaults = true});
  const std::string inside = json.substr(1, json.size() - 2);
  absl::StrAppend(&fields_, fields_.empty() || inside.empty() ? "" : ",", inside);
  return *this;
}

std::string JsonArray(const std::vector<std::string>& values) {
  return absl::StrCat("[", absl::StrJoin(values, ","), "]");
}

std::string JsonToYaml(const std::string& json) {
  YAML::Node node = YAML::Load(json);
  SetBlockStyle(node);
  YAML::Emitter emitter;
  // What JsonString has escaped must not come out raw.
  if (absl::StrContains(json, "\\u")) emitter.SetOutputCharset(YAML::EscapeNonAscii);
  emitter << node;
  return emitter.c_str();
}

}  // namespace gradwatch::cli
