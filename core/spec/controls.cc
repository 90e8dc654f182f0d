#include "core/spec/controls.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "core/base/byte_units.h"
#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/glob.h"
#include "core/base/status_macros.h"
#include "core/clip/clip_settings.h"
#include "core/detect/detector.h"

namespace gradwatch::core {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::FieldMask;
using ::google::protobuf::Message;
using Overrides = ::google::protobuf::RepeatedPtrField<v1::TensorClip>;

constexpr double kMaxLearningRateScale = 1000;
constexpr int64_t kMaxReportEvery = 1'000'000;
constexpr int kMaxPaths = 256;  // more than there are fields and overrides
constexpr char kClip[] = "clip";
constexpr char kRules[] = "rules";

std::vector<std::string> FieldNames(const Descriptor& type, absl::string_view prefix) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(absl::StrCat(prefix, type.field(i)->name()));
  return names;
}

absl::Status BadMask(absl::string_view description) {
  return WithReason(InvalidField("update_mask", description), "BAD_UPDATE_MASK");
}

absl::Status UnknownPath(absl::string_view path) {
  return BadMask(absl::StrCat("no path \"", path, "\"; there are ",
                              absl::StrJoin(FieldNames(*v1::Controls::descriptor(), ""), ", "), ", ",
                              absl::StrJoin(FieldNames(*v1::ClipSettings::descriptor(), "clip."), ", "),
                              ", their fields, for example clip.zclip.alpha, and clip.overrides.`GLOB`"));
}

// Part of a set of rules is no set: what it leaves out would be found in nobody's edit.
absl::Status OnlyAllRules(absl::string_view path) {
  return BadMask(
      absl::StrCat("\"", path, "\": rules are changed as a whole; give all of them, with the path \"rules\""));
}

// `field` of `to` becomes what it is in `from`, also if it is unset there.
void CopyField(const FieldDescriptor* field, const Message& from, Message* to) {
  const std::unique_ptr<Message> only(from.New());
  only->CopyFrom(from);
  const Descriptor& type = *from.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i) != field) only->GetReflection()->ClearField(only.get(), type.field(i));
  }
  to->GetReflection()->ClearField(to, field);
  to->MergeFrom(*only);
}

// Whether there is such a field of a message of this type, or of one in it.
bool HasNames(absl::Span<const std::string> names, const Descriptor& type) {
  const FieldDescriptor* const field = type.FindFieldByName(names[0]);
  if (field == nullptr) return false;
  if (names.size() == 1) return true;
  return !field->is_repeated() && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         HasNames(names.subspan(1), *field->message_type());
}

// Follows names that there are through the messages. Where neither side has a message on the way, nothing is made.
void CopyNames(absl::Span<const std::string> names, const Message& from, Message* to) {
  const FieldDescriptor* const field = from.GetDescriptor()->FindFieldByName(names[0]);
  if (names.size() == 1) return CopyField(field, from, to);
  const google::protobuf::Reflection& reflection = *from.GetReflection();
  if (!reflection.HasField(from, field) && !reflection.HasField(*to, field)) return;
  CopyNames(names.subspan(1), reflection.GetMessage(from, field), reflection.MutableMessage(to, field));
}

// The glob of a path clip.overrides.`GLOB`, which may hold anything; empty if it is another path.
absl::string_view OverrideGlob(absl::string_view path) {
  const bool is_one = absl::ConsumePrefix(&path, "clip.overrides.`") && absl::ConsumeSuffix(&path, "`");
  return is_one ? path : absl::string_view();
}

// Where the override of exactly this glob is; the size if there is none.
int FindOverride(const Overrides& overrides, absl::string_view glob) {
  return static_cast<int>(std::find_if(overrides.begin(), overrides.end(),
                                       [glob](const v1::TensorClip& limit) { return limit.tensors() == glob; }) -
                          overrides.begin());
}

// Removes all of this glob: a second one, which was never read, must not come to life.
absl::Status RemoveOverride(absl::string_view glob, Overrides* overrides) {
  const auto end = std::remove_if(overrides->begin(), overrides->end(),
                                  [glob](const v1::TensorClip& limit) { return limit.tensors() == glob; });
  if (end == overrides->end()) {
    if (overrides->empty()) return InvalidField("clip.overrides", "no tensors have a limit of their own");
    return InvalidField("clip.overrides", absl::StrCat("\"", glob, "\" is none of the ", overrides->size(),
                                                       " overrides; the first is ", overrides->begin()->tensors()));
  }
  overrides->erase(end, overrides->end());
  return absl::OkStatus();
}

