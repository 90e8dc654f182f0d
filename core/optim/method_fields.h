// Tables of the fields of a spec whose meaning goes by the spec's method: who may set them, their ranges and defaults.
#ifndef GRADWATCH_CORE_OPTIM_METHOD_FIELDS_H_
#define GRADWATCH_CORE_OPTIM_METHOD_FIELDS_H_

#include <google/protobuf/message.h>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>

#include "core/base/error.h"

namespace gradwatch::core {

// A set of methods, the numbers of an enum below 32.
using MethodSet = uint32_t;
constexpr MethodSet Methods(std::initializer_list<int> methods) {
  MethodSet set = 0;
  for (const int method : methods) set |= MethodSet{1} << method;
  return set;
}

// Values that a number may have; always finite.
struct ValueRange {
  double low = std::numeric_limits<double>::lowest();
  double high = std::numeric_limits<double>::max();
  bool without_low = false, without_high = false;  // whether the limits themselves are outside
};

enum class Need : uint8_t { kOptional, kRequired };

// One row: a number, truth value or enum field as some methods read it. A field has several rows where its default or
// range differs between methods. Truth values count as 0 and 1.
struct MethodField {
  const char* name;
  MethodSet methods;
  ValueRange range;
  std::optional<double> default_value;
  Need need = Need::kOptional;
};

// Checks `spec`, whose enum field "method" must be set to a method of its enum, against the table: a field that its
// method does not read must be unset, one that it requires must be set, and a number must be in its range. Adds what is
// wrong to `errors`.
void CheckMethodFields(const google::protobuf::Message& spec, std::span<const MethodField> table, FieldErrors* errors);

// Sets what is unset in `spec` and has a default for its method.
void SetMethodDefaults(std::span<const MethodField> table, google::protobuf::Message* spec);

// Whether `spec.method` is a number of its enum; if not adds so to `errors`.
bool CheckMethodIsKnown(const google::protobuf::Message& spec, FieldErrors* errors);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_METHOD_FIELDS_H_
