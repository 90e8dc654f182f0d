#include "client/lib/scalar_field.h"

#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/lib/decimal.h"
#include "client/lib/enum_word.h"
#include "client/lib/suggestion.h"

namespace gradwatch::client {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

constexpr size_t kMaxShown = 60;  // bytes of a wrong value in a message

absl::Status Expected(absl::string_view what, absl::string_view found) {
  return absl::InvalidArgumentError(
      absl::StrCat("expected ", what, ", found \"", absl::Utf8SafeCEscape(found.substr(0, kMaxShown)), "\""));
}

// A decimal number, or a word for what is not finite; YAML writes those ".inf" and ".nan".
std::optional<double> ParseNumber(absl::string_view text) {
  if (const std::optional<double> number = ParseDecimal(text); number.has_value()) return number;
  const bool negative = absl::ConsumePrefix(&text, "-");
  if (!negative) absl::ConsumePrefix(&text, "+");
  absl::ConsumePrefix(&text, ".");
  if (absl::EqualsIgnoreCase(text, "nan")) return std::numeric_limits<double>::quiet_NaN();
  if (!absl::EqualsIgnoreCase(text, "inf") && !absl::EqualsIgnoreCase(text, "infinity")) return std::nullopt;
  return negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
}

// Whether digits were written that a double cannot hold, as in 1e999.
bool Overflows(absl::string_view text, double number) {
  return std::isinf(number) && text.find_first_of("0123456789") != absl::string_view::npos;
}

template <typename Integer>
absl::Status ParseInteger(absl::string_view text, Integer* value) {
  const std::optional<Integer> number = ParseWhole<Integer>(text);
  if (!number.has_value()) {
    const std::optional<double> decimal = ParseDecimal(text);
    if (!decimal.has_value() || *decimal != std::floor(*decimal)) return Expected("a whole number", text);
    return Expected(absl::StrCat("a whole number from ", std::numeric_limits<Integer>::min(), " to ",
                                 std::numeric_limits<Integer>::max()),
                    text);
  }
  *value = *number;
  return absl::OkStatus();
}

absl::Status OutOfRange(absl::string_view type, absl::string_view text) {
  return Expected(absl::StrCat("a number within the range of ", type), text);
}

absl::Status ParseDouble(absl::string_view text, double* value, absl::string_view type = "double") {
  const std::optional<double> number = ParseNumber(text);
  if (!number.has_value()) return Expected("a decimal number", text);
  if (Overflows(text, *number)) return OutOfRange(type, text);
  *value = *number;
  return absl::OkStatus();
}

absl::Status ParseFloat(absl::string_view text, float* value) {
  double number = 0;
  if (absl::Status status = ParseDouble(text, &number, "float"); !status.ok()) return status;
  *value = static_cast<float>(number);
  if (std::isinf(*value) && !std::isinf(number)) return OutOfRange("float", text);
  return absl::OkStatus();
}

absl::Status ParseBool(absl::string_view text, bool* value) {
  *value = text == "true";
  return *value || text == "false" ? absl::OkStatus() : Expected("true or false", text);
}

// Tools of YAML 1.1 read an unquoted yes as a truth value, and write it as true.
absl::string_view WordOfTruth(absl::string_view text) {
  return absl::EqualsIgnoreCase(text, "true") ? "yes" : absl::EqualsIgnoreCase(text, "false") ? "no" : text;
}

absl::Status ParseEnum(absl::string_view text, const google::protobuf::EnumDescriptor& type, int* value) {
  const auto* found = FindEnumValue(type, text);
  if (found == nullptr) found = FindEnumValue(type, WordOfTruth(text));
  if (found == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("no value \"", absl::Utf8SafeCEscape(text.substr(0, kMaxShown)),
                                                   "\"", Suggestion(text, EnumWords(type))));
  }
  *value = found->number();
  return absl::OkStatus();
}

absl::Status ParseString(absl::string_view text, const FieldDescriptor& field, std::string* value) {
  *value = std::string(text);
  if (field.type() != FieldDescriptor::TYPE_BYTES || absl::Base64Unescape(text, value)) return absl::OkStatus();
  return Expected("base64", text);
}

}  // namespace

absl::Status SetScalarField(absl::string_view text, const FieldDescriptor& field, Message* message) {
  const auto* const reflection = message->GetReflection();
// One case a type: reflection has no generic setter.
#define GW_SCALAR_CASE(CPPTYPE, Name, Type, ...)                         \
  case FieldDescriptor::CPPTYPE_##CPPTYPE: {                             \
    Type value{};                                                        \
    if (absl::Status status = __VA_ARGS__; !status.ok()) return status;  \
    field.is_repeated() ? reflection->Add##Name(message, &field, value)  \
                        : reflection->Set##Name(message, &field, value); \
    return absl::OkStatus();                                             \
  }
  switch (field.cpp_type()) {
    GW_SCALAR_CASE(INT32, Int32, int32_t, ParseInteger(text, &value))
    GW_SCALAR_CASE(INT64, Int64, int64_t, ParseInteger(text, &value))
    GW_SCALAR_CASE(UINT32, UInt32, uint32_t, ParseInteger(text, &value))
    GW_SCALAR_CASE(UINT64, UInt64, uint64_t, ParseInteger(text, &value))
    GW_SCALAR_CASE(DOUBLE, Double, double, ParseDouble(text, &value))
    GW_SCALAR_CASE(FLOAT, Float, float, ParseFloat(text, &value))
    GW_SCALAR_CASE(BOOL, Bool, bool, ParseBool(text, &value))
    GW_SCALAR_CASE(ENUM, EnumValue, int, ParseEnum(text, *field.enum_type(), &value))
    GW_SCALAR_CASE(STRING, String, std::string, ParseString(text, field, &value))
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
#undef GW_SCALAR_CASE
  return absl::InternalError("a message is not a scalar");
}

}  // namespace gradwatch::client