// The override of `glob` becomes that of `from`, before all others: behind a glob that matches the same tensors it
// would say nothing. It goes if there is none.
absl::Status CopyOverride(absl::string_view glob, const Overrides& from, Overrides* to) {
  const int wanted = FindOverride(from, glob);
  if (wanted == from.size()) return RemoveOverride(glob, to);
  const int found = FindOverride(*to, glob);
  if (found == to->size()) to->Add();
  for (int i = std::min(found, to->size() - 1); i > 0; --i) to->SwapElements(i, i - 1);
  *to->Mutable(0) = from[wanted];
  return absl::OkStatus();
}

absl::Status CopyPath(const std::string& path, const v1::Controls& from, v1::Controls* to) {
  if (const absl::string_view glob = OverrideGlob(path); !glob.empty()) {
    return CopyOverride(glob, from.clip().overrides(), to->mutable_clip()->mutable_overrides());
  }
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  CopyNames(names, from, to);
  const bool names_mode = path == "clip.mode" || (path == kClip && from.has_clip());
  if (names_mode && from.clip().mode() == v1::CLIP_MODE_UNSPECIFIED) {
    return InvalidField("clip.mode", "must be named in a change; NONE ends clipping");
  }
  return absl::OkStatus();
}

// `threshold_is_new`: somebody writes it now, so that the mode must read it.
absl::Status CheckControls(const v1::Controls& controls, bool threshold_is_new) {
  FieldErrors errors;
  const absl::Status clip = ValidateClipSettings(controls.clip());
  errors.AddStatus(kClip, clip.ok() && threshold_is_new ? CheckThresholdIsRead(controls.clip()) : clip);
  if (controls.has_learning_rate_scale()) {
    CheckAbove(errors, "learning_rate_scale", controls.learning_rate_scale(), 0, kMaxLearningRateScale);
  }
  if (controls.has_report_every()) {
    CheckIntegerRange(errors, "report_every", controls.report_every(), 1, kMaxReportEvery);
  }
  if (controls.has_histogram_every()) {
    CheckIntegerRange(errors, "histogram_every", controls.histogram_every(), 1, kMaxReportEvery);
  }
  if (controls.has_rules()) errors.AddStatus(kRules, ValidateRules(controls.rules()));
  if (!v1::StatisticsLevel_IsValid(controls.statistics())) {
    errors.Add("statistics", absl::StrCat("unknown level ", static_cast<int>(controls.statistics())));
  }
  return errors.ToStatus();
}

// "SGD"; the unset method is SGD too.
std::string OptimizerName(v1::OptimizerMethod method) {
  if (method == v1::OPTIMIZER_METHOD_UNSPECIFIED) method = v1::OPTIMIZER_METHOD_SGD;
  return std::string(absl::StripPrefix(v1::OptimizerMethod_Name(method), "OPTIMIZER_METHOD_"));
}

}  // namespace

absl::Status ValidateControls(const v1::Controls& controls) {
  if (!controls.has_rules()) return CheckControls(controls, /*threshold_is_new=*/true);
  FieldErrors errors;
  errors.Add(kRules, "set the rules of the job, not of its controls");
  v1::Controls others = controls;
  others.clear_rules();
  errors.AddStatus("", CheckControls(others, /*threshold_is_new=*/true));
  return errors.ToStatus();
}

const v1::RuleSet& EffectiveRules(const v1::JobSpec& spec, const v1::Controls& controls) {
  return controls.has_rules() ? controls.rules() : spec.rules();
}

absl::Status CheckControlsFit(const v1::Controls& controls, const v1::OptimizerSpec& optimizer) {
  const bool has_moment =
      optimizer.method() == v1::OPTIMIZER_METHOD_ADAM || optimizer.method() == v1::OPTIMIZER_METHOD_ADAMW;
  if (controls.clip().mode() != v1::CLIP_MODE_SPAM || has_moment) return absl::OkStatus();
  return InvalidField("clip.mode",
                      absl::StrCat("SPAM needs optimizer ADAM or ADAMW, whose second moment it reads; got ",
                                   OptimizerName(optimizer.method())));
}

