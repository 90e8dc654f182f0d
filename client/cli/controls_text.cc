#include "client/cli/controls_text.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/cli/rules_change.h"
#include "client/cli/rules_text.h"
#include "client/cli/text.h"
#include "client/lib/enum_word.h"
#include "client/lib/printable.h"
#include "client/lib/spec_writer.h"

namespace gradwatch::cli {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

// What the server fills in; it says nothing that people have asked for.
constexpr int kDefaultSkips = 100;
constexpr int kDefaultHistogramEvery = 16;

bool ReadsThreshold(v1::ClipMode mode) { return mode <= v1::CLIP_MODE_ADAPTIVE; }

std::string LimitText(v1::ClipMode mode, double threshold) {
  if (mode == v1::CLIP_MODE_UNSPECIFIED || mode == v1::CLIP_MODE_NONE) return "none";
  return threshold == 0 || !ReadsThreshold(mode) ? client::Word(mode)
                                                 : absl::StrCat(client::Word(mode), " ", ExactText(threshold));
}

std::string FieldsText(const Message& message);

// The value of a field that is set: "2.5", "mean", "z_threshold 2.5, method mean".
std::string ValueText(const Message& message, const FieldDescriptor* field) {
  const auto* const reflection = message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return ExactText(reflection->GetDouble(message, field));
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection->GetInt32(message, field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(message, field) ? "on" : "off";
    case FieldDescriptor::CPPTYPE_ENUM:
      return client::EnumWord(*reflection->GetEnum(message, field));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return FieldsText(reflection->GetMessage(message, field));
    default:
      return "";
  }
}

// What is set: "z_threshold 2.5, method mean".
std::string FieldsText(const Message& message) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  return absl::StrJoin(fields, ", ", [&message](std::string* text, const FieldDescriptor* field) {
    absl::StrAppend(text, field->name(), " ", ValueText(message, field));
  });
}

// " (alpha 0.97, z_threshold 2.5)": the numbers of the mode in use; "" if there are none.
std::string ModeNumbersText(const v1::ClipSettings& clip) {
  const FieldDescriptor* const mode = ModeField(clip.mode());
  if (mode == nullptr) return "";
  const std::string text = FieldsText(clip.GetReflection()->GetMessage(clip, mode));
  return text.empty() ? "" : absl::StrCat(" (", text, ")");
}

// "rnn0.*: value 0.5".
std::string OverrideText(const v1::TensorClip& own) {
  return absl::StrCat(client::Printable(own.tensors()), ": ", LimitText(own.mode(), own.threshold()));
}

// What the values say of the override of one glob; "removed" if nothing.
std::string OverrideValueText(const v1::ClipSettings& values, absl::string_view glob) {
  const auto& all = values.overrides();
  const auto found = std::find_if(all.begin(), all.end(), [glob](const auto& own) { return own.tensors() == glob; });
  return found == all.end() ? "removed" : LimitText(found->mode(), found->threshold());
}

// What the values say at a path.
std::string PathValueText(const v1::Controls& values, absl::string_view path) {
  absl::string_view glob = path;
  // As OverrideGlob of core/spec/controls.cc reads it, which a client does not share: the contract is the proto's.
  if (absl::ConsumePrefix(&glob, "clip.overrides.`") && absl::ConsumeSuffix(&glob, "`")) {
    return OverrideValueText(values.clip(), glob);
  }
  if (path == "clip") return ClipText(values.clip());
  if (path == "rules") return values.has_rules() ? RulesText(values.rules()) : "those of the spec";
  if (path == "clip.overrides") {
    const std::string all = absl::StrJoin(values.clip().overrides(), ", ",
                                          [](std::string* text, const auto& own) { text->append(OverrideText(own)); });
    return all.empty() ? "none" : all;
  }
  const Message* message = &values;
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  for (size_t i = 0; i < names.size(); ++i) {
    const FieldDescriptor* const field = message->GetDescriptor()->FindFieldByName(names[i]);
    if (field == nullptr || field->is_repeated()) return "?";  // of a newer server
    if (!message->GetReflection()->HasField(*message, field)) break;
    if (i + 1 == names.size()) return ValueText(*message, field);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return "?";
    message = &message->GetReflection()->GetMessage(*message, field);
  }
  return "default";
}

std::string StatisticsText(v1::StatisticsLevel level) {
  return client::Word(level == v1::STATISTICS_LEVEL_UNSPECIFIED ? v1::STATISTICS_LEVEL_FULL : level);
}

