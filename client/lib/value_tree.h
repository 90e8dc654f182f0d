// A protobuf message as a tree of mappings, lists and values, ready to be written as JSON or YAML.
#ifndef GRADWATCH_CLIENT_LIB_VALUE_TREE_H_
#define GRADWATCH_CLIENT_LIB_VALUE_TREE_H_

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gradwatch::client {

struct ValueTree {
  enum class Kind { kText, kNumber, kBool, kList, kMapping };

  struct Member;

  Kind kind = Kind::kMapping;
  std::string text;  // kText: as it is; kNumber: shortest text that reads back the same, or NaN, Infinity, -Infinity
  std::vector<ValueTree> elements;  // kList
  std::vector<Member> members;      // kMapping, in the order of the proto file

  // Whether a kNumber is NaN or infinite.
  bool is_special_number() const;
};

struct ValueTree::Member {
  std::string key;
  ValueTree value;
};

// What is unset is left out, and so are fields without presence that have their default value, unless
// `include_defaults`; of fields named in `partial` and of rules, and below them, whatever include_defaults says. Enums
// are words (see enum_word.h), Timestamp, Duration and FieldMask strings.
ValueTree BuildValueTree(const google::protobuf::Message& message, bool include_defaults,
                         absl::Span<const absl::string_view> partial = {});

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_VALUE_TREE_H_
