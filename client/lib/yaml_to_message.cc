#include "client/lib/yaml_to_message.h"

#include <yaml-cpp/yaml.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "client/lib/message_builder.h"
#include "client/lib/utf8.h"

namespace gradwatch::client {
namespace {

using ::google::protobuf::Message;

absl::Status FillFromText(absl::string_view yaml, MessageBuilder& builder, Message* message) {
  const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(yaml));
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