// The controls but for the clip, by name.
std::vector<std::pair<const char*, std::string>> Settings(const v1::Controls& c) {
  const auto on = [](bool is_on) { return is_on ? "on" : "off"; };
  return {{"learning_rate_scale", ExactText(c.has_learning_rate_scale() ? c.learning_rate_scale() : 1.0)},
          {"report_every", absl::StrCat(c.has_report_every() ? c.report_every() : 1)},
          {"histogram_every", absl::StrCat(c.has_histogram_every() ? c.histogram_every() : kDefaultHistogramEvery)},
          {"statistics", StatisticsText(c.statistics())},
          {"gradient_cosine", on(c.gradient_cosine())},
          {"layer_statistics", on(c.layer_statistics())}};
}

}  // namespace

const FieldDescriptor* ModeField(v1::ClipMode mode) {
  const FieldDescriptor* const field = v1::ClipSettings::descriptor()->FindFieldByName(client::Word(mode));
  return field != nullptr && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE ? field : nullptr;
}

std::string ClipText(const v1::ClipSettings& clip) {
  std::vector<std::string> parts = {LimitText(clip.mode(), clip.threshold()) + ModeNumbersText(clip)};
  for (const auto& own : clip.overrides()) parts.push_back(OverrideText(own));
  if (clip.non_finite() > v1::NON_FINITE_ACTION_SKIP_STEP) {
    parts.push_back(absl::StrCat("non-finite: ", client::Word(clip.non_finite())));
  }
  if (clip.has_max_consecutive_skips() && clip.max_consecutive_skips() != kDefaultSkips) {
    parts.push_back(absl::StrCat("at most ", clip.max_consecutive_skips(), " skips"));
  }
  if (clip.pytorch_compatible()) parts.push_back("pytorch compatible");
  return absl::StrJoin(parts, ", ");
}

std::string OverridePath(absl::string_view glob) { return absl::StrCat("clip.overrides.`", glob, "`"); }

std::string EditText(const v1::Adjustment& edit) {
  return absl::StrJoin(edit.paths(), ", ", [&edit](std::string* text, const std::string& path) {
    absl::StrAppend(text, client::Printable(path), ": ", PathValueText(edit.values(), path));
  });
}

JsonObject EditJson(const v1::Adjustment& edit) {
  std::vector<std::string> paths;
  for (const std::string& path : edit.paths()) paths.push_back(client::JsonString(path));
  JsonObject object;
  object.Add("edit", edit.edit()).AddRaw("paths", JsonArray(paths));
  object.AddRaw("values", client::FormatMessage(edit.values(), client::OutputSyntax::kJson));
  if (edit.has_at_step()) object.Add("at_step", edit.at_step());
  if (!edit.actor().empty()) object.Add("actor", edit.actor());
  if (edit.has_request_time()) {
    object.Add("request_time", google::protobuf::util::TimeUtil::ToString(edit.request_time()));
  }
  if (!edit.withdrawn_by().empty()) object.Add("withdrawn_by", edit.withdrawn_by());
  return object;
}

std::string SettingsText(const v1::JobSpec& spec, const v1::Controls& controls) {
  const auto first = Settings(spec.controls()), settings = Settings(controls);
  std::vector<std::string> parts;
  for (size_t i = 0; i < settings.size(); ++i) {
    const auto& [name, text] = settings[i];
    if (text != first[i].second) parts.push_back(absl::StrCat(name, " ", text));
  }
  // An edit that goes back to those of the spec leaves them in the controls.
  if (controls.has_rules() && !RulesChangeText(spec.rules(), controls.rules()).empty()) {
    parts.push_back("rules of its own");
  }
  return absl::StrJoin(parts, ", ");
}

std::string ChangeText(const v1::Controls& before, const v1::Controls& after) {
  std::vector<std::string> changes;
  const auto compare = [&changes](const char* name, const std::string& old_text, const std::string& new_text) {
    if (old_text != new_text) changes.push_back(absl::StrCat(name, ": ", old_text, " -> ", new_text));
  };
  compare("clip", ClipText(before.clip()), ClipText(after.clip()));
  const auto old_settings = Settings(before), new_settings = Settings(after);
  for (size_t i = 0; i < old_settings.size(); ++i) {
    compare(old_settings[i].first, old_settings[i].second, new_settings[i].second);
  }
  const std::string rules = RulesChangeText(before.rules(), after.rules());
  // One side alone is not known.
  if (before.has_rules() && after.has_rules() && !rules.empty()) changes.push_back(absl::StrCat("rules: ", rules));
  return changes.empty() ? "no change" : absl::StrJoin(changes, ", ");
}

}  // namespace gradwatch::cli
