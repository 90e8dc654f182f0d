#include "core/optim/method_fields.h"

#include <google/protobuf/descriptor.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace gradwatch::core {
namespace {

using ::google::protobuf::EnumDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

const FieldDescriptor& Field(const Message& spec, const char* name) {
  return *spec.GetDescriptor()->FindFieldByName(name);
}

int MethodOf(const Message& spec) { return spec.GetReflection()->GetEnumValue(spec, &Field(spec, "method")); }

// A number that is no method reads nothing.
bool Reads(const MethodField& row, int method) {
  constexpr int kBits = std::numeric_limits<MethodSet>::digits;
  return method >= 0 && method < kBits && (row.methods >> method & 1) != 0;
}

double ValueOf(const Message& spec, const FieldDescriptor& field) {
  const auto& reflection = *spec.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(spec, &field) ? 1 : 0;
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(spec, &field);
    case FieldDescriptor::CPPTYPE_INT64:
      return static_cast<double>(reflection.GetInt64(spec, &field));
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.GetEnumValue(spec, &field);
    default:
      return reflection.GetDouble(spec, &field);
  }
}

void SetValue(const FieldDescriptor& field, double value, Message* spec) {
  const auto& reflection = *spec->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(spec, &field, value != 0);
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(spec, &field, static_cast<int32_t>(value));
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.SetInt64(spec, &field, static_cast<int64_t>(value));
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.SetEnumValue(spec, &field, static_cast<int>(value));
    default:
      return reflection.SetDouble(spec, &field, value);
  }
}

// "ADAM, ADAMW": the methods of all rows of the field, as the vocabulary calls them.
std::string MethodNames(const Message& spec, std::span<const MethodField> table, absl::string_view field) {
  const EnumDescriptor& methods = *Field(spec, "method").enum_type();
  std::vector<std::string> names;
  for (int i = 1; i < methods.value_count(); ++i) {
    for (const MethodField& row : table) {
      if (row.name != field || !Reads(row, methods.value(i)->number())) continue;
      absl::string_view name = methods.value(i)->name();
      // The unspecified value has the same prefix.
      const absl::string_view prefix = absl::StripSuffix(methods.value(0)->name(), "UNSPECIFIED");
      names.emplace_back(absl::StripPrefix(name, prefix));
      break;
    }
  }
  return absl::StrJoin(names, ", ");
}

bool IsWithin(double value, const ValueRange& range) {
  return std::isfinite(value) && (range.without_low ? value > range.low : value >= range.low) &&
         (range.without_high ? value < range.high : value <= range.high);
}

std::string RangeText(const ValueRange& range) {
  std::vector<std::string> parts;
  if (range.low > std::numeric_limits<double>::lowest()) {
    parts.push_back(absl::StrCat(range.without_low ? "above " : "at least ", range.low));
  }
  if (range.high < std::numeric_limits<double>::max()) {
    parts.push_back(absl::StrCat(range.without_high ? "below " : "at most ", range.high));
  }
  return parts.empty() ? "finite" : absl::StrJoin(parts, " and ");
}

// The row by which the method reads the field; null if it does not.
const MethodField* FindRow(std::span<const MethodField> table, absl::string_view field, int method) {
  for (const MethodField& row : table) {
    if (row.name == field && Reads(row, method)) return &row;
  }
  return nullptr;
}

}  // namespace

void CheckMethodFields(const Message& spec, std::span<const MethodField> table, FieldErrors* errors) {
  const int method = MethodOf(spec);
  absl::string_view previous;
  for (const MethodField& any_row : table) {
    if (any_row.name == previous) continue;  // rows of a field stand together
    previous = any_row.name;
    const FieldDescriptor& field = Field(spec, any_row.name);
    const bool is_set = spec.GetReflection()->HasField(spec, &field);
    const MethodField* const row = FindRow(table, any_row.name, method);
    if (row == nullptr) {
      if (is_set) errors->Add(any_row.name, absl::StrCat("is only for ", MethodNames(spec, table, any_row.name)));
    } else if (!is_set) {
      if (row->need == Need::kRequired) {
        errors->Add(row->name, absl::StrCat("is required by ", MethodNames(spec, std::span(row, 1), row->name)));
      }
    } else if (const double value = ValueOf(spec, field); !IsWithin(value, row->range)) {
      errors->Add(row->name, absl::StrCat("must be ", RangeText(row->range), "; got ", value));
    }
  }
}

void SetMethodDefaults(std::span<const MethodField> table, Message* spec) {
  const int method = MethodOf(*spec);
  for (const MethodField& row : table) {
    const FieldDescriptor& field = Field(*spec, row.name);
    if (!row.default_value.has_value() || !Reads(row, method)) continue;
    if (!spec->GetReflection()->HasField(*spec, &field)) SetValue(field, *row.default_value, spec);
  }
}

bool CheckMethodIsKnown(const Message& spec, FieldErrors* errors) {
  const int method = MethodOf(spec);
  if (Field(spec, "method").enum_type()->FindValueByNumber(method) != nullptr) return true;
  errors->Add("method", absl::StrCat("is not a method; got ", method));
  return false;
}

}  // namespace gradwatch::core
