#include "client/lib/message_builder.h"

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/yaml.h>

#include <exception>
#include <set>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/lib/scalar_field.h"
#include "client/lib/suggestion.h"
#include "client/lib/text_form.h"

namespace gradwatch::client {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

constexpr int kMaxDepth = 100;

absl::string_view Describe(const YAML::Node& node) {
  if (node.IsMap()) return "a mapping";
  if (node.IsSequence()) return "a list";
  return node.IsNull() ? "nothing" : "a single value";
}

std::string Excerpt(const YAML::Node& scalar) { return absl::Utf8SafeCEscape(scalar.Scalar().substr(0, 60)); }

std::string Expected(absl::string_view what, const YAML::Node& found) {
  if (!found.IsScalar()) return absl::StrCat("expected ", what, ", found ", Describe(found));
  return absl::StrCat("expected ", what, ", found \"", Excerpt(found), "\"");
}

// What only a server says, and nobody writes.
bool IsOutput(const FieldDescriptor& field) {
  return field.full_name() == "gradwatch.v1.Rule.armed_at" || field.full_name() == "gradwatch.v1.Rule.unable";
}

// What was meant by a name that no field has; else all fields: first those that may stand beside each other, then the
// choices of which there is one.
std::string FieldAdvice(const Descriptor& type, absl::string_view name) {
  if (type.full_name() == "gradwatch.v1.Rule") {
    for (const absl::string_view word : {"enable", "enabled", "disable", "disabled", "active", "on"}) {
      if (name == word) return "; to take a rule out: off: true";
    }
  }
  std::vector<std::string> names, beside;
  for (int i = 0; i < type.field_count(); ++i) {
    if (IsOutput(*type.field(i))) continue;
    names.push_back(type.field(i)->name());
    if (type.field(i)->real_containing_oneof() == nullptr) beside.push_back(names.back());
  }
  const std::string near = NearestSuggestion(name, names);
  if (!near.empty() || names.empty()) return near;
  std::string advice;
  if (!beside.empty())
    advice = absl::StrCat(names.size() == 1 ? "; there is " : "; one of ", absl::StrJoin(beside, ", "));
  for (int i = 0; i < type.real_oneof_decl_count(); ++i) {
    const auto& choice = *type.oneof_decl(i);
    std::vector<std::string> choices;
    for (int k = 0; k < choice.field_count(); ++k) choices.push_back(choice.field(k)->name());
    absl::StrAppend(&advice, "; one ", choice.name(), " of ", absl::StrJoin(choices, ", "));
  }
  return advice;
}

// People know their rules by name, not by the places in a list.
absl::Status NamingRule(const absl::Status& status, const YAML::Node& node, const FieldDescriptor& field) {
  const bool is_rule = field.message_type() != nullptr && field.message_type()->full_name() == "gradwatch.v1.Rule";
  if (status.ok() || !is_rule || !node.IsMap()) return status;
  const YAML::Node name = node["name"];
  if (!name.IsDefined() || !name.IsScalar() || name.Scalar().empty()) return status;
  return absl::InvalidArgumentError(absl::StrCat(status.message(), " (rule \"", Excerpt(name), "\")"));
}

// An empty value has the mark of what follows it, so its key's is told.
const YAML::Mark MarkOf(const YAML::Node& node, const YAML::Mark& fallback) {
  return node.IsNull() ? fallback : node.Mark();
}

}  // namespace

absl::Status CatchYamlErrors(const MessageBuilder& builder, const FieldPlace& place,
                             absl::FunctionRef<absl::Status()> work) {
  try {
    return work();
  } catch (const YAML::DeepRecursion& error) {  // which calls itself a bad file
    return builder.Error(error.mark, place, "nested too deeply");
  } catch (const YAML::Exception& error) {
    return builder.Error(error.mark, place, error.msg);
  } catch (const std::exception& error) {
    return builder.Error(YAML::Mark::null_mark(), place, error.what());
  }
}

FieldPlace FieldPlace::Member(absl::string_view name) const {
  return {absl::StrCat(path, path.empty() ? "" : ".", name), depth + 1};
}

FieldPlace FieldPlace::Element(int64_t index) const { return {absl::StrCat(path, "[", index, "]"), depth + 1}; }

absl::StatusOr<const FieldDescriptor*> FindField(const Descriptor& type, absl::string_view name) {
  if (const auto* const field = type.FindFieldByName(std::string(name)); field != nullptr) return field;
  return absl::InvalidArgumentError(absl::StrCat("no such field", FieldAdvice(type, name)));
}

absl::Status MessageBuilder::Error(const YAML::Mark& mark, const FieldPlace& place, absl::string_view text) const {
  std::string message;
  if (!source_name_.empty()) {
    absl::StrAppend(&message, source_name_, ":");
    if (!mark.is_null()) absl::StrAppend(&message, mark.line + 1, ":", mark.column + 1, ":");
    absl::StrAppend(&message, " ");
  }
  if (!place.path.empty()) absl::StrAppend(&message, place.path, ": ");
  return absl::InvalidArgumentError(absl::StrCat(message, text));
}

