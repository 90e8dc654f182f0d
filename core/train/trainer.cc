#include "core/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/workers.h"
#include "core/clip/clipper.h"
#include "core/data/data_source.h"
#include "core/detect/diagnosis.h"
#include "core/nn/loss_function.h"
#include "core/nn/network.h"
#include "core/optim/optimizer.h"
#include "core/optim/schedule.h"
#include "core/spec/controls.h"
#include "core/stats/gradient_cosine.h"
#include "core/stats/gradient_statistics.h"
#include "core/tensor/arena.h"
#include "core/train/parameter_digest.h"
#include "core/train/run_facts.h"

namespace gradwatch::core {
namespace {

std::vector<std::string> TensorNames(const ParameterLayout& layout) {
  std::vector<std::string> names;
  for (const ParameterSegment& segment : layout.segments()) names.push_back(segment.name);
  return names;
}

// Steps after the last one on which the condition of a rule has held that still have histograms.
constexpr int64_t kStepsAfterHolding = 16;

// How a step ended.
enum class StepEnd {
  kDone,     // go on
  kFailed,   // done, and the last one
  kDropped,  // a stop was heard within it: it is as if it had not begun
};

// Adds the gradients of a batch.
void AddGradients(std::span<const float> gradients, std::span<double> sums) {
  const float* __restrict g = gradients.data();
  double* __restrict s = sums.data();
  for (size_t i = 0; i < sums.size(); ++i) s[i] += static_cast<double>(g[i]);
}

void TakeMean(std::span<const double> sums, int64_t batches, std::span<float> gradients) {
  const double* __restrict s = sums.data();
  float* __restrict g = gradients.data();
  const auto count = static_cast<double>(batches);
  for (size_t i = 0; i < sums.size(); ++i) g[i] = static_cast<float>(s[i] / count);
}

bool IsSkipped(const StepRecord& record) {
  return record.clip.action == v1::ClipOutcome::ACTION_SKIPPED || record.clip.action == v1::ClipOutcome::ACTION_STOPPED;
}

// "the loss was NaN and a gradient was not finite at step 7".
std::string WhatBroke(const StepRecord& record) {
  std::string text;
  if (!std::isfinite(record.loss)) text = absl::StrCat("the loss was ", Number(record.loss));
  if (record.non_finite() > 0) absl::StrAppend(&text, text.empty() ? "" : " and ", "a gradient was not finite");
  return absl::StrCat(text, " at step ", record.step);
}

// The first tensor from the input that holds a NaN or an infinity; empty if none does.
std::string FirstBrokenTensor(const ParameterLayout& layout, std::span<const float> parameters) {
  for (const ParameterSegment& segment : layout.segments()) {
    const auto values = parameters.subspan(segment.offset, segment.size);
    if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) return segment.name;
  }
  return std::string();
}

}  // namespace

struct Trainer::State {
  State(const v1::JobSpec& job_spec, std::unique_ptr<DataSource> source, std::unique_ptr<Network<float>> net,
        AlertIdentity identity, const Clock* time)
      : spec(job_spec),
        clock(time),
        data(std::move(source)),
        network(std::move(net)),
        tensors(DescribeTensors(network->layout())),
        cosine(&network->layout()),
        clipper(&network->layout()),
        schedule(spec.optimizer(), spec.steps()),
        detector(spec.rules(), TensorNames(network->layout()), std::move(identity),
                 FactsOf(spec, data->shape(), data->Fill(0), network->layers())),
        workers(spec.threads()) {
    network->Initialize(spec.seed(), &workers);
    // After the network, whose start takes memory for a moment.
    optimizer = MakeOptimizer<float>(spec.optimizer(), &network->layout());
    if (spec.accumulation() > 1) accumulated = Arena<double>(network->layout().arena_size());
    record.tensors.resize(tensors.size());
  }