absl::Status CheckOverridesMatch(const v1::Controls& controls,
                                 const google::protobuf::RepeatedPtrField<v1::TensorInfo>& tensors) {
  FieldErrors errors;
  for (int i = 0; i < controls.clip().overrides_size(); ++i) {
    const std::string& pattern = controls.clip().overrides(i).tensors();
    const bool matches = std::any_of(tensors.begin(), tensors.end(),
                                     [&](const v1::TensorInfo& tensor) { return GlobMatches(pattern, tensor.name()); });
    if (matches) continue;
    const std::string first = tensors.empty() ? "" : absl::StrCat("; the first is ", tensors[0].name());
    errors.Add(absl::StrCat("clip.overrides[", i, "].tensors"),
               absl::StrCat("\"", pattern, "\" matches none of the ", tensors.size(), " tensors", first));
  }
  return errors.ToStatus();
}

absl::Status CheckRulesFit(const v1::RuleSet& rules,
                           const google::protobuf::RepeatedPtrField<v1::TensorInfo>& tensors) {
  std::vector<std::string> names;
  for (const v1::TensorInfo& tensor : tensors) names.push_back(tensor.name());
  const int64_t bytes = DetectorBytes(rules, names) - DetectorBytes(v1::RuleSet(), names);
  if (bytes <= kMaxRuleBytes) return absl::OkStatus();
  return WithReason(
      InvalidField(kRules, absl::StrCat("the windows of ", rules.rules_size(), " rules over ", names.size(),
                                        " tensors would take ", bytes, " bytes", InUnits(bytes), "; at most ",
                                        kMaxRuleBytes, InUnits(kMaxRuleBytes),
                                        " may be: take smaller windows, fewer rules, or a glob over tensors")),
      "QUOTA_MEMORY");
}

v1::Controls ResolveControls(const v1::Controls& controls) {
  v1::Controls resolved = controls;
  *resolved.mutable_clip() = ResolveClipSettings(controls.clip());
  if (!resolved.has_learning_rate_scale()) resolved.set_learning_rate_scale(1);
  if (!resolved.has_report_every()) resolved.set_report_every(1);
  if (resolved.statistics() == v1::STATISTICS_LEVEL_UNSPECIFIED) resolved.set_statistics(v1::STATISTICS_LEVEL_FULL);
  if (!resolved.has_histogram_every()) resolved.set_histogram_every(kHistogramEvery);
  resolved.set_gradient_cosine(controls.gradient_cosine());
  resolved.set_layer_statistics(controls.layer_statistics());
  if (resolved.has_rules()) *resolved.mutable_rules() = ResolveRules(controls.rules());
  return resolved;
}

absl::Status CheckChangePaths(const FieldMask& mask) {
  if (mask.paths().empty()) return BadMask("required: the paths to change, for example \"clip.threshold\"");
  if (mask.paths_size() > kMaxPaths) {
    return BadMask(absl::StrCat("at most ", kMaxPaths, " paths, are ", mask.paths_size()));
  }
  for (const std::string& path : mask.paths()) {
    const std::vector<std::string> names = absl::StrSplit(path, '.');
    if (names[0] == kRules && names.size() > 1) return OnlyAllRules(path);
    if (OverrideGlob(path).empty() && !HasNames(names, *v1::Controls::descriptor())) return UnknownPath(path);
  }
  return absl::OkStatus();
}

v1::Controls ValuesAt(const v1::Controls& changes, const FieldMask& mask) {
  v1::Controls values;
  for (const std::string& path : mask.paths()) {
    const absl::string_view glob = OverrideGlob(path);
    // One that is not there says that the override goes.
    const int wanted = FindOverride(changes.clip().overrides(), glob);
    if (glob.empty()) {
      const std::vector<std::string> names = absl::StrSplit(path, '.');
      CopyNames(names, changes, &values);
    } else if (wanted < changes.clip().overrides_size()) {
      Overrides* kept = values.mutable_clip()->mutable_overrides();
      if (FindOverride(*kept, glob) == kept->size()) *kept->Add() = changes.clip().overrides(wanted);
    }
  }
  return values;
}

absl::StatusOr<v1::Controls> ApplyControlChanges(const v1::Controls& current, const v1::Controls& changes,
                                                 const FieldMask& mask) {
  GW_RETURN_IF_ERROR(CheckChangePaths(mask));
  v1::Controls changed = current;
  bool threshold_is_new = false;
  for (const std::string& path : mask.paths()) {
    GW_RETURN_IF_ERROR(CopyPath(path, changes, &changed));
    threshold_is_new |= path == kClip || path == "clip.threshold";
  }
  GW_RETURN_IF_ERROR(CheckControls(changed, threshold_is_new));
  return ResolveControls(changed);
}

void CopyControlPath(const std::string& path, const v1::Controls& changes, v1::Controls* to) {
  CopyPath(path, changes, to).IgnoreError();
}

}  // namespace gradwatch::core
