#include "client/cli/controls_text.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/text.h"
#include "client/lib/enum_word.h"
#include "client/lib/printable.h"

namespace gradwatch::cli {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

// What the server fills in for max_consecutive_skips; it says nothing that people have asked for.
constexpr int kDefaultSkips = 100;

bool ReadsThreshold(v1::ClipMode mode) { return mode <= v1::CLIP_MODE_ADAPTIVE; }

std::string LimitText(v1::ClipMode mode, double threshold) {
  if (mode == v1::CLIP_MODE_UNSPECIFIED || mode == v1::CLIP_MODE_NONE) return "none";
  return threshold == 0 || !ReadsThreshold(mode) ? client::Word(mode)
                                                 : absl::StrCat(client::Word(mode), " ", NumberText(threshold));
}

// A field that is set: "z_threshold 2.5", "method mean".
std::string FieldText(const Message& message, const FieldDescriptor* field) {
  const auto* const reflection = message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat(field->name(), " ", NumberText(reflection->GetDouble(message, field)));
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(field->name(), " ", reflection->GetInt32(message, field));
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat(field->name(), " ", client::EnumWord(*reflection->GetEnum(message, field)));
    default:
      return field->name();
  }
}

// " (alpha 0.97, z_threshold 2.5)": the numbers of the mode in use; "" if there are none.
std::string ModeNumbersText(const v1::ClipSettings& clip) {
  const FieldDescriptor* const mode = ModeField(clip.mode());
  if (mode == nullptr) return "";
  const Message& message = clip.GetReflection()->GetMessage(clip, mode);
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  std::vector<std::string> texts;
  for (const FieldDescriptor* field : fields) texts.push_back(FieldText(message, field));
  return texts.empty() ? "" : absl::StrCat(" (", absl::StrJoin(texts, ", "), ")");
}

std::string StatisticsText(v1::StatisticsLevel level) {
  return client::Word(level == v1::STATISTICS_LEVEL_UNSPECIFIED ? v1::STATISTICS_LEVEL_FULL : level);
}

}  // namespace

const FieldDescriptor* ModeField(v1::ClipMode mode) {
  const FieldDescriptor* const field = v1::ClipSettings::descriptor()->FindFieldByName(client::Word(mode));
  return field != nullptr && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE ? field : nullptr;
}

std::string ClipText(const v1::ClipSettings& clip) {
  std::vector<std::string> parts = {LimitText(clip.mode(), clip.threshold()) + ModeNumbersText(clip)};
  for (const auto& own : clip.overrides()) {
    parts.push_back(absl::StrCat(client::Printable(own.tensors()), ": ", LimitText(own.mode(), own.threshold())));
  }
  if (clip.non_finite() > v1::NON_FINITE_ACTION_SKIP_STEP) {
    parts.push_back(absl::StrCat("non-finite: ", client::Word(clip.non_finite())));
  }
  if (clip.has_max_consecutive_skips() && clip.max_consecutive_skips() != kDefaultSkips) {
    parts.push_back(absl::StrCat("at most ", clip.max_consecutive_skips(), " skips"));
  }
  if (clip.pytorch_compatible()) parts.push_back("pytorch compatible");
  return absl::StrJoin(parts, ", ");
}

std::string ChangeText(const v1::Controls& before, const v1::Controls& after) {
  std::vector<std::string> changes;
  const auto compare = [&changes](const char* name, const std::string& old_text, const std::string& new_text) {
    if (old_text != new_text) changes.push_back(absl::StrCat(name, ": ", old_text, " -> ", new_text));
  };
  const auto scale = [](const v1::Controls& c) { return c.has_learning_rate_scale() ? c.learning_rate_scale() : 1.0; };
  const auto every = [](const v1::Controls& c) { return absl::StrCat(c.has_report_every() ? c.report_every() : 1); };
  compare("clip", ClipText(before.clip()), ClipText(after.clip()));
  compare("learning_rate_scale", NumberText(scale(before)), NumberText(scale(after)));
  compare("report_every", every(before), every(after));
  compare("statistics", StatisticsText(before.statistics()), StatisticsText(after.statistics()));
  const auto on = [](bool is_on) { return std::string(is_on ? "on" : "off"); };
  compare("gradient_cosine", on(before.gradient_cosine()), on(after.gradient_cosine()));
  compare("layer_statistics", on(before.layer_statistics()), on(after.layer_statistics()));
  return changes.empty() ? "no change" : absl::StrJoin(changes, ", ");
}

}  // namespace gradwatch::cli