  // Uses the controls that hold for `step`, after the edits that are due for it, whose outcomes wait to be told.
  void TakeControls(int64_t step, LiveControls& live);
  void Adopt(std::shared_ptr<const ControlSnapshot> snapshot);
  // Whether this run can have these controls: what the server checked when it took the edit may be otherwise by now.
  absl::Status CheckFits(const v1::Controls& changed) const;
  // Judges by the rules of the present controls from this step on, which can no longer be dropped.
  void SwitchRules();
  void TellEdits(Observer& observer);
  void TellAlerts(Observer& observer);
  // Runs one step and, unless it is dropped, reports it. If it failed, `failure` says why.
  StepEnd RunStep(int64_t step, const LiveControls& live, Observer& observer);
  // Loss and gradients of a step, measured. False: see AccumulateGradients.
  bool ComputeGradients(int64_t step, const LiveControls& live);
  // The mean of several batches. False: a stop was heard between two of them.
  bool AccumulateGradients(int64_t step, const LiveControls& live);
  // Judges the network if this step is due. A stop is heard between two batches; what was judged so far is dropped.
  void Validate(int64_t step, const LiveControls& live);
  // Whether the present step is one whose histograms are told, as far as the rules have judged it.
  bool HistogramsAreDue() const;
  // Measures those of a step on which a condition has begun to hold.
  void AddHistograms();
  void MeasureWeights();
  void Update();
  // Takes back what the step's batches have changed.
  void Skip();
  // Whether the run has failed with the present step; `failure` says why.
  bool MustEnd();
  // The failure where too many steps in a row are lost.
  std::string TooManyLost() const;
  // Fills what is told of the network at the end of the run.
  void JudgeNetwork(TrainResult* result);
  // Waits while a pause is asked for, and applies and tells edits meanwhile; the command to follow then.
  LiveControls::Command ObeyPause(int64_t steps_done, LiveControls& live, Observer& observer);

  const v1::JobSpec spec;
  const Clock* const clock;
  const std::unique_ptr<DataSource> data;
  const std::unique_ptr<Network<float>> network;
  const std::vector<v1::TensorInfo> tensors;

  std::shared_ptr<const ControlSnapshot> controls;
  std::vector<EditOutcome> outcomes;  // that are not told yet
  GradientCosine<float> cosine;
  Clipper<float> clipper;
  std::unique_ptr<Optimizer<float>> optimizer;
  Schedule schedule;
  Detector detector;
  std::shared_ptr<const ControlSnapshot> judged_by;  // the controls whose rules the detector has; null: the spec's
  Workers workers;
  StepRecord record;
  std::vector<v1::Alert> alerts;  // to be told
  // Sum of the gradients of a step's batches so far, which may be beyond a float where their mean is not; empty where a
  // step is one batch.
  Arena<double> accumulated;
  // Steps in a row, to the present one, that were skipped or, where elements are set to zero instead, had a loss that
  // is not finite.
  int32_t lost_in_a_row = 0;
  int64_t last_learnt = -1;  // the last step that was not skipped; -1: none
  std::string failure;
};

void Trainer::State::TakeControls(int64_t step, LiveControls& live) {
  const auto fits = [this](const v1::Controls& changed) { return CheckFits(changed); };
  if (const auto& snapshot = live.ForStep(step, fits, &outcomes); snapshot != controls) Adopt(snapshot);
}

absl::Status Trainer::State::CheckFits(const v1::Controls& changed) const {
  GW_RETURN_IF_ERROR(CheckControlsFit(changed, spec.optimizer()));
  const google::protobuf::RepeatedPtrField<v1::TensorInfo> told(tensors.begin(), tensors.end());
  if (changed.has_rules()) GW_RETURN_IF_ERROR(CheckRulesFit(changed.rules(), told));
  return CheckOverridesMatch(changed, told);
}

void Trainer::State::TellEdits(Observer& observer) {
  for (const EditOutcome& outcome : outcomes) observer.OnEdit(outcome);
  outcomes.clear();
}

void Trainer::State::Adopt(std::shared_ptr<const ControlSnapshot> snapshot) {
  controls = std::move(snapshot);
  clipper.Configure(controls->controls.clip());
  record.clip_in_force = clipper.InForce();
  record.learning_rate_scale = controls->controls.learning_rate_scale();
  cosine.Switch(controls->controls.gradient_cosine());
  record.layers.resize(controls->controls.layer_statistics() ? network->layers().size() : 0);
}

