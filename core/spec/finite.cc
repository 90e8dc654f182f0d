#include "core/spec/finite.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"

namespace gradwatch::core {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

void CheckNumber(const std::string& path, double value, FieldErrors& errors) {
  if (!std::isfinite(value)) errors.Add(path, absl::StrCat("must be finite; got ", value));
}

void CheckMessage(const std::string& prefix, const Message& message, FieldErrors& errors) {
  const auto& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* const field : fields) {
    const std::string path = absl::StrCat(prefix, prefix.empty() ? "" : ".", field->name());
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (!is_message && field->cpp_type() != FieldDescriptor::CPPTYPE_DOUBLE) continue;
    if (!field->is_repeated()) {
      is_message ? CheckMessage(path, reflection.GetMessage(message, field), errors)
                 : CheckNumber(path, reflection.GetDouble(message, field), errors);
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      const std::string element = absl::StrCat(path, "[", i, "]");
      is_message ? CheckMessage(element, reflection.GetRepeatedMessage(message, field, i), errors)
                 : CheckNumber(element, reflection.GetRepeatedDouble(message, field, i), errors);
    }
  }
}

}  // namespace

absl::Status CheckFinite(const Message& message) {
  FieldErrors errors;
  CheckMessage("", message, errors);
  return errors.ToStatus();
}

}  // namespace gradwatch::core
