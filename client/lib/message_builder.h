// Fills protobuf messages from parsed YAML.
#ifndef GRADWATCH_CLIENT_LIB_MESSAGE_BUILDER_H_
#define GRADWATCH_CLIENT_LIB_MESSAGE_BUILDER_H_

#include <google/protobuf/message.h>
#include <yaml-cpp/node/node.h>

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwatch::client {

// Where a value stands, for messages: its path, and how deep it is nested.
struct FieldPlace {
  std::string path;
  int depth = 0;

  FieldPlace Member(absl::string_view name) const;
  FieldPlace Element(int64_t index) const;
};

// Not thread-safe. yaml-cpp's exceptions go through: call within CatchYamlErrors.
class MessageBuilder {
 public:
  // With an empty `source_name` messages tell paths only.
  explicit MessageBuilder(absl::string_view source_name) : source_name_(source_name) {}

  // Sets the fields of `message` that the mapping `node` names; an empty node names none. `mark` is told where the node
  // has no place of its own.
  absl::Status FillMessage(const YAML::Node& node, const YAML::Mark& mark, const FieldPlace& place,
                           google::protobuf::Message* message);
  // Sets `field` of `message`; adds to it if it is repeated.
  absl::Status FillField(const YAML::Node& node, const YAML::Mark& mark, const FieldPlace& place,
                         const google::protobuf::FieldDescriptor& field, google::protobuf::Message* message);
  // Sets `field`, or adds one element to it.
  absl::Status FillValue(const YAML::Node& node, const YAML::Mark& mark, const FieldPlace& place,
                         const google::protobuf::FieldDescriptor& field, google::protobuf::Message* message);

  absl::Status Error(const YAML::Mark& mark, const FieldPlace& place, absl::string_view text) const;

 private:
  absl::Status FillList(const YAML::Node& node, const YAML::Mark& mark, const FieldPlace& place,
                        const google::protobuf::FieldDescriptor& field, google::protobuf::Message* message);
  absl::Status FillMap(const YAML::Node& node, const YAML::Mark& mark, const FieldPlace& place,
                       const google::protobuf::FieldDescriptor& field, google::protobuf::Message* message);
  // Counts a value: aliases may make few lines into billions of values.
  absl::Status CheckBudget(const YAML::Mark& mark, const FieldPlace& place);

  const std::string source_name_;
  int64_t values_left_ = 1'000'000;
};

// Runs `work`; what yaml-cpp throws becomes an error of `builder` about `place`.
absl::Status CatchYamlErrors(const MessageBuilder& builder, const FieldPlace& place,
                             absl::FunctionRef<absl::Status()> work);

// The field `name` of `type`; an error says what may have been meant.
absl::StatusOr<const google::protobuf::FieldDescriptor*> FindField(const google::protobuf::Descriptor& type,
                                                                   absl::string_view name);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_MESSAGE_BUILDER_H_
