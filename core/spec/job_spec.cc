#include "core/spec/job_spec.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/status_macros.h"
#include "core/base/utf8.h"
#include "core/data/data_source.h"
#include "core/detect/detector.h"
#include "core/nn/loss_function.h"
#include "core/nn/network.h"
#include "core/optim/optimizer.h"
#include "core/spec/controls.h"
#include "core/spec/finite.h"
#include "core/spec/resource_limits.h"
#include "core/spec/tensor_list.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kMaxNameCharacters = 128;
constexpr int64_t kMaxSteps = 1'000'000'000'000;
constexpr int64_t kMaxThreads = 256;
constexpr int64_t kMaxAccumulation = 65'536;
constexpr int64_t kMaxValidationExamples = 1'000'000'000;  // synthetic tasks have no end of their own
constexpr int64_t kMaxSeconds = 315'576'000'000;           // what a Duration may have
constexpr int kMaxLabels = 32;
constexpr int64_t kMaxLabelCharacters = 63;
constexpr char kNotServed[] = "not served yet";

void CheckText(FieldErrors& errors, const std::string& field, const std::string& text, int64_t max_characters) {
  const int64_t characters = CountCodePoints(text);
  if (characters == kInvalidUtf8) {
    errors.Add(field, "must be UTF-8");
  } else if (characters > max_characters) {
    errors.Add(field, absl::StrCat("must have at most ", max_characters, " characters; has ", characters));
  }
}

void CheckLabels(FieldErrors& errors, const v1::JobSpec& spec) {
  const auto& labels = spec.labels();
  if (labels.size() > kMaxLabels) errors.Add("labels", absl::StrCat("at most ", kMaxLabels, "; got ", labels.size()));
  for (const auto& [key, value] : labels) {
    // A key that is not a short text cannot stand in a path either.
    FieldErrors wrong_key;
    CheckText(wrong_key, "labels", key, kMaxLabelCharacters);
    if (!wrong_key.empty() || key.empty()) {
      errors.Add("labels", absl::StrCat("keys must be UTF-8 with 1 to ", kMaxLabelCharacters, " characters"));
      continue;
    }
    CheckText(errors, absl::StrCat("labels.", key), value, kMaxLabelCharacters);
  }
}

void CheckRetention(FieldErrors& errors, const v1::Retention& retention) {
  CheckIntegerRange(errors, "retention.max_bytes", retention.max_bytes(), 0, std::numeric_limits<int64_t>::max());
  CheckIntegerRange(errors, "retention.max_age.seconds", retention.max_age().seconds(), 0, kMaxSeconds);
  CheckIntegerRange(errors, "retention.max_age.nanos", retention.max_age().nanos(), 0, 999'999'999);
}

// What people call a job and how much is kept of it, of any job, at any time.
void CheckChangeable(FieldErrors& errors, const v1::JobSpec& spec) {
  CheckText(errors, "display_name", spec.display_name(), kMaxNameCharacters);
  CheckLabels(errors, spec);
  CheckRetention(errors, spec.retention());
}

// Parts of the vocabulary that have a place in the protocol but no code yet.
void CheckServed(FieldErrors& errors, const v1::JobSpec& spec) {
  if (spec.policies_size() > 0) errors.Add("policies", kNotServed);
  if (spec.has_checkpoints()) errors.Add("checkpoints", kNotServed);
}

void CheckValidation(FieldErrors& errors, const v1::JobSpec& spec) {
  if (!spec.has_validation()) return;
  const v1::ValidationSpec& validation = spec.validation();
  if (validation.examples() < std::max(spec.data().batch_size(), 1)) {
    errors.Add("validation.examples", absl::StrCat("must be at least data.batch_size, ", spec.data().batch_size(),
                                                   "; got ", validation.examples()));
  } else if (validation.examples() > kMaxValidationExamples) {
    errors.Add("validation.examples",
               absl::StrCat("must be at most ", kMaxValidationExamples, "; got ", validation.examples()));
  }
  if (validation.has_every_steps()) {
    CheckIntegerRange(errors, "validation.every_steps", validation.every_steps(), 1, kMaxSteps);
  }
}

// What can be said without data and model.
void CheckFields(FieldErrors& errors, const v1::JobSpec& spec) {
  CheckChangeable(errors, spec);
  if (!spec.has_model()) errors.Add("model", "required");
  if (!spec.has_data()) errors.Add("data", "required");
  if (!spec.has_optimizer()) errors.Add("optimizer", "required");
  if (spec.has_optimizer()) errors.AddStatus("optimizer", ValidateOptimizer(spec.optimizer()));
  errors.AddStatus("controls", ValidateControls(spec.controls()));
  errors.AddStatus("controls", CheckControlsFit(spec.controls(), spec.optimizer()));
  errors.AddStatus("rules", ValidateRules(spec.rules()));
  CheckIntegerRange(errors, "steps", spec.steps(), 1, kMaxSteps);
  if (spec.has_threads()) CheckIntegerRange(errors, "threads", spec.threads(), 1, kMaxThreads);
  if (spec.has_accumulation()) CheckIntegerRange(errors, "accumulation", spec.accumulation(), 1, kMaxAccumulation);
  CheckValidation(errors, spec);
  CheckServed(errors, spec);
}