void Trainer::State::SwitchRules() {
  if (judged_by == controls) return;
  const v1::RuleSet& before = judged_by == nullptr ? spec.rules() : EffectiveRules(spec, judged_by->controls);
  const v1::RuleSet& now = EffectiveRules(spec, controls->controls);
  if (now.SerializeAsString() != before.SerializeAsString()) {
    detector.SetRules(now, record.step, record.time, &alerts);
  }
  judged_by = controls;
}

bool Trainer::State::ComputeGradients(int64_t step, const LiveControls& live) {
  // The norm and the non-finite counts are always measured: clipping and the answer to non-finite gradients need them,
  // and must not depend on how much is watched.
  const v1::StatisticsLevel level = controls->controls.statistics();
  GradientMeasurement<float> measurement(network->layout(), network->gradients(),
                                         std::max(level, v1::STATISTICS_LEVEL_NORM), &cosine, &record);
  if (spec.accumulation() == 1 && workers.threads() == 1) {
    // While they are still in the cache.
    const auto measure = [&](size_t first, size_t end) { measurement.Measure(first, end); };
    const GradientsReady ready(measure);
    record.loss = network->LossAndGradients(data->Fill(step), step, &ready);
  } else {
    if (!AccumulateGradients(step, live)) return false;
    measurement.MeasureAll(&workers);
  }
  measurement.Finish();
  record.level = level;
  // Else the optimizer does it, in its pass. Rules look at the weights first where something has broken.
  if (record.non_finite() > 0 || !std::isfinite(record.loss)) MeasureWeights();
  return true;
}

bool Trainer::State::HistogramsAreDue() const {
  const v1::Controls& now = controls->controls;
  const int32_t every = now.has_histogram_every() ? now.histogram_every() : kHistogramEvery;
  const int64_t held = detector.last_holding();
  const bool watched = held >= 0 && record.step - held <= kStepsAfterHolding;
  return record.report_tensors && (watched || record.step % every == 0);
}

void Trainer::State::AddHistograms() {
  if (record.report_histograms || !HistogramsAreDue()) return;
  MeasureHistograms<float>(network->layout(), network->gradients(), &record);
}

void Trainer::State::MeasureWeights() {
  if (record.level != v1::STATISTICS_LEVEL_FULL) return;
  core::MeasureWeights<float>(network->layout(), network->parameters(), &record);
}

void Trainer::State::Update() {
  clipper.Apply({network->gradients(), network->parameters(), optimizer->second_moment()}, &record);
  const bool finite_loss = std::isfinite(record.loss);
  lost_in_a_row = IsSkipped(record) || !finite_loss ? lost_in_a_row + 1 : 0;
  if (IsSkipped(record)) return Skip();
  last_learnt = record.step;
  // A plateau is one of learning: of losses that were learnt from.
  if (finite_loss) schedule.ObserveLoss(record.loss);
  if (record.clip.moments_reset) optimizer->ResetMoments();
  record.learning_rate *= record.clip.learning_rate_scale;
  if (const auto momentum = schedule.MomentumAt(record.step)) optimizer->SetMomentum(*momentum);
  optimizer->Step(record.learning_rate, network->gradients(), network->parameters(), &record, &workers);
}

void Trainer::State::Skip() {
  network->RestoreState();
  cosine.Forget();
}

bool Trainer::State::MustEnd() {
  const bool is_skipped = IsSkipped(record), is_last = record.step + 1 == spec.steps();
  const int64_t not_learnt = record.step - last_learnt;  // steps in a row
  if (record.clip.action == v1::ClipOutcome::ACTION_STOPPED) {
    failure = absl::StrCat(WhatBroke(record), " and clip.non_finite is stop");
  } else if (lost_in_a_row > 0 && lost_in_a_row >= controls->controls.clip().max_consecutive_skips()) {
    failure = TooManyLost();
  } else if (is_last && is_skipped && last_learnt < 0) {
    failure = absl::StrCat("no step was learnt from: ", WhatBroke(record));
  } else if (is_last && is_skipped && not_learnt > 1) {
    failure = absl::StrCat("the last ", not_learnt, " steps were not learnt from: ", WhatBroke(record));
  } else if (is_last && !is_skipped && lost_in_a_row > 0) {
    failure = absl::StrCat(WhatBroke(record), ", the last one, and the network has learnt from it");
  }
  return !failure.empty();
}

