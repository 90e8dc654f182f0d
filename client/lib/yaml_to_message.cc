#include "client/lib/yaml_to_message.h"

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/yaml.h>

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/lib/message_builder.h"
#include "client/lib/utf8.h"

namespace gradwatch::client {
namespace {

using ::google::protobuf::Message;

// Whether line `number`, from 0, of `yaml` is indented with a tab where only spaces may be: in braces and brackets, and
// so in JSON, tabs are fine.
bool HasTabIndent(absl::string_view yaml, int number) {
  const absl::string_view content = absl::StripLeadingAsciiWhitespace(yaml);
  if (number < 0 || absl::StartsWith(content, "{") || absl::StartsWith(content, "[")) return false;
  const std::vector<absl::string_view> lines = absl::StrSplit(yaml, '\n');
  if (number >= static_cast<int>(lines.size())) return false;
  const absl::string_view line = lines[number];
  return absl::StrContains(line.substr(0, line.find_first_not_of(" \t")), '\t');
}

std::vector<YAML::Node> Load(absl::string_view yaml) {
  try {
    return YAML::LoadAll(std::string(yaml));
  } catch (const YAML::DeepRecursion&) {
    throw;
  } catch (const YAML::ParserException& error) {
    if (!HasTabIndent(yaml, error.mark.line)) throw;
    throw YAML::ParserException(error.mark, error.msg + "; the line is indented with a tab, YAML takes spaces only");
  }
}

absl::Status FillFromText(absl::string_view yaml, MessageBuilder& builder, Message* message) {
  const std::vector<YAML::Node> documents = Load(yaml);
  const YAML::Mark start;
  if (documents.empty() || documents[0].IsNull()) return builder.Error(start, FieldPlace(), "empty");
  if (documents.size() > 1) return builder.Error(documents[1].Mark(), FieldPlace(), "more than one document");
  return builder.FillMessage(documents[0], documents[0].Mark(), FieldPlace(), message);
}

}  // namespace

absl::Status YamlToMessage(absl::string_view yaml, absl::string_view source_name, Message* message) {
  message->Clear();
  MessageBuilder builder(source_name);
  if (const size_t valid = ValidUtf8Prefix(yaml); valid < yaml.size()) {
    return builder.Error(YAML::Mark::null_mark(), FieldPlace(), absl::StrCat("not UTF-8 at byte ", valid));
  }
  return CatchYamlErrors(builder, FieldPlace(), [&] { return FillFromText(yaml, builder, message); });
}

}  // namespace gradwatch::client
