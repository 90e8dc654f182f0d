#include "tests/proto/descriptor_compare.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gradwatch::testing {
namespace {

using google::protobuf::DescriptorProto;
using google::protobuf::EnumDescriptorProto;
using google::protobuf::FieldDescriptorProto;
using google::protobuf::FileDescriptorSet;
using google::protobuf::MethodDescriptorProto;

// Everything in a set by its full name.
struct Index {
  std::map<std::string, DescriptorProto> messages;
  std::map<std::string, EnumDescriptorProto> enums;
  std::map<std::string, MethodDescriptorProto> methods;

  explicit Index(const FileDescriptorSet& set) {
    for (const auto& file : set.file()) {
      for (const auto& message : file.message_type()) AddMessage(file.package(), message);
      for (const auto& type : file.enum_type()) enums[absl::StrCat(file.package(), ".", type.name())] = type;
      for (const auto& service : file.service()) {
        for (const auto& method : service.method()) {
          methods[absl::StrCat(file.package(), ".", service.name(), ".", method.name())] = method;
        }
      }
    }
  }

  void AddMessage(const std::string& scope, const DescriptorProto& message) {
    const std::string name = absl::StrCat(scope, ".", message.name());
    messages[name] = message;
    for (const auto& inner : message.nested_type()) AddMessage(name, inner);
    for (const auto& type : message.enum_type()) enums[absl::StrCat(name, ".", type.name())] = type;
  }
};

// Whether number and name are reserved. Ends of ranges are exclusive in messages and inclusive in enums.
template <typename Type>
bool IsReserved(const Type& type, int number, const std::string& name, int end_offset) {
  const auto& ranges = type.reserved_range();
  const auto& names = type.reserved_name();
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const auto& range) { return range.start() <= number && number < range.end() + end_offset; }) &&
         std::find(names.begin(), names.end(), name) != names.end();
}

std::string OneofName(const DescriptorProto& message, const FieldDescriptorProto& field) {
  return field.has_oneof_index() ? message.oneof_decl(field.oneof_index()).name() : std::string();
}

bool SameField(const DescriptorProto& old_message, const FieldDescriptorProto& before, const DescriptorProto& message,
               const FieldDescriptorProto& after) {
  return before.name() == after.name() && before.type() == after.type() && before.label() == after.label() &&
         before.type_name() == after.type_name() && before.proto3_optional() == after.proto3_optional() &&
         OneofName(old_message, before) == OneofName(message, after);
}

void CompareMessage(const std::string& name, const DescriptorProto& before, const DescriptorProto& after,
                    std::vector<std::string>* changes) {
  for (const auto& old_field : before.field()) {
    const auto found = std::find_if(after.field().begin(), after.field().end(),
                                    [&](const auto& field) { return field.number() == old_field.number(); });
    const std::string what = absl::StrCat("field ", name, ".", old_field.name(), " = ", old_field.number());
    if (found == after.field().end()) {
      if (!IsReserved(after, old_field.number(), old_field.name(), 0)) {
        changes->push_back(absl::StrCat(what, " is gone and not reserved"));
      }
    } else if (!SameField(before, old_field, after, *found)) {
      changes->push_back(absl::StrCat(what, " has changed"));
    }
  }
}

void CompareEnum(const std::string& name, const EnumDescriptorProto& before, const EnumDescriptorProto& after,
                 std::vector<std::string>* changes) {
  for (const auto& old_value : before.value()) {
    const auto found = std::find_if(after.value().begin(), after.value().end(),
                                    [&](const auto& value) { return value.number() == old_value.number(); });
    const std::string what = absl::StrCat("value ", name, ".", old_value.name(), " = ", old_value.number());
    if (found == after.value().end()) {
      if (!IsReserved(after, old_value.number(), old_value.name(), 1)) {
        changes->push_back(absl::StrCat(what, " is gone and not reserved"));
      }
    } else if (found->name() != old_value.name()) {
      changes->push_back(absl::StrCat(what, " is now ", found->name()));
    }
  }
}

bool SameMethod(const MethodDescriptorProto& before, const MethodDescriptorProto& after) {
  return before.input_type() == after.input_type() && before.output_type() == after.output_type() &&
         before.client_streaming() == after.client_streaming() && before.server_streaming() == after.server_streaming();
}

template <typename Types, typename Predicate>
void Remove(Types* types, Predicate is_unused) {
  types->erase(std::remove_if(types->begin(), types->end(), is_unused), types->end());
}

bool SaysUnserved(const google::protobuf::FileDescriptorProto& file, const std::vector<int>& path) {
  for (const auto& location : file.source_code_info().location()) {
    if (std::equal(path.begin(), path.end(), location.path().begin(), location.path().end())) {
      return absl::StrContains(location.leading_comments(), "Not served yet");
    }
  }
  return false;
}