std::string Trainer::State::TooManyLost() const {
  if (lost_in_a_row == 1) return absl::StrCat(WhatBroke(record), " and clip.max_consecutive_skips is 1");
  // Where elements are set to zero instead, steps were learnt from all the same.
  const bool is_skipped = IsSkipped(record);
  const int64_t last_good = is_skipped ? last_learnt : record.step - lost_in_a_row;
  return absl::StrCat(is_skipped ? "no step was learnt from" : "no step had a finite loss",
                      last_good < 0 ? "" : absl::StrCat(" since step ", last_good), ": ", WhatBroke(record), " (",
                      lost_in_a_row, " in a row, at which clip.max_consecutive_skips ends the job)");
}

bool Trainer::State::AccumulateGradients(int64_t step, const LiveControls& live) {
  const int64_t batches = spec.accumulation(), first = step * batches;
  record.loss = network->LossAndGradients(data->Fill(first), first);
  if (batches == 1) return true;
  const std::span<float> gradients = network->gradients();
  std::copy(gradients.begin(), gradients.end(), accumulated.data());
  for (int64_t batch = first + 1; batch < first + batches; ++batch) {
    if (live.command() == LiveControls::Command::kStop) return false;
    record.loss += network->LossAndGradients(data->Fill(batch), batch);
    AddGradients(gradients, accumulated.span());
  }
  record.loss /= static_cast<double>(batches);
  TakeMean(accumulated.span(), batches, gradients);
  return true;
}

void Trainer::State::Validate(int64_t step, const LiveControls& live) {
  record.validation = ValidationOutcome();
  const int64_t every = spec.validation().every_steps();
  const bool due = spec.has_validation() && (step + 1 == spec.steps() || (every > 0 && (step + 1) % every == 0));
  if (!due) return;
  ValidationOutcome& outcome = record.validation;
  const int64_t batches = spec.validation().examples() / spec.data().batch_size();
  outcome.measured = true;
  outcome.has_perplexity = spec.model().loss().function() == v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY;
  outcome.correct = 0;
  for (int64_t batch = 0; batch < batches; ++batch) {
    if (live.command() == LiveControls::Command::kStop) {
      outcome = ValidationOutcome();
      return;
    }
    const Evaluation judged = network->Evaluate(data->FillHeldOut(batch));
    outcome.loss += judged.loss / static_cast<double>(batches);
    outcome.targets += judged.targets;
    outcome.correct = judged.correct.has_value() ? outcome.correct + *judged.correct : -1;
  }
}

// At once: an alert waits neither for the update nor for a validation, nor for the processor, which may be taken from
// this thread at any moment.
void Trainer::State::TellAlerts(Observer& observer) {
  for (const v1::Alert& alert : alerts) observer.OnAlert(alert);
  alerts.clear();
}

StepEnd Trainer::State::RunStep(int64_t step, const LiveControls& live, Observer& observer) {
  const absl::Duration start = clock->Monotonic();
  record.step = step;
  record.clip = ClipOutcome();  // that of the step before is no news to the rules
  record.control_revision = controls->revision;
  record.learning_rate = schedule.RateAt(step) * controls->controls.learning_rate_scale();
  record.report_tensors = record.step % controls->controls.report_every() == 0;
  record.report_histograms = HistogramsAreDue();
  network->MeasureLayers(record.report_tensors ? std::span(record.layers) : std::span<LayerStatistics>());
  network->SaveState();
  if (!ComputeGradients(step, live)) {
    network->RestoreState();
    return StepEnd::kDropped;
  }
  TellEdits(observer);
  record.time = clock->Now();
  SwitchRules();
  detector.JudgeGradients(record, record.time, &alerts);
  TellAlerts(observer);
  AddHistograms();
  Update();
  detector.JudgeUpdate(record, record.time, &alerts);
  TellAlerts(observer);
  record.step_seconds = absl::ToDoubleSeconds(clock->Monotonic() - start);
  Validate(step, live);
  observer.OnStep(record);
  return MustEnd() ? StepEnd::kFailed : StepEnd::kDone;
}

