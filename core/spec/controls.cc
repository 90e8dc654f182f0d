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
#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/glob.h"
#include "core/base/status_macros.h"
#include "core/clip/clip_settings.h"

namespace gradwatch::core {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

constexpr double kMaxLearningRateScale = 1000;
constexpr int64_t kMaxReportEvery = 1'000'000;
constexpr char kClip[] = "clip";

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
                              ", and their fields, for example clip.zclip.alpha"));
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

// Follows the names through the messages; false if there is no such path.
bool CopyNames(absl::Span<const std::string> names, const Message& from, Message* to) {
  const FieldDescriptor* const field = from.GetDescriptor()->FindFieldByName(names[0]);
  if (field == nullptr) return false;
  if (names.size() == 1) {
    CopyField(field, from, to);
    return true;
  }
  if (field->is_repeated() || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return false;
  return CopyNames(names.subspan(1), from.GetReflection()->GetMessage(from, field),
                   to->GetReflection()->MutableMessage(to, field));
}

absl::Status CopyPath(absl::string_view path, const v1::Controls& from, v1::Controls* to) {
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  if (!CopyNames(names, from, to)) return UnknownPath(path);
  const bool names_mode = path == "clip.mode" || (path == kClip && from.has_clip());
  if (names_mode && from.clip().mode() == v1::CLIP_MODE_UNSPECIFIED) {
    return InvalidField("clip.mode", "must be named in a change; NONE ends clipping");
  }
  return absl::OkStatus();
}

// "SGD"; the unset method is SGD too.
std::string OptimizerName(v1::OptimizerMethod method) {
  if (method == v1::OPTIMIZER_METHOD_UNSPECIFIED) method = v1::OPTIMIZER_METHOD_SGD;
  return std::string(absl::StripPrefix(v1::OptimizerMethod_Name(method), "OPTIMIZER_METHOD_"));
}

}  // namespace

absl::Status ValidateControls(const v1::Controls& controls) {
  FieldErrors errors;
  errors.AddStatus(kClip, ValidateClipSettings(controls.clip()));
  if (controls.has_learning_rate_scale()) {
    CheckAbove(errors, "learning_rate_scale", controls.learning_rate_scale(), 0, kMaxLearningRateScale);
  }
  if (controls.has_report_every()) {
    CheckIntegerRange(errors, "report_every", controls.report_every(), 1, kMaxReportEvery);
  }
  if (!v1::StatisticsLevel_IsValid(controls.statistics())) {
    errors.Add("statistics", absl::StrCat("unknown level ", static_cast<int>(controls.statistics())));
  }
  return errors.ToStatus();
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

v1::Controls ResolveControls(const v1::Controls& controls) {
  v1::Controls resolved = controls;
  *resolved.mutable_clip() = ResolveClipSettings(controls.clip());
  if (!resolved.has_learning_rate_scale()) resolved.set_learning_rate_scale(1);
  if (!resolved.has_report_every()) resolved.set_report_every(1);
  if (resolved.statistics() == v1::STATISTICS_LEVEL_UNSPECIFIED) resolved.set_statistics(v1::STATISTICS_LEVEL_FULL);
  resolved.set_gradient_cosine(controls.gradient_cosine());
  resolved.set_layer_statistics(controls.layer_statistics());
  return resolved;
}

absl::StatusOr<v1::Controls> ApplyControlChanges(const v1::Controls& current, const v1::Controls& changes,
                                                 const google::protobuf::FieldMask& mask) {
  if (mask.paths().empty()) return BadMask("required: the paths to change, for example \"clip.threshold\"");
  v1::Controls changed = current;
  for (const std::string& path : mask.paths()) GW_RETURN_IF_ERROR(CopyPath(path, changes, &changed));
  GW_RETURN_IF_ERROR(ValidateControls(changed));
  return ResolveControls(changed);
}

void CopyControlPath(const std::string& path, const v1::Controls& changes, v1::Controls* to) {
  CopyPath(path, changes, to).IgnoreError();
}

}  // namespace gradwatch::core