// Takes out of `parts`, which lie at `path` and their position, those that say so of themselves.
template <typename Part>
void RemoveUnservedOf(const google::protobuf::FileDescriptorProto& file, std::vector<int> path,
                      google::protobuf::RepeatedPtrField<Part>* parts) {
  path.push_back(0);
  for (int i = parts->size() - 1; i >= 0; --i) {
    path.back() = i;
    if (SaysUnserved(file, path)) parts->DeleteSubrange(i, 1);
  }
}

// Methods, fields and values of enums; of nested messages none. The numbers in a path are those of the fields of
// FileDescriptorProto, ServiceDescriptorProto, DescriptorProto and EnumDescriptorProto, and positions.
void RemoveUnserved(google::protobuf::FileDescriptorProto* file) {
  for (int s = 0; s < file->service_size(); ++s) {
    RemoveUnservedOf(*file, {6, s, 2}, file->mutable_service(s)->mutable_method());
  }
  for (int e = 0; e < file->enum_type_size(); ++e) {
    RemoveUnservedOf(*file, {5, e, 2}, file->mutable_enum_type(e)->mutable_value());
  }
  for (int m = 0; m < file->message_type_size(); ++m) {
    auto* message = file->mutable_message_type(m);
    RemoveUnservedOf(*file, {4, m, 2}, message->mutable_field());
    for (int e = 0; e < message->enum_type_size(); ++e) {
      RemoveUnservedOf(*file, {4, m, 4, e, 2}, message->mutable_enum_type(e)->mutable_value());
    }
  }
}

void AddTypesOf(const DescriptorProto& message, std::vector<std::string>* names) {
  for (const auto& field : message.field()) {
    if (!field.type_name().empty()) names->push_back(field.type_name());
  }
  for (const auto& inner : message.nested_type()) AddTypesOf(inner, names);
}

// The names, with a dot in front, of all types that the methods lead to; of nested types those of what they lie in too.
std::set<std::string> Reach(const FileDescriptorSet& set) {
  const Index index(set);
  std::vector<std::string> waiting;
  for (const auto& [name, method] : index.methods) {
    waiting.insert(waiting.end(), {method.input_type(), method.output_type()});
  }
  std::set<std::string> reached;
  while (!waiting.empty()) {
    const std::string name = waiting.back();
    waiting.pop_back();
    if (!reached.insert(name).second) continue;
    const std::string outer = name.substr(0, name.rfind('.'));
    if (index.messages.count(outer.substr(std::min<size_t>(1, outer.size()))) > 0) waiting.push_back(outer);
    const auto found = index.messages.find(name.substr(1));
    if (found != index.messages.end()) AddTypesOf(found->second, &waiting);
  }
  return reached;
}

}  // namespace

std::vector<std::string> FindBreakingChanges(const FileDescriptorSet& old_set, const FileDescriptorSet& new_set) {
  const Index before(old_set), after(new_set);
  std::vector<std::string> changes;
  for (const auto& [name, message] : before.messages) {
    const auto found = after.messages.find(name);
    if (found == after.messages.end()) {
      changes.push_back(absl::StrCat("message ", name, " is gone"));
    } else {
      CompareMessage(name, message, found->second, &changes);
    }
  }
  for (const auto& [name, type] : before.enums) {
    const auto found = after.enums.find(name);
    if (found == after.enums.end()) {
      changes.push_back(absl::StrCat("enum ", name, " is gone"));
    } else {
      CompareEnum(name, type, found->second, &changes);
    }
  }
  for (const auto& [name, method] : before.methods) {
    const auto found = after.methods.find(name);
    if (found == after.methods.end()) {
      changes.push_back(absl::StrCat("method ", name, " is gone"));
    } else if (!SameMethod(method, found->second)) {
      changes.push_back(absl::StrCat("method ", name, " has changed"));
    }
  }
  return changes;
}

FileDescriptorSet KeepServed(FileDescriptorSet set) {
  for (auto& file : *set.mutable_file()) RemoveUnserved(&file);
  const std::set<std::string> reached = Reach(set);
  for (auto& file : *set.mutable_file()) {
    file.clear_source_code_info();
    if (!absl::StartsWith(file.package(), "gradwatch")) continue;  // details of errors, which no method names
    const auto is_unused = [&](const auto& type) {
      return reached.count(absl::StrCat(".", file.package(), ".", type.name())) == 0;
    };
    Remove(file.mutable_message_type(), is_unused);
    Remove(file.mutable_enum_type(), is_unused);
  }
  return set;
}

}  // namespace gradwatch::testing
