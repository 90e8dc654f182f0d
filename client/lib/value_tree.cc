#include "client/lib/value_tree.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/lib/enum_word.h"
#include "client/lib/text_form.h"

namespace gradwatch::client {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using Kind = ValueTree::Kind;

ValueTree Leaf(Kind kind, std::string text) {
  ValueTree leaf;
  leaf.kind = kind;
  leaf.text = std::move(text);
  return leaf;
}

// Of float or double; each has its own shortest text.
template <typename Number>
ValueTree NumberLeaf(Number number) {
  if (std::isnan(number)) return Leaf(Kind::kNumber, "NaN");
  if (std::isinf(number)) return Leaf(Kind::kNumber, number > 0 ? "Infinity" : "-Infinity");
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), number).ptr;
  return Leaf(Kind::kNumber, std::string(buffer, end));
}

ValueTree IntegerLeaf(auto number) { return Leaf(Kind::kNumber, absl::StrCat(number)); }

ValueTree EnumLeaf(const FieldDescriptor& field, int number) {
  const auto* const value = field.enum_type()->FindValueByNumber(number);
  return value == nullptr ? IntegerLeaf(number) : Leaf(Kind::kText, EnumWord(*value));
}

ValueTree StringLeaf(const FieldDescriptor& field, const std::string& text) {
  return Leaf(Kind::kText, field.type() == FieldDescriptor::TYPE_BYTES ? absl::Base64Escape(text) : text);
}

// Rules are written for those who edit and apply them: with what they say, and alike wherever they stand.
bool IsRules(const Descriptor* type) { return type != nullptr && type->full_name() == "gradwatch.v1.RuleSet"; }

struct Defaults {
  bool included;
  absl::Span<const absl::string_view> partial;

  // What holds of the field, and below it.
  Defaults Of(const FieldDescriptor& field) const {
    const bool is_partial =
        std::find(partial.begin(), partial.end(), field.name()) != partial.end() || IsRules(field.message_type());
    return {included && !is_partial, partial};
  }
};

ValueTree MessageTree(const Message& message, const Defaults& defaults) {
  if (HasTextForm(*message.GetDescriptor())) return Leaf(Kind::kText, FormatTextForm(message));
  return BuildValueTree(message, defaults.included, defaults.partial);
}

// The value of `field`, or with an index that of an element.
ValueTree FieldValue(const Message& message, const FieldDescriptor& field, int index, const Defaults& defaults) {
  const auto& reflection = *message.GetReflection();

// One case a type: reflection has no generic getter.
#define GW_GET(Name) \
  (index >= 0 ? reflection.GetRepeated##Name(message, &field, index) : reflection.Get##Name(message, &field))
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return IntegerLeaf(GW_GET(Int32));
    case FieldDescriptor::CPPTYPE_INT64:
      return IntegerLeaf(GW_GET(Int64));
    case FieldDescriptor::CPPTYPE_UINT32:
      return IntegerLeaf(GW_GET(UInt32));
    case FieldDescriptor::CPPTYPE_UINT64:
      return IntegerLeaf(GW_GET(UInt64));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return NumberLeaf(GW_GET(Double));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return NumberLeaf(GW_GET(Float));
    case FieldDescriptor::CPPTYPE_BOOL:
      return Leaf(Kind::kBool, GW_GET(Bool) ? "true" : "false");
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumLeaf(field, GW_GET(EnumValue));
    case FieldDescriptor::CPPTYPE_STRING:
      return StringLeaf(field, GW_GET(String));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageTree(
          index >= 0 ? reflection.GetRepeatedMessage(message, &field, index) : reflection.GetMessage(message, &field),
          defaults);
  }
#undef GW_GET
  return {};
}

ValueTree ListTree(const Message& message, const FieldDescriptor& field, const Defaults& defaults) {
  ValueTree tree;
  tree.kind = Kind::kList;
  for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
    tree.elements.push_back(FieldValue(message, field, i, defaults));
  }
  return tree;
}

// Sorted by key, so that equal messages give equal text.
ValueTree MapTree(const Message& message, const FieldDescriptor& field, const Defaults& defaults) {
  const auto& type = *field.message_type();
  ValueTree tree;
  for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
    const Message& entry = message.GetReflection()->GetRepeatedMessage(message, &field, i);
    tree.members.push_back(
        {FieldValue(entry, *type.map_key(), -1, defaults).text, FieldValue(entry, *type.map_value(), -1, defaults)});
  }
  std::sort(tree.members.begin(), tree.members.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  return tree;
}

bool IsWritten(const Message& message, const FieldDescriptor& field, const Defaults& defaults) {
  const auto& reflection = *message.GetReflection();
  if (field.is_repeated()) return defaults.included || reflection.FieldSize(message, &field) > 0;
  return reflection.HasField(message, &field) || (defaults.included && !field.has_presence());
}

}  // namespace

bool ValueTree::is_special_number() const { return text == "NaN" || text == "Infinity" || text == "-Infinity"; }

ValueTree BuildValueTree(const Message& message, bool include_defaults, absl::Span<const absl::string_view> partial) {
  ValueTree tree;
  const auto& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const Defaults defaults = Defaults{include_defaults, partial}.Of(field);
    if (!IsWritten(message, field, defaults)) continue;
    if (field.is_map()) {
      tree.members.push_back({field.name(), MapTree(message, field, defaults)});
    } else if (field.is_repeated()) {
      tree.members.push_back({field.name(), ListTree(message, field, defaults)});
    } else {
      tree.members.push_back({field.name(), FieldValue(message, field, -1, defaults)});
    }
  }
  return tree;
}

}  // namespace gradwatch::client