absl::Status MessageBuilder::CheckBudget(const YAML::Mark& mark, const FieldPlace& place) {
  if (place.depth > kMaxDepth) return Error(mark, FieldPlace(), absl::StrCat("nested more than ", kMaxDepth, " deep"));
  if (--values_left_ < 0) return Error(mark, FieldPlace(), "too many values");
  return absl::OkStatus();
}

absl::Status MessageBuilder::FillMessage(const YAML::Node& node, const YAML::Mark& mark, const FieldPlace& place,
                                         Message* message) {
  if (absl::Status status = CheckBudget(mark, place); !status.ok()) return status;
  if (node.IsNull()) return absl::OkStatus();
  if (!node.IsMap()) return Error(mark, place, Expected("a mapping", node));
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const YAML::Mark key_mark = entry.first.Mark();
    if (!entry.first.IsScalar()) return Error(key_mark, place, Expected("the name of a field", entry.first));
    const FieldPlace member = place.Member(entry.first.Scalar());
    const auto field = FindField(*message->GetDescriptor(), entry.first.Scalar());
    if (!field.ok()) return Error(key_mark, member, field.status().message());
    if (!seen.insert((*field)->name()).second) return Error(key_mark, member, "given twice");
    const auto* const choice = (*field)->real_containing_oneof();
    if (choice != nullptr && message->GetReflection()->HasOneof(*message, choice)) {
      const auto* const other = message->GetReflection()->GetOneofFieldDescriptor(*message, choice);
      return Error(key_mark, member, absl::StrCat("given beside ", other->name(), ", but only one may be"));
    }
    if (absl::Status status = FillField(entry.second, key_mark, member, **field, message); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status MessageBuilder::FillField(const YAML::Node& node, const YAML::Mark& mark, const FieldPlace& place,
                                       const FieldDescriptor& field, Message* message) {
  const YAML::Mark value_mark = MarkOf(node, mark);
  if (field.is_map()) return FillMap(node, value_mark, place, field, message);
  if (field.is_repeated()) return FillList(node, value_mark, place, field, message);
  return FillValue(node, value_mark, place, field, message);
}

absl::Status MessageBuilder::FillList(const YAML::Node& node, const YAML::Mark& mark, const FieldPlace& place,
                                      const FieldDescriptor& field, Message* message) {
  if (node.IsNull()) return absl::OkStatus();
  if (!node.IsSequence()) return Error(mark, place, Expected("a list", node));
  int64_t index = 0;
  for (const auto& element : node) {
    const FieldPlace element_place = place.Element(index++);
    const YAML::Mark element_mark = MarkOf(element, mark);
    const absl::Status status = FillValue(element, element_mark, element_place, field, message);
    if (!status.ok()) return NamingRule(status, element, field);
  }
  return absl::OkStatus();
}

absl::Status MessageBuilder::FillMap(const YAML::Node& node, const YAML::Mark& mark, const FieldPlace& place,
                                     const FieldDescriptor& field, Message* message) {
  if (node.IsNull()) return absl::OkStatus();
  if (!node.IsMap()) return Error(mark, place, Expected("a mapping", node));
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const YAML::Mark key_mark = entry.first.Mark();
    if (!entry.first.IsScalar()) return Error(key_mark, place, Expected("a key", entry.first));
    const FieldPlace member = place.Member(entry.first.Scalar());
    if (!seen.insert(entry.first.Scalar()).second) return Error(key_mark, member, "given twice");
    Message* const pair = message->GetReflection()->AddMessage(message, &field);
    const absl::Status key = SetScalarField(entry.first.Scalar(), *field.message_type()->map_key(), pair);
    if (!key.ok()) return Error(key_mark, member, key.message());
    const absl::Status value =
        FillValue(entry.second, MarkOf(entry.second, key_mark), member, *field.message_type()->map_value(), pair);
    if (!value.ok()) return value;
  }
  return absl::OkStatus();
}

absl::Status MessageBuilder::FillValue(const YAML::Node& node, const YAML::Mark& mark, const FieldPlace& place,
                                       const FieldDescriptor& field, Message* message) {
  if (absl::Status status = CheckBudget(mark, place); !status.ok()) return status;
  const bool is_message = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
  const auto child = [&] {
    const auto* const reflection = message->GetReflection();
    return field.is_repeated() ? reflection->AddMessage(message, &field) : reflection->MutableMessage(message, &field);
  };
  if (is_message && !HasTextForm(*field.message_type())) return FillMessage(node, mark, place, child());
  if (!node.IsScalar()) return Error(mark, place, Expected("a single value", node));
  const absl::Status status =
      is_message ? ParseTextForm(node.Scalar(), child()) : SetScalarField(node.Scalar(), field, message);
  return status.ok() ? status : Error(mark, place, status.message());
}

}  // namespace gradwatch::client
