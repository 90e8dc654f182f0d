#include "tests/support/recorded_run.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "core/base/status_macros.h"
#include "core/detect/detector.h"
#include "core/stats/norm_sum.h"

namespace gradwatch::testing {
namespace {

using ::google::protobuf::Struct;
using ::google::protobuf::Value;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
// What four digits of two norms are off by, against their sum.
constexpr double kRounding = 6e-4;
// The least share of a first update that its weights are taken to have had: four digits do not tell less.
constexpr double kLeastShare = 1.0 / 30;
// What PyTorch adds to a norm before it divides by it.
constexpr double kClipEpsilon = 1e-6;
constexpr int kTensorNumbers = 7;

// Lines of a file, gzipped or not.
absl::StatusOr<std::vector<std::string>> ReadLines(const std::string& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (file == nullptr) return absl::InvalidArgumentError(absl::StrCat("cannot open ", path));
  std::string text, block(1 << 18, '\0');
  int count = 0;
  while ((count = gzread(file.get(), block.data(), static_cast<unsigned>(block.size()))) > 0) {
    text.append(block, 0, static_cast<size_t>(count));
  }
  if (count < 0) return absl::InvalidArgumentError(absl::StrCat("cannot read ", path));
  return std::vector<std::string>(absl::StrSplit(text, '\n', absl::SkipEmpty()));
}

absl::Status ParseObject(const std::string& line, Struct* object) {
  object->Clear();
  const auto status = google::protobuf::util::JsonStringToMessage(line, object);
  return status.ok() ? absl::OkStatus() : absl::InvalidArgumentError(status.ToString());
}

const Value& Field(const Struct& object, const std::string& name) {
  static const Value* const nothing = new Value();
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? *nothing : found->second;
}

// Numbers that are not finite are written as text.
double Number(const Value& value) {
  if (value.has_number_value()) return value.number_value();
  double number = 0;
  return value.has_string_value() && absl::SimpleAtod(value.string_value(), &number) ? number : kNaN;
}

std::string Text(const Value& value) {
  if (value.has_string_value()) return value.string_value();
  if (value.has_bool_value()) return value.bool_value() ? "true" : "false";
  return value.has_number_value() ? absl::StrCat(value.number_value()) : "none";
}

std::optional<int64_t> Step(const Value& value) {
  if (!value.has_number_value()) return std::nullopt;
  return static_cast<int64_t>(value.number_value());
}

absl::StatusOr<RunLabel> LabelOf(const Struct& line) {
  const std::optional<int64_t> seed = Step(Field(line, "seed"));
  if (!seed.has_value()) return absl::InvalidArgumentError("no seed, after which the file is named");
  RunLabel label;
  label.run = absl::StrCat(*seed);
  if (label.run.size() < 5) label.run.insert(0, 5 - label.run.size(), '0');
  label.label = Text(Field(line, "label"));
  label.by_value = Text(Field(line, "how")) == "nonfinite";
  label.onset = Step(Field(line, "onset"));
  label.has_fault = Text(Field(line, "fault")) != "none";
  label.fault_step = Step(Field(line, "fault_step"));
  for (const auto& [name, value] : line.fields()) label.fields[name] = Text(value);
  const bool has_onset = label.label == "diverged" || label.label == "spike";
  if (has_onset && !label.onset.has_value()) return absl::InvalidArgumentError("no onset");
  return label;
}

absl::StatusOr<RecordedTensor> TensorOf(const Value& value) {
  const auto& numbers = value.list_value().values();
  if (numbers.size() != kTensorNumbers) return absl::InvalidArgumentError("a tensor does not have seven numbers");
  return RecordedTensor{Number(numbers[0]), Number(numbers[1]), Number(numbers[2]), Number(numbers[3]),
                        Number(numbers[4]), Number(numbers[5]), Number(numbers[6])};
}

absl::StatusOr<RecordedStep> StepOf(const Struct& line, const std::vector<std::string>& tensor_names) {
  RecordedStep step;
  const std::optional<int64_t> number = Step(Field(line, "step"));
  if (!number.has_value()) return absl::InvalidArgumentError("no step");
  step.step = *number;
  step.loss = Number(Field(line, "loss"));
  step.learning_rate = Number(Field(line, "lr"));
  step.grad_norm = Number(Field(line, "grad_norm"));
  const Value& threshold = Field(line, "clip_threshold");
  if (threshold.has_number_value()) step.clip_threshold = threshold.number_value();
  const Struct& tensors = Field(line, "tensors").struct_value();
  for (const std::string& name : tensor_names) {
    GW_ASSIGN_OR_RETURN(const RecordedTensor tensor, TensorOf(Field(tensors, name)));
    step.tensors.push_back(tensor);
  }
  return step;
}

absl::Status InLine(const std::string& path, size_t line, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(path, ":", line + 1, ": ", status.message()));
}

// Hands the lines of a file to `take`, each as an object.
template <typename Take>
absl::Status ReadObjects(const std::string& path, Take take) {
  GW_ASSIGN_OR_RETURN(const std::vector<std::string> lines, ReadLines(path));
  Struct object;
  for (size_t i = 0; i < lines.size(); ++i) {
    absl::Status status = ParseObject(lines[i], &object);
    if (status.ok()) status = take(object);
    if (!status.ok()) return InLine(path, i, status);
  }
  return absl::OkStatus();
}

// The norm of the weights before an update, from what was written down behind it and behind the one before. They do not
// fit where a fault has changed the weights in between; it is then the nearest that the triangle of both allows.
double NormBefore(double last, double after, double update) {
  if (!std::isfinite(last) || !std::isfinite(after) || !std::isfinite(update)) return last;
  const double rounding = kRounding * (after + update);
  return std::clamp(last, std::abs(after - update) - rounding, after + update + rounding);
}

// Of the first step there is none before it: as if the update went across the weights.
double FirstNormBefore(double after, double update) {
  if (!std::isfinite(after) || !std::isfinite(update)) return kNaN;
  const double least = kLeastShare * update;
  return std::sqrt(std::max(after * after - update * update, least * least));
}

bool IsBroken(const core::StepRecord& record) { return record.non_finite() > 0 || !std::isfinite(record.loss); }

void FillGradient(const RecordedTensor& from, core::TensorStatistics* to) {
  to->ClearNumbers();
  to->mean_abs = kNaN;  // not written down
  if (from.non_finite == 0) {
    to->l2_norm = from.grad_norm;
    to->max_abs = from.grad_max_abs;
    to->mean = from.grad_mean;
    to->std_dev = from.grad_std;
    return;
  }
  // All that tells kinds apart is the largest magnitude, NaN where there is a NaN.
  int64_t& count = std::isnan(from.grad_max_abs) ? to->nan_count
                   : from.grad_mean < 0          ? to->neg_inf_count
                                                 : to->pos_inf_count;
  count = std::max<int64_t>(1, std::llround(from.non_finite));
}

}  // namespace