void Trainer::State::JudgeNetwork(TrainResult* result) {
  result->parameters_sha256 = ParameterDigest(network->layout(), network->parameters());
  if (result->state == v1::JOB_STATE_STOPPED) return;
  const std::string broken = FirstBrokenTensor(network->layout(), network->parameters());
  if (broken.empty()) return;
  result->state = v1::JOB_STATE_FAILED;
  absl::StrAppend(&result->failure, result->failure.empty() ? "" : "; ", "the parameters of ", broken,
                  " are not finite after the last step");
}

LiveControls::Command Trainer::State::ObeyPause(int64_t steps_done, LiveControls& live, Observer& observer) {
  LiveControls::Command command = live.command();
  if (command != LiveControls::Command::kPause) return command;
  observer.OnPaused(steps_done);
  for (; command == LiveControls::Command::kPause; command = live.AwaitRun(steps_done)) {
    TakeControls(steps_done, live);
    TellEdits(observer);
  }
  if (command == LiveControls::Command::kRun) observer.OnResumed(steps_done);
  return live.command();
}

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const v1::JobSpec& spec, const DataRoots& roots,
                                                         AlertIdentity identity, const Clock* clock) {
  auto opened =
      OpenData(spec.data(), spec.seed(), roots, spec.validation().examples(), TargetOf(spec.model().loss().function()));
  if (!opened.ok()) return WithFieldPrefix("data", opened.status());
  return Create(spec, *std::move(opened), std::move(identity), clock);
}

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const v1::JobSpec& spec, std::unique_ptr<DataSource> data,
                                                         AlertIdentity identity, const Clock* clock) {
  return OrOutOfMemory("for the model", [&]() -> absl::StatusOr<std::unique_ptr<Trainer>> {
    GW_ASSIGN_OR_RETURN(auto network,
                        Network<float>::Create(spec.model(), data->shape(), spec.data().batch_size(), spec.threads()));
    return std::unique_ptr<Trainer>(
        new Trainer(std::make_unique<State>(spec, std::move(data), std::move(network), std::move(identity), clock)));
  });
}

Trainer::Trainer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Trainer::~Trainer() = default;

const std::vector<v1::TensorInfo>& Trainer::tensors() const { return state_->tensors; }
const std::vector<LayerInfo>& Trainer::layers() const { return state_->network->layers(); }

std::span<const float> Trainer::layer_state() const { return state_->network->state(); }

TrainResult Trainer::Run(LiveControls& controls, Observer& observer) {
  TrainResult result;
  // A step may take what those before did not.
  const absl::Status status = OrOutOfMemory("to go on", [&] {
    RunSteps(controls, observer, result);
    return absl::OkStatus();
  });
  if (status.ok()) return result;
  result.state = v1::JOB_STATE_FAILED;
  result.failure = std::string(status.message());
  return result;
}

void Trainer::RunSteps(LiveControls& controls, Observer& observer, TrainResult& result) {
  State& state = *state_;
  while (result.steps_done < state.spec.steps()) {
    if (state.ObeyPause(result.steps_done, controls, observer) == LiveControls::Command::kStop) {
      result.state = v1::JOB_STATE_STOPPED;
      break;
    }
    state.TakeControls(result.steps_done, controls);
    const StepEnd end = state.RunStep(result.steps_done, controls, observer);
    if (end == StepEnd::kDropped) continue;  // the stop is still there
    if (++result.steps_done == 1) result.first_loss = state.record.loss;
    result.final_loss = state.record.loss;
    if (state.record.validation.measured) result.validation = state.record.validation;
    if (end == StepEnd::kFailed) {
      result.state = v1::JOB_STATE_FAILED;
      result.failure = state.failure;
      break;
    }
  }
  state.alerts.clear();
  const int64_t last_step = std::max<int64_t>(result.steps_done - 1, 0);
  state.detector.Finish(last_step, state.clock->Now(), &state.alerts);
  state.TellAlerts(observer);
  state.JudgeNetwork(&result);
}

}  // namespace gradwatch::core