// What a job of a foreign program must not say: nobody would heed it.
void CheckNothingToTrain(FieldErrors& errors, const v1::JobSpec& spec) {
  const std::pair<bool, const char*> fields[] = {
      {spec.has_model(), "model"},
      {spec.has_data(), "data"},
      {spec.has_optimizer(), "optimizer"},
      {spec.seed() != 0, "seed"},
      {spec.has_threads(), "threads"},
      {spec.has_accumulation(), "accumulation"},
      {spec.has_validation(), "validation"},
      {spec.has_checkpoints(), "checkpoints"},
      {spec.policies_size() > 0, "policies"},
  };
  for (const auto& [set, field] : fields) {
    if (set) errors.Add(field, "must be unset: the job is external, its program alone knows how it trains");
  }
}

// A job whose steps a foreign program runs: there is nothing to build or to count. Its tensors are told when the
// program attaches, so overrides of the clip cannot be matched yet, nor a mode with an optimizer.
absl::StatusOr<ValidatedJob> ValidateExternal(const v1::JobSpec& spec) {
  FieldErrors errors;
  CheckChangeable(errors, spec);
  CheckText(errors, "external.framework", spec.external().framework(), kMaxNameCharacters);
  CheckNothingToTrain(errors, spec);
  errors.AddStatus("controls", ValidateControls(spec.controls()));
  errors.AddStatus("rules", ValidateRules(spec.rules()));
  CheckIntegerRange(errors, "steps", spec.steps(), 0, kMaxSteps);
  GW_RETURN_IF_ERROR(errors.ToStatus());
  ValidatedJob job;
  job.spec = spec;
  *job.spec.mutable_controls() = ResolveControls(spec.controls());
  *job.spec.mutable_rules() = ResolveRules(spec.rules());
  return job;
}

int Threads(const v1::JobSpec& spec) { return spec.has_threads() ? spec.threads() : 1; }

v1::JobSpec Resolve(const v1::JobSpec& spec, const v1::DataSummary& data) {
  v1::JobSpec resolved = spec;
  *resolved.mutable_optimizer() = ResolveOptimizer(spec.optimizer());
  *resolved.mutable_controls() = ResolveControls(spec.controls());
  *resolved.mutable_rules() = ResolveRules(spec.rules());
  resolved.set_threads(Threads(spec));
  if (!resolved.has_accumulation()) resolved.set_accumulation(1);
  if (data.has_header()) {  // whoever reads the table later reads it as it was checked
    resolved.mutable_data()->mutable_csv()->set_header(data.header() ? v1::CsvData::HEADER_YES
                                                                     : v1::CsvData::HEADER_NO);
  }
  return resolved;
}

// The data that a spec names; nothing if that is wrong, which `errors` are then told. Alone, a missing file keeps its
// code, NOT_FOUND.
absl::StatusOr<std::optional<DataDescription>> CheckData(const v1::JobSpec& spec, const DataRoots& roots,
                                                         const SpecLimits& limits, FieldErrors& errors) {
  if (!spec.has_data()) return std::nullopt;
  absl::StatusOr<DataDescription> data =
      DescribeData(spec.data(), spec.seed(), roots, std::max<int64_t>(spec.validation().examples(), 0),
                   limits.max_bytes, TargetOf(spec.model().loss().function()));
  if (data.ok()) return *std::move(data);
  if (absl::IsOutOfRange(data.status())) {
    errors.Add("validation.examples", data.status().message());
  } else if (errors.empty()) {
    return WithFieldPrefix("data", data.status());
  } else {
    errors.AddStatus("data", data.status());
  }
  return std::nullopt;
}

absl::StatusOr<ValidatedJob> Validate(const v1::JobSpec& spec, const DataRoots& roots, const SpecLimits& limits) {
  GW_RETURN_IF_ERROR(CheckFinite(spec));
  if (spec.has_external()) return ValidateExternal(spec);
  FieldErrors errors;
  CheckFields(errors, spec);
  GW_ASSIGN_OR_RETURN(const std::optional<DataDescription> data, CheckData(spec, roots, limits, errors));
  std::unique_ptr<Network<float>> network;
  if (spec.has_model() && data.has_value()) {
    auto created = Network<float>::Create(spec.model(), data->shape, spec.data().batch_size(), Threads(spec));
    errors.AddStatus("model", created.status());
    // What was taken for granted of the data may be what is wrong.
    const bool fits = GetReason(created.status()) != kDoesNotFitTargets;
    if (!fits && !data->summary.note().empty()) errors.Add("data", data->summary.note());
    if (created.ok()) network = *std::move(created);
  }
  GW_RETURN_IF_ERROR(errors.ToStatus());
  ValidatedJob job;
  job.spec = Resolve(spec, data->summary);
  job.estimate = EstimateResources(*network, job.spec, data->bytes);
  GW_RETURN_IF_ERROR(CheckLimits(job.estimate, network->layout(), spec.data().batch_size(), limits));
  job.data = data->summary;
  job.tensors = DescribeTensors(network->layout());
  const google::protobuf::RepeatedPtrField<v1::TensorInfo> tensors(job.tensors.begin(), job.tensors.end());
  GW_RETURN_IF_ERROR(WithFieldPrefix("model", CheckTensorList(tensors)));
  GW_RETURN_IF_ERROR(WithFieldPrefix("controls", CheckOverridesMatch(job.spec.controls(), tensors)));
  GW_RETURN_IF_ERROR(CheckRulesFit(job.spec.rules(), tensors));
  return job;
}

}  // namespace

absl::Status ValidateChangeable(const v1::JobSpec& spec) {
  FieldErrors errors;
  CheckChangeable(errors, spec);
  return errors.ToStatus();
}

absl::StatusOr<ValidatedJob> ValidateJob(const v1::JobSpec& spec, const DataRoots& roots, const SpecLimits& limits) {
  return OrOutOfMemory("to check the job", [&] { return Validate(spec, roots, limits); });
}

}  // namespace gradwatch::core
