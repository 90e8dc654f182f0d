#include "client/cli/rule_comments.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "client/cli/alert_descriptors.h"
#include "client/lib/enum_word.h"

namespace gradwatch::cli {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::EnumDescriptor;
using ::google::protobuf::FieldDescriptor;

// In one line: a blank begins each line of a comment.
template <typename T>
std::string CommentOf(const T& thing) {
  google::protobuf::SourceLocation location;
  if (!thing.GetSourceLocation(&location)) return "";
  return std::string(absl::StripAsciiWhitespace(absl::StrReplaceAll(location.leading_comments, {{"\n", ""}})));
}

std::string TypeOf(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "number";
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return "whole number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return "word";
    default:
      return "text";
  }
}

// All but the one that stands for unset.
std::vector<CommentedField> WordsOf(const EnumDescriptor& type) {
  std::vector<CommentedField> words;
  for (int i = 0; i < type.value_count(); ++i) {
    const auto& value = *type.value(i);
    if (value.number() != 0) words.push_back({client::EnumWord(value), "", CommentOf(value), {}});
  }
  return words;
}

CommentedField Commented(const FieldDescriptor& field) {
  CommentedField commented = {field.name(), TypeOf(field), CommentOf(field), {}};
  if (field.enum_type() != nullptr) commented.words = WordsOf(*field.enum_type());
  return commented;
}

CommentedCondition CommentedConditionOf(const FieldDescriptor& field) {
  CommentedCondition condition = {field.name(), CommentOf(field), CommentOf(*field.message_type()), {}};
  for (int i = 0; i < field.message_type()->field_count(); ++i) {
    condition.fields.push_back(Commented(*field.message_type()->field(i)));
  }
  return condition;
}

CommentedRule* Read(const Descriptor& rule) {
  auto* const read = new CommentedRule;
  for (int i = 0; i < rule.field_count(); ++i) {
    const FieldDescriptor& field = *rule.field(i);
    if (field.message_type() != nullptr) {
      read->conditions.push_back(CommentedConditionOf(field));
    } else if (CommentedField commented = Commented(field); !absl::StrContains(commented.comment, "Filled by")) {
      read->fields.push_back(std::move(commented));
    }
  }
  return read;
}

// Of the descriptors that were built in; those of generated code have no comments.
const CommentedRule* ReadBuiltIn() {
  google::protobuf::FileDescriptorSet files;
  files.ParseFromArray(kAlertDescriptors, static_cast<int>(kAlertDescriptorsSize));
  google::protobuf::DescriptorPool pool;
  for (const auto& file : files.file()) pool.BuildFile(file);
  const Descriptor* const rule = pool.FindMessageTypeByName("gradwatch.v1.Rule");
  return rule == nullptr ? new CommentedRule : Read(*rule);
}

}  // namespace

const CommentedRule& RuleComments() {
  static const CommentedRule* const comments = ReadBuiltIn();
  return *comments;
}

}  // namespace gradwatch::cli
