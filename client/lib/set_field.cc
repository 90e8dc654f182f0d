#include "client/lib/set_field.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/lib/message_builder.h"
#include "client/lib/scalar_field.h"
#include "client/lib/text_form.h"
#include "client/lib/utf8.h"

namespace gradwatch::client {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

// What a path leads to: a field, an element of a list, or an entry of a map.
struct Target {
  Message* parent = nullptr;
  const FieldDescriptor* field = nullptr;
  std::optional<int> index;
  std::optional<std::string> key;

  // Whether one value is set, not a list or map as a whole.
  bool is_single() const { return !field->is_repeated() || index.has_value() || key.has_value(); }
};

bool IsMessage(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !HasTextForm(*field.message_type());
}

// Takes "[3]" off `rest`.
absl::Status TakeIndex(absl::string_view* rest, const Target& target, std::optional<int>* index) {
  if (!absl::StartsWith(*rest, "[")) return absl::OkStatus();
  if (!target.field->is_repeated() || target.field->is_map()) return absl::InvalidArgumentError("not a list");
  const size_t end = std::min(rest->find(']'), rest->size());
  const int size = target.parent->GetReflection()->FieldSize(*target.parent, target.field);
  int value = 0;
  if (end == rest->size() || !absl::SimpleAtoi(rest->substr(1, end - 1), &value) || value < 0 || value > size) {
    return absl::InvalidArgumentError(
        absl::StrCat("the list has ", size, " elements, indices from 0 to ", size, "; found \"", *rest, "\""));
  }
  rest->remove_prefix(end + 1);
  *index = value;
  return absl::OkStatus();
}

// The message that a target holds, made if it is not there.
absl::StatusOr<Message*> Descend(const Target& target) {
  if (!IsMessage(*target.field)) return absl::InvalidArgumentError("has no fields");
  const auto* const reflection = target.parent->GetReflection();
  if (!target.field->is_repeated()) return reflection->MutableMessage(target.parent, target.field);
  if (!target.index.has_value()) return absl::InvalidArgumentError("a list; give an index, as in [0]");
  if (*target.index == reflection->FieldSize(*target.parent, target.field)) {
    return reflection->AddMessage(target.parent, target.field);
  }
  return reflection->MutableRepeatedMessage(target.parent, target.field, *target.index);
}

// Reads the path from `rest` on; what is wrong is told without the path.
absl::StatusOr<Target> FindTarget(absl::string_view* rest, Message* message) {
  for (;;) {
    Target target;
    target.parent = message;
    const absl::string_view name = rest->substr(0, rest->find_first_of(".["));
    rest->remove_prefix(name.size());
    const auto field = FindField(*message->GetDescriptor(), name);
    if (!field.ok()) return field.status();
    target.field = *field;
    if (absl::Status status = TakeIndex(rest, target, &target.index); !status.ok()) return status;
    if (rest->empty()) return target;
    if (!absl::StartsWith(*rest, ".")) return absl::InvalidArgumentError("expected '.' or the end of the path");
    if (target.field->is_map()) {
      target.key = std::string(rest->substr(1));
      rest->remove_prefix(rest->size());
      return target;
    }
    absl::StatusOr<Message*> child = Descend(target);
    if (!child.ok()) return child.status();
    message = *child;
    rest->remove_prefix(1);
  }
}

// Adds the key to a map and returns where its value goes. Maps of this protocol have keys of text.
Message* AddMapEntry(const Target& target) {
  const auto* const reflection = target.parent->GetReflection();
  const auto* const key_field = target.field->message_type()->map_key();
  for (int i = reflection->FieldSize(*target.parent, target.field) - 1; i >= 0; --i) {
    const Message& entry = reflection->GetRepeatedMessage(*target.parent, target.field, i);
    if (entry.GetReflection()->GetString(entry, key_field) != *target.key) continue;
    reflection->SwapElements(target.parent, target.field, i, reflection->FieldSize(*target.parent, target.field) - 1);
    reflection->RemoveLast(target.parent, target.field);
  }
  Message* const entry = reflection->AddMessage(target.parent, target.field);
  entry->GetReflection()->SetString(entry, key_field, *target.key);
  return entry;
}

// Sets or adds one value, or fills a list or map that is empty.
absl::Status Fill(absl::string_view value, bool single, const FieldPlace& place, const FieldDescriptor& field,
                  Message* message) {
  if (single && field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) return SetScalarField(value, field, message);
  MessageBuilder builder("");
  return CatchYamlErrors(builder, place, [&] {
    const YAML::Node node = YAML::Load(std::string(value));
    const YAML::Mark mark = YAML::Mark::null_mark();
    return single ? builder.FillValue(node, mark, place, field, message)
                  : builder.FillField(node, mark, place, field, message);
  });
}

absl::Status SetTarget(const Target& target, absl::string_view value, const FieldPlace& place) {
  const auto* const reflection = target.parent->GetReflection();
  if (target.key.has_value()) {
    return Fill(value, true, place, *target.field->message_type()->map_value(), AddMapEntry(target));
  }
  if (!target.index.has_value()) reflection->ClearField(target.parent, target.field);
  const int size = target.index.has_value() ? reflection->FieldSize(*target.parent, target.field) : 0;
  const absl::Status status = Fill(value, target.is_single(), place, *target.field, target.parent);
  if (status.ok() && target.index.has_value() && *target.index < size) {  // put the new element into its place
    reflection->SwapElements(target.parent, target.field, *target.index, size);
    reflection->RemoveLast(target.parent, target.field);
  }
  return status;
}

}  // namespace

absl::Status SetFieldAtPath(absl::string_view path, absl::string_view value, Message* message) {
  for (const absl::string_view text : {path, value}) {
    if (ValidUtf8Prefix(text) < text.size()) return absl::InvalidArgumentError("not UTF-8");
  }
  const std::unique_ptr<Message> changed(message->New());
  changed->CopyFrom(*message);
  absl::string_view rest = path;
  const absl::StatusOr<Target> target = FindTarget(&rest, changed.get());
  if (!target.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.substr(0, path.size() - rest.size()), ": ", target.status().message()));
  }
  const absl::Status status = SetTarget(*target, value, FieldPlace{.path = std::string(path)});
  if (status.ok()) message->GetReflection()->Swap(message, changed.get());
  return status;
}

}  // namespace gradwatch::client