absl::StatusOr<std::vector<RunLabel>> ReadLabels(const std::string& folder) {
  std::vector<RunLabel> labels;
  GW_RETURN_IF_ERROR(ReadObjects(folder + "/labels.jsonl", [&](const Struct& line) -> absl::Status {
    GW_ASSIGN_OR_RETURN(RunLabel label, LabelOf(line));
    labels.push_back(std::move(label));
    return absl::OkStatus();
  }));
  return labels;
}

absl::StatusOr<RecordedRun> ReadRun(const std::string& folder, const std::string& run) {
  RecordedRun recorded;
  GW_RETURN_IF_ERROR(ReadObjects(absl::StrCat(folder, "/", run, ".jsonl.gz"), [&](const Struct& line) -> absl::Status {
    if (recorded.tensor_names.empty()) {
      for (const Value& tensor : Field(line, "tensors").list_value().values()) {
        recorded.tensor_names.push_back(Text(Field(tensor.struct_value(), "name")));
      }
      return recorded.tensor_names.empty() ? absl::InvalidArgumentError("no tensors") : absl::OkStatus();
    }
    GW_ASSIGN_OR_RETURN(RecordedStep step, StepOf(line, recorded.tensor_names));
    recorded.steps.push_back(std::move(step));
    return absl::OkStatus();
  }));
  return recorded;
}

TrainerView::TrainerView(const RecordedRun* run) : run_(run), weight_norms_(run->tensor_names.size()) {
  record_.tensors.resize(run->tensor_names.size());
}

