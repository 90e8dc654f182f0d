#include "server/job/trainer_checks.h"

#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/utf8.h"
#include "core/spec/tensor_list.h"
#include "server/base/unique_text.h"
#include "server/job/job_state.h"
#include "server/job/stall_watch.h"

namespace gradwatch::server {
namespace {

// Of an alert. The detector of this build makes summaries below 700 characters, with names of tensors that are as long
// as they may be, and at most nine lines of diagnosis below 800, the one that points to other alerts included.
constexpr int64_t kMaxSummary = 1024;
constexpr int64_t kMaxDiagnosisLine = 1024;
constexpr int kMaxDiagnosisLines = 32;
constexpr size_t kMaxRuleName = 63;

constexpr int kMaxLayers = 20'000;
constexpr int64_t kMaxLayerName = 256;
constexpr int64_t kMaxLayerKind = 64;
// Exponents of doubles, denormal ones included, and some room.
constexpr int kMinExponent = -1100, kMaxExponent = 1100;

constexpr size_t kDigestCharacters = 64;

// A text of at most so many characters of UTF-8.
absl::Status CheckText(absl::string_view field, absl::string_view text, int64_t max_characters) {
  const int64_t characters = core::CountCodePoints(text);
  if (characters == core::kInvalidUtf8) return core::InvalidField(field, "must be UTF-8");
  if (characters <= max_characters) return absl::OkStatus();
  return core::InvalidField(field, absl::StrCat("must have at most ", max_characters, " characters; has ", characters));
}

// The times that google.protobuf.Timestamp has: those of the years 1 to 9999. Unset is the first of 1970.
absl::Status CheckTime(absl::string_view field, const google::protobuf::Timestamp& time) {
  constexpr int64_t kFirst = -62'135'596'800, kLast = 253'402'300'799;
  if (time.seconds() >= kFirst && time.seconds() <= kLast && time.nanos() >= 0 && time.nanos() < 1'000'000'000) {
    return absl::OkStatus();
  }
  return core::InvalidField(field, absl::StrCat(time.seconds(), " s and ", time.nanos(), " ns are no time"));
}

// --- Alerts ---

bool IsRuleName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxRuleName &&
         std::all_of(name.begin(), name.end(), [](char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-'; });
}

// Whose it is: the id says it again, and nobody else's alert must be touched.
absl::Status CheckIdentity(const v1::Alert& alert, const v1::Job& job) {
  if (!IsRuleName(alert.rule())) {
    return core::InvalidField("notice.alert.rule",
                              absl::StrCat("must have 1 to ", kMaxRuleName, " letters, digits, '_' or '-'"));
  }
  // However the job calls it: no alert of a trainer may be taken for the server's. Other rules change nothing about
  // these names: see CheckStallNames.
  if (alert.rule() == kServerRule || alert.rule() == StallRuleOf(job.spec().rules()).name()) {
    return core::InvalidField("notice.alert.rule", absl::StrCat("\"", alert.rule(), "\" is the server's own rule"));
  }
  if (alert.episode() < 1) {
    return core::InvalidField("notice.alert.episode", absl::StrCat(alert.episode(), ": they count from 1"));
  }
  if (!alert.job_id().empty() && alert.job_id() != job.job_id()) {
    return core::InvalidField("notice.alert.job_id", "is not the job's");
  }
  if (alert.attempt() != 0 && alert.attempt() != job.attempt()) {
    return core::InvalidField("notice.alert.attempt",
                              absl::StrCat(alert.attempt(), ": this is attempt ", job.attempt()));
  }
  const std::string id = absl::StrCat(job.uid(), "/", job.attempt(), "/", alert.rule(), "/", alert.episode());
  if (alert.alert_id() == id) return absl::OkStatus();
  return core::InvalidField("notice.alert.alert_id",
                            absl::StrCat("must be \"", id, "\"; got \"", alert.alert_id().substr(0, 200), "\""));
}

absl::Status CheckSteps(const v1::Alert& alert, const v1::Job& job) {
  if (alert.first_step() < 0 || alert.first_step() > alert.step()) {
    return core::InvalidField("notice.alert.first_step",
                              absl::StrCat(alert.first_step(), " is not from 0 to the step ", alert.step()));
  }
  if (alert.step() < MaxSteps(job)) return absl::OkStatus();
  return core::InvalidField("notice.alert.step",
                            absl::StrCat(alert.step(), ": the job has steps 0 to ", MaxSteps(job) - 1));
}

absl::Status CheckTexts(const v1::Alert& alert, const v1::Job& job) {
  GW_RETURN_IF_ERROR(CheckText("notice.alert.summary", alert.summary(), kMaxSummary));
  if (alert.diagnosis_size() > kMaxDiagnosisLines) {
    return core::InvalidField("notice.alert.diagnosis",
                              absl::StrCat(alert.diagnosis_size(), " lines are more than ", kMaxDiagnosisLines));
  }
  for (const std::string& line : alert.diagnosis()) {
    GW_RETURN_IF_ERROR(CheckText("notice.alert.diagnosis", line, kMaxDiagnosisLine));
  }
  const auto is_it = [&alert](const v1::TensorInfo& tensor) { return tensor.name() == alert.tensor(); };
  if (alert.tensor().empty() || std::any_of(job.tensors().begin(), job.tensors().end(), is_it)) {
    return absl::OkStatus();
  }
  return core::InvalidField("notice.alert.tensor", absl::StrCat("\"", alert.tensor().substr(0, 300),
                                                                "\" is none of the ", job.tensors_size(), " tensors"));
}

// An episode that nobody has heard of yet.
absl::Status CheckBegins(const v1::Alert& alert, const JobRecord& record) {
  if (alert.state() == v1::ALERT_STATE_RESOLVED) {
    return core::InvalidField("notice.alert.state", absl::StrCat(alert.alert_id(), " is resolved but was not open"));
  }
  const bool same_attempt = record.episodes_attempt == record.row.job.attempt();
  const auto rule = record.episodes.find(alert.rule());
  const bool known = same_attempt && rule != record.episodes.end();
  if (known && alert.episode() <= rule->second) {
    return core::InvalidField("notice.alert.episode",
                              absl::StrCat(alert.episode(), " of rule ", alert.rule(), " comes after ", rule->second));
  }
  if (!known && same_attempt && record.episodes.size() >= kMaxRuleNames) {
    return core::InvalidField("notice.alert.rule", absl::StrCat("more than ", kMaxRuleNames, " rules in one attempt"));
  }
  if (record.open_alerts.size() < kMaxOpenAlerts) return absl::OkStatus();
  return core::InvalidField(
      "notice.alert", absl::StrCat(record.open_alerts.size(), " alerts are open already, ", kMaxOpenAlerts, " may be"));
}

absl::Status CheckTransition(const v1::Alert& alert, const JobRecord& record) {
  const auto open = record.open_alerts.find(alert.alert_id());
  if (open == record.open_alerts.end()) return CheckBegins(alert, record);
  if (alert.state() == v1::ALERT_STATE_RESOLVED) return absl::OkStatus();
  if (alert.state() == v1::ALERT_STATE_FIRING && open->second.state() == v1::ALERT_STATE_PENDING) {
    return absl::OkStatus();
  }
  return core::InvalidField("notice.alert.state",
                            absl::StrCat(v1::AlertState_Name(alert.state()), " does not follow ",
                                         v1::AlertState_Name(open->second.state()), ", of ", alert.alert_id()));
}

// --- Reports ---

absl::Status BadReport(const v1::StepReport& report, absl::string_view field, absl::string_view what) {
  return core::InvalidField(absl::StrCat("reports.reports.", field), absl::StrCat("step ", report.step(), ": ", what));
}

// Not below 0; NaN and infinity are told as they are.
template <typename... Numbers>
bool NoneNegative(Numbers... numbers) {
  return !((numbers < 0) || ...);
}

bool IsShare(double value) { return value >= 0 && value <= 1; }    // false for NaN
bool IsCosine(double value) { return value >= -1 && value <= 1; }  // the same

bool CheckBuckets(int offset, const google::protobuf::RepeatedField<int64_t>& counts) {
  if (counts.empty()) return true;
  const bool fits = offset >= kMinExponent && offset <= kMaxExponent && counts.size() <= kMaxExponent - offset + 1;
  return fits && std::all_of(counts.begin(), counts.end(), [](int64_t count) { return count >= 0; });
}

bool CheckHistogram(const v1::Histogram& histogram) {
  const int32_t stride = histogram.has_sample_stride() ? histogram.sample_stride() : 1;
  return histogram.zero_count() >= 0 && stride >= 1 && (stride & (stride - 1)) == 0 &&
         CheckBuckets(histogram.positive_offset(), histogram.positive_counts()) &&
         CheckBuckets(histogram.negative_offset(), histogram.negative_counts());
}

// The field of a tensor's statistics that cannot be; empty: none.
absl::string_view WrongTensorField(const v1::TensorStats& stats) {
  if (!NoneNegative(stats.nan_count(), stats.pos_inf_count(), stats.neg_inf_count(), stats.zero_count(),
                    stats.denormal_count())) {
    return "a count";
  }
  if (!NoneNegative(stats.l2_norm(), stats.max_abs(), stats.mean_abs(), stats.std_dev(), stats.weight_norm(),
                    stats.update_norm())) {
    return "a norm";
  }
  if (stats.has_cosine_with_last() && !IsCosine(stats.cosine_with_last())) return "cosine_with_last";
  if (stats.has_clip_scale() && !IsShare(stats.clip_scale())) return "clip_scale";
  return CheckHistogram(stats.histogram()) ? "" : "histogram";
}

absl::Status CheckTensors(const v1::StepReport& report, int tensors) {
  if (!report.tensors().empty() && report.tensors_size() != tensors) {
    return BadReport(report, "tensors", absl::StrCat(report.tensors_size(), " of the job's ", tensors, " tensors"));
  }
  for (int i = 0; i < report.tensors_size(); ++i) {
    const v1::TensorStats& stats = report.tensors(i);
    if (stats.tensor() != i) {
      return BadReport(report, "tensors.tensor", absl::StrCat(stats.tensor(), " stands at position ", i));
    }
    const absl::string_view wrong = WrongTensorField(stats);
    if (!wrong.empty()) return BadReport(report, "tensors", absl::StrCat(wrong, " of tensor ", i, " is out of range"));
  }
  return absl::OkStatus();
}

absl::Status CheckLayers(const v1::StepReport& report) {
  if (report.layers_size() > kMaxLayers) {
    return BadReport(report, "layers", absl::StrCat(report.layers_size(), " are more than ", kMaxLayers));
  }
  for (const v1::LayerStats& layer : report.layers()) {
    if (layer.name().empty()) return BadReport(report, "layers.name", "is empty");
    GW_RETURN_IF_ERROR(CheckText("reports.reports.layers.name", layer.name(), kMaxLayerName));
    GW_RETURN_IF_ERROR(CheckText("reports.reports.layers.kind", layer.kind(), kMaxLayerKind));
    const bool shares = (!layer.has_saturated() || IsShare(layer.saturated())) &&
                        (!layer.has_dead() || IsShare(layer.dead())) &&
                        (!layer.has_attention_entropy() || IsShare(layer.attention_entropy()));
    if (!shares || !NoneNegative(layer.output_variance(), layer.output_non_finite(), layer.backward_norm())) {
      return BadReport(report, "layers", absl::StrCat("a figure of layer ", layer.name(), " is out of range"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckClip(const v1::StepReport& report) {
  const v1::ClipOutcome& clip = report.clip();
  if (!v1::ClipOutcome::Action_IsValid(clip.action())) {
    return BadReport(report, "clip.action", absl::StrCat(static_cast<int>(clip.action()), " is not an action"));
  }
  if (!IsShare(clip.coefficient())) return BadReport(report, "clip.coefficient", "is out of range");
  if (NoneNegative(clip.norm_after(), clip.tensors_clipped(), clip.threshold(), clip.elements_clipped(),
                   clip.units_clipped())) {
    return absl::OkStatus();
  }
  return BadReport(report, "clip", "a norm or a count is negative");
}

absl::Status CheckValidation(const v1::StepReport& report) {
  const v1::Validation& validation = report.validation();
  const bool share = !validation.has_accuracy() || IsShare(validation.accuracy());
  if (share && NoneNegative(validation.targets(), validation.perplexity())) return absl::OkStatus();
  return BadReport(report, "validation", "accuracy, targets or perplexity is out of range");
}

absl::Status CheckNumbers(const v1::StepReport& report) {
  if (report.control_revision() < 0) return BadReport(report, "control_revision", "is negative");
  if (!NoneNegative(report.nan_count(), report.pos_inf_count(), report.neg_inf_count())) {
    return BadReport(report, "nan_count", "a count is negative");
  }
  // LiveFigures adds them up.
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 4;
  if (std::max({report.nan_count(), report.pos_inf_count(), report.neg_inf_count()}) > kMost) {
    return BadReport(report, "nan_count", "a count is too large");
  }
  if (!NoneNegative(report.grad_norm())) return BadReport(report, "grad_norm", "is negative");
  if (!(report.learning_rate() >= 0)) return BadReport(report, "learning_rate", "must be from 0");
  if (!(report.step_seconds() >= 0) || std::isinf(report.step_seconds())) {
    return BadReport(report, "step_seconds", "must be finite and from 0");
  }
  if (report.has_cosine_with_last() && !IsCosine(report.cosine_with_last())) {
    return BadReport(report, "cosine_with_last", "must be from -1 to 1");
  }
  return absl::OkStatus();
}

// --- What is not known ---

template <typename Message>
void Discard(Message* message) {
  static const auto& reflection = *message->GetReflection();  // looking it up takes longer than the question
  if (!reflection.GetUnknownFields(*message).empty()) reflection.MutableUnknownFields(message)->Clear();
}

// As DiscardUnknownFields of protobuf, which takes longer than to parse it: there are many reports.
void DiscardOfReport(v1::StepReport* report) {
  Discard(report);
  if (report->has_clip()) Discard(report->mutable_clip());
  if (report->has_time()) Discard(report->mutable_time());
  if (report->has_validation()) Discard(report->mutable_validation());
  for (v1::LayerStats& layer : *report->mutable_layers()) Discard(&layer);
  for (v1::TensorStats& tensor : *report->mutable_tensors()) {
    Discard(&tensor);
    if (tensor.has_histogram()) Discard(tensor.mutable_histogram());
  }
}

}  // namespace

void DiscardUnknownFields(v1::TrainerMessage* message) {
  if (!message->has_reports()) return message->DiscardUnknownFields();
  // What it says beside its reports is not kept.
  for (v1::StepReport& report : *message->mutable_reports()->mutable_reports()) DiscardOfReport(&report);
}

absl::Status CheckHello(const v1::TrainerHello& hello) {
  core::FieldErrors errors;
  if (hello.job_id().empty()) errors.Add("hello.job_id", "is missing");
  if (!IsUuid(hello.trainer_id())) errors.Add("hello.trainer_id", "must be a UUID");
  if (hello.attempt() < 0) errors.Add("hello.attempt", absl::StrCat(hello.attempt(), " is negative"));
  if (hello.pid() < 0) errors.Add("hello.pid", absl::StrCat(hello.pid(), " is negative"));
  errors.AddStatus("", CheckText("hello.trainer", hello.trainer(), 128));
  errors.AddStatus("", CheckText("hello.host", hello.host(), 253));
  errors.AddStatus("", CheckText("hello.engine_variant", hello.engine_variant(), 64));
  errors.AddStatus("hello", core::CheckTensorList(hello.tensors()));
  return errors.ToStatus();
}

absl::Status CheckAlert(const v1::Alert& alert, const JobRecord& record) {
  const v1::Job& job = record.row.job;
  GW_RETURN_IF_ERROR(CheckIdentity(alert, job));
  if (!v1::Severity_IsValid(alert.severity())) {
    return core::InvalidField("notice.alert.severity",
                              absl::StrCat(static_cast<int>(alert.severity()), " is not a severity"));
  }
  if (alert.state() == v1::ALERT_STATE_UNSPECIFIED || !v1::AlertState_IsValid(alert.state())) {
    return core::InvalidField("notice.alert.state", absl::StrCat(static_cast<int>(alert.state()), " is not a state"));
  }
  GW_RETURN_IF_ERROR(CheckSteps(alert, job));
  GW_RETURN_IF_ERROR(CheckTexts(alert, job));
  GW_RETURN_IF_ERROR(CheckTime("notice.alert.time", alert.time()));
  return CheckTransition(alert, record);
}

absl::Status CheckToldTensors(absl::string_view field,
                              const google::protobuf::RepeatedPtrField<v1::TensorInfo>& tensors, const v1::Job& job) {
  GW_RETURN_IF_ERROR(core::WithFieldPrefix(field, core::CheckTensorList(tensors)));
  if (job.tensors_attempt() != job.attempt() || core::SameTensors(tensors, job.tensors())) return absl::OkStatus();
  return core::InvalidField(absl::StrCat(field, ".tensors"),
                            "are not those that were told before in this attempt, and must not change");
}

absl::Status CheckFinished(const v1::TrainerFinished& finished) {
  if (!IsFinal(finished.state())) {
    return core::InvalidField("notice.finished.state",
                              absl::StrCat(static_cast<int>(finished.state()), " is not a final state"));
  }
  if (core::CountCodePoints(finished.failure()) == core::kInvalidUtf8) {
    return core::InvalidField("notice.finished.failure", "must be UTF-8");
  }
  if (finished.has_end_time()) GW_RETURN_IF_ERROR(CheckTime("notice.finished.end_time", finished.end_time()));
  const std::string& digest = finished.parameters_sha256();
  const bool is_hex = std::all_of(digest.begin(), digest.end(),
                                  [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); });
  if (digest.empty() || (digest.size() == kDigestCharacters && is_hex)) return absl::OkStatus();
  return core::InvalidField("notice.finished.parameters_sha256", "must be 64 digits of lower-case hexadecimal");
}

absl::Status CheckReport(const v1::StepReport& report, int tensors) {
  GW_RETURN_IF_ERROR(CheckNumbers(report));
  GW_RETURN_IF_ERROR(CheckClip(report));
  GW_RETURN_IF_ERROR(CheckTime("reports.reports.time", report.time()));
  GW_RETURN_IF_ERROR(CheckTensors(report, tensors));
  GW_RETURN_IF_ERROR(CheckLayers(report));
  return report.has_validation() ? CheckValidation(report) : absl::OkStatus();
}

}  // namespace gradwatch::server
