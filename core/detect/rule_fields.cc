#include "core/detect/rule_fields.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace gradwatch::core {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

constexpr double kLargest = std::numeric_limits<double>::max();

// Always finite.
struct Range {
  double low = -kLargest;
  double high = kLargest;
  bool without_low = false;
  bool without_high = false;
};

constexpr Range kFinite = {};
constexpr Range kPositive = {.low = 0, .without_low = true};
constexpr Range kAboveOne = {.low = 1, .without_low = true};
constexpr Range kFromZero = {.low = 0};
constexpr Range kFromOne = {.low = 1};
constexpr Range kShare = {.low = 0, .high = 1, .without_low = true};
constexpr Range kSwitch = {.low = 0, .high = 1};
constexpr Range Between(double low, double high) { return {.low = low, .high = high}; }

constexpr std::optional<double> kNone;  // stays unset
constexpr double kRequired = 0;         // and 0 is not in its range

struct ConditionField {
  absl::string_view condition;
  absl::string_view name;
  std::optional<double> unset;
  Range range;
};

constexpr ConditionField kFields[] = {
    {"norm_limit", "max_norm", kRequired, kPositive},
    {"norm_limit", "per_tensor", 0, kSwitch},
    {"norm_spike", "max_deviations", 6, kPositive},
    {"norm_spike", "window", 101, Between(10, 10'000)},
    {"norm_spike", "min_deviation", 0.05, kPositive},
    {"norm_spike", "per_tensor", 0, kSwitch},
    {"norm_spike", "start_factor", kNone, kFromZero},
    {"loss_jump", "factor", 3, kAboveOne},
    {"loss_jump", "window", 51, Between(5, 10'000)},
    {"loss_jump", "max_deviations", 3, kFromZero},
    {"loss_jump", "norm_factor", kNone, kFromOne},
    {"update_ratio", "max_ratio", 0.1, kPositive},
    {"drift", "slack", 0.5, kFromZero},
    {"drift", "limit", 10, kPositive},
    {"drift", "baseline_steps", 100, Between(10, 10'000)},
    {"vanishing", "min_mean_abs", 1e-7, kPositive},
    {"growth", "max_growth", 10'000, kAboveOne},
    {"stall", "seconds", kNone, Between(1, 1e6)},
    {"loss_divergence", "factor", 3, kAboveOne},
    {"loss_divergence", "start_factor", 1.5, kAboveOne},
    {"loss_divergence", "max_deviations", 8, kFromZero},
    {"loss_collapse", "factor", 1.5, kAboveOne},
    {"loss_collapse", "max_deviations", 8, kFromZero},
    {"loss_collapse", "start_share", 0.75, kShare},
    {"norm_growth", "factor", 100, kAboveOne},
    {"joint_growth", "loss_factor", 2, kAboveOne},
    {"joint_growth", "norm_factor", 4, kAboveOne},
    {"joint_growth", "update_loss_factor", 1.5, kAboveOne},
    {"joint_growth", "update_factor", 4, kAboveOne},
    {"first_step", "max_update_ratio", 1, kPositive},
    {"first_step", "max_loss_factor", 10, kAboveOne},
    {"first_step", "max_input_scale", 100, kPositive},
    {"overshoot", "max_log_product", 1.5, {.low = 0, .high = 100, .without_low = true}},
    {"overshoot", "start_factor", 1.5, kAboveOne},
    {"update_growth", "rate_factor", 2, kAboveOne},
    {"update_growth", "update_factor", 1.5, kAboveOne},
    {"no_progress", "window", 1'000, Between(30, 10'000)},
    {"no_progress", "min_gain", 0.001, {.low = 0, .high = 1, .without_high = true}},
    {"saturation", "max_saturated", 0.5, kShare},
    {"saturation", "max_dead", 0.5, kShare},
    {"attention", "max_logit", 50, kPositive},
    {"attention", "min_entropy", 0.01, Between(0, 1)},
    {"frozen", "max_share", 0, {.low = 0, .high = 1, .without_high = true}},
    {"clipping", "factor", 100, kAboveOne},
    {"clipping", "growth_factor", 10, kFromOne},
    {"clipping", "window", 50, Between(10, 10'000)},
    {"series", "series", v1::SeriesCondition::SERIES_LOSS, Between(0, v1::SeriesCondition::Series_MAX)},
    {"series", "baseline", kNone, Between(0, v1::SeriesCondition::Baseline_MAX)},
    {"series", "window", 100, Between(1, 100'000)},
    {"series", "warm_up", kNone, Between(1, 100'000)},  // unset: the window
    {"series", "factor", kNone, kPositive},
    {"series", "max_deviations", kNone, kPositive},
    {"series", "limit", kNone, kFinite},
    {"series", "keep_out", 0, kSwitch},
};

double ValueOf(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? 1 : 0;
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.GetEnumValue(message, &field);
    default:
      return reflection.GetDouble(message, &field);
  }
}

void SetValue(const FieldDescriptor& field, double value, Message* message) {
  const auto& reflection = *message->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(message, &field, value != 0);
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(message, &field, static_cast<int32_t>(value));
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.SetEnumValue(message, &field, static_cast<int>(value));
    default:
      return reflection.SetDouble(message, &field, value);
  }
}

bool IsWithin(double value, const Range& range) {
  return std::isfinite(value) && (range.without_low ? value > range.low : value >= range.low) &&
         (range.without_high ? value < range.high : value <= range.high);
}

// "in 10 to 10000", "finite and above 0", "above 0 and at most 1".
std::string RangeText(const Range& range) {
  const std::string low = absl::StrCat(range.without_low ? "above " : "at least ", range.low);
  if (range.high == kLargest) return range.low == -kLargest ? "finite" : absl::StrCat("finite and ", low);
  if (!range.without_low && !range.without_high) return absl::StrCat("in ", range.low, " to ", range.high);
  return absl::StrCat(low, " and ", range.without_high ? "below " : "at most ", range.high);
}

// Field of the rule that is its condition; null if it has none.
const FieldDescriptor* ConditionOf(const v1::Rule& rule) {
  return v1::Rule::descriptor()->FindFieldByNumber(rule.condition_case());
}

}  // namespace

void CheckConditionFields(const v1::Rule& rule, FieldErrors* errors) {
  const FieldDescriptor* const condition = ConditionOf(rule);
  if (condition == nullptr) return;
  const Message& message = rule.GetReflection()->GetMessage(rule, condition);
  for (const ConditionField& row : kFields) {
    if (row.condition != condition->name()) continue;
    const FieldDescriptor& field = *message.GetDescriptor()->FindFieldByName(std::string(row.name));
    if (row.unset != kRequired && !message.GetReflection()->HasField(message, &field)) continue;
    if (const double value = ValueOf(message, field); !IsWithin(value, row.range)) {
      errors->Add(absl::StrCat(row.condition, ".", row.name),
                  absl::StrCat("must be ", RangeText(row.range), ", is ", value));
    }
  }
}

void SetConditionDefaults(v1::Rule* rule) {
  const FieldDescriptor* const condition = ConditionOf(*rule);
  if (condition == nullptr) return;
  Message* const message = rule->GetReflection()->MutableMessage(rule, condition);
  for (const ConditionField& row : kFields) {
    if (row.condition != condition->name() || !row.unset.has_value()) continue;
    const FieldDescriptor& field = *message->GetDescriptor()->FindFieldByName(std::string(row.name));
    if (!message->GetReflection()->HasField(*message, &field)) SetValue(field, *row.unset, message);
  }
  if (rule->has_series() && !rule->series().has_warm_up()) {
    rule->mutable_series()->set_warm_up(rule->series().window());
  }
}

}  // namespace gradwatch::core