const core::StepRecord& TrainerView::BeforeUpdate(size_t step) {
  const RecordedStep& now = run_->steps[step];
  for (size_t i = 0; i < weight_norms_.size(); ++i) {
    const auto [after, update] = std::pair(now.tensors[i].weight_norm, now.tensors[i].update_norm);
    weight_norms_[i] = step == 0 ? FirstNormBefore(after, update)
                                 : NormBefore(run_->steps[step - 1].tensors[i].weight_norm, after, update);
  }
  record_.step = now.step;
  record_.loss = now.loss;
  record_.learning_rate = now.learning_rate;
  record_.clip = core::ClipOutcome();
  const bool clips = now.clip_threshold > 0;
  record_.clip_in_force.shared = {clips ? now.clip_threshold : kNaN,
                                  clips ? v1::CLIP_MODE_GLOBAL_NORM : v1::CLIP_MODE_NONE, false};
  MeasureGradients(now);
  // As the trainer does where something has broken; else the optimizer measures them in its pass.
  for (size_t i = 0; IsBroken(record_) && i < weight_norms_.size(); ++i) {
    record_.tensors[i].weight_norm = weight_norms_[i];
  }
  return record_;
}

void TrainerView::MeasureGradients(const RecordedStep& step) {
  record_.nan_count = record_.pos_inf_count = record_.neg_inf_count = 0;
  core::NormSum finite;
  for (size_t i = 0; i < step.tensors.size(); ++i) {
    core::TensorStatistics& tensor = record_.tensors[i];
    FillGradient(step.tensors[i], &tensor);
    record_.nan_count += tensor.nan_count;
    record_.pos_inf_count += tensor.pos_inf_count;
    record_.neg_inf_count += tensor.neg_inf_count;
    finite.Add(tensor.l2_norm);
  }
  record_.grad_norm = step.grad_norm;
  if (std::isfinite(step.grad_norm)) return;
  record_.grad_norm = finite.Norm();
  if (record_.non_finite() == 0) record_.nan_count = 1;  // in what is not recorded one by one: a bias
}

void TrainerView::Clip(const RecordedStep& step) {
  record_.clip = core::ClipOutcome();
  record_.clip.threshold = step.clip_threshold;
  if (IsBroken(record_)) {
    record_.clip.action = v1::ClipOutcome::ACTION_SKIPPED;
    return;
  }
  record_.clip.norm_after = record_.grad_norm;
  if (step.clip_threshold == 0) return;
  const double coefficient = std::min(1.0, step.clip_threshold / (record_.grad_norm + kClipEpsilon));
  if (coefficient >= 1) return;
  record_.clip.action = v1::ClipOutcome::ACTION_CLIPPED;
  record_.clip.coefficient = coefficient;
  record_.clip.norm_after = record_.grad_norm * coefficient;
  record_.clip.tensors_clipped = static_cast<int>(record_.tensors.size());
  for (core::TensorStatistics& tensor : record_.tensors) tensor.clip_scale = coefficient;
}

const core::StepRecord& TrainerView::AfterUpdate(size_t step) {
  const RecordedStep& now = run_->steps[step];
  Clip(now);
  if (record_.clip.action == v1::ClipOutcome::ACTION_SKIPPED) return record_;
  for (size_t i = 0; i < now.tensors.size(); ++i) {
    record_.tensors[i].weight_norm = weight_norms_[i];
    record_.tensors[i].update_norm = now.tensors[i].update_norm;
  }
  return record_;
}

std::vector<v1::Alert> PlayRun(const RecordedRun& run, const v1::RuleSet& rules, absl::Duration* cost,
                               core::RunFacts facts) {
  using Clock = std::chrono::steady_clock;
  core::Detector detector(rules, run.tensor_names, core::AlertIdentity(), facts);
  TrainerView view(&run);
  std::vector<v1::Alert> transitions;
  const absl::Time now = absl::UnixEpoch();
  Clock::duration judging{};
  for (size_t step = 0; step < run.steps.size(); ++step) {
    const core::StepRecord& before = view.BeforeUpdate(step);
    const auto first = Clock::now();
    detector.JudgeGradients(before, now, &transitions);
    const auto second = Clock::now();
    const core::StepRecord& after = view.AfterUpdate(step);
    const auto third = Clock::now();
    detector.JudgeUpdate(after, now, &transitions);
    judging += second - first + (Clock::now() - third);
  }
  if (!run.steps.empty()) detector.Finish(run.steps.back().step, now, &transitions);
  if (cost != nullptr) *cost += absl::FromChrono(judging);
  return transitions;
}

}  // namespace gradwatch::testing
