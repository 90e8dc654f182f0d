#include "core/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/workers.h"
#include "core/clip/clipper.h"
#include "core/data/data_source.h"
#include "core/nn/network.h"
#include "core/optim/optimizer.h"
#include "core/optim/schedule.h"
#include "core/stats/gradient_cosine.h"
#include "core/stats/gradient_statistics.h"
#include "core/tensor/arena.h"
#include "core/train/parameter_digest.h"

namespace gradwatch::core {
namespace {

std::vector<std::string> TensorNames(const ParameterLayout& layout) {
  std::vector<std::string> names;
  for (const ParameterSegment& segment : layout.segments()) names.push_back(segment.name);
  return names;
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
        detector(spec.rules(), TensorNames(network->layout()), std::move(identity)),
        workers(spec.threads()) {
    network->Initialize(spec.seed(), &workers);
    // After the network, whose start takes memory for a moment.
    optimizer = MakeOptimizer<float>(spec.optimizer(), &network->layout());
    if (spec.accumulation() > 1) accumulated = Arena<float>(network->layout().arena_size());
    record.tensors.resize(tensors.size());
  }

  // Uses `snapshot` from `step` on.
  void Adopt(std::shared_ptr<const ControlSnapshot> snapshot, int64_t step, Observer& observer);
  // Runs one step and reports it. False: a non-finite gradient ends the job (see failure).
  bool RunStep(int64_t step, const LiveControls& live, Observer& observer);
  // Loss and gradients of a step, measured.
  void ComputeGradients(int64_t step);
  // The mean of several batches.
  void AccumulateGradients(int64_t step);
  // Judges the network if this step is due. A stop is heard between two batches; what was judged so far is dropped.
  void Validate(int64_t step, const LiveControls& live);
  void MeasureWeights();
  void Update();
  bool MustEnd();
  // Waits while a pause is asked for; the command to follow then.
  LiveControls::Command ObeyPause(int64_t steps_done, LiveControls& live, Observer& observer);

  const v1::JobSpec spec;
  const Clock* const clock;
  const std::unique_ptr<DataSource> data;
  const std::unique_ptr<Network<float>> network;
  const std::vector<v1::TensorInfo> tensors;

  std::shared_ptr<const ControlSnapshot> controls;
  GradientCosine<float> cosine;
  Clipper<float> clipper;
  std::unique_ptr<Optimizer<float>> optimizer;
  Schedule schedule;
  Detector detector;
  Workers workers;
  StepRecord record;
  std::vector<v1::Alert> alerts;  // of the present step
  Arena<float> accumulated;       // gradients of the batches of a step so far; empty where a step is one batch
  int32_t skips_in_a_row = 0;
  std::string failure;
};

void Trainer::State::Adopt(std::shared_ptr<const ControlSnapshot> snapshot, int64_t step, Observer& observer) {
  controls = std::move(snapshot);
  clipper.Configure(controls->controls.clip());
  cosine.Switch(controls->controls.gradient_cosine());
  record.layers.resize(controls->controls.layer_statistics() ? network->layers().size() : 0);
  observer.OnControlsApplied(controls->revision, step);
}

void Trainer::State::ComputeGradients(int64_t step) {
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
    AccumulateGradients(step);
    measurement.MeasureAll(&workers);
  }
  measurement.Finish();
  record.level = level;
  // Else the optimizer does it, in its pass. Rules look at the weights first where something has broken.
  if (record.non_finite() > 0 || !std::isfinite(record.loss)) MeasureWeights();
}

void Trainer::State::MeasureWeights() {
  if (record.level != v1::STATISTICS_LEVEL_FULL) return;
  core::MeasureWeights<float>(network->layout(), network->parameters(), &record);
}

void Trainer::State::Update() {
  clipper.Apply({network->gradients(), network->parameters(), optimizer->second_moment()}, &record);
  const bool skip =
      record.clip.action == v1::ClipOutcome::ACTION_SKIPPED || record.clip.action == v1::ClipOutcome::ACTION_STOPPED;
  skips_in_a_row = skip ? skips_in_a_row + 1 : 0;
  if (skip) {
    cosine.Forget();
    MeasureWeights();
    return;
  }
  if (record.clip.moments_reset) optimizer->ResetMoments();
  record.learning_rate *= record.clip.learning_rate_scale;
  if (const auto momentum = schedule.MomentumAt(record.step)) optimizer->SetMomentum(*momentum);
  optimizer->Step(record.learning_rate, network->gradients(), network->parameters(), &record, &workers);
}

bool Trainer::State::MustEnd() {
  const v1::ClipSettings& clip = controls->controls.clip();
  if (record.clip.action == v1::ClipOutcome::ACTION_STOPPED) {
    failure = absl::StrCat("a gradient was not finite at step ", record.step, " and clip.non_finite is stop");
  } else if (skips_in_a_row > 0 && skips_in_a_row >= clip.max_consecutive_skips()) {
    failure = absl::StrCat("gradients were not finite on ", skips_in_a_row, " steps in a row, the last being step ",
                           record.step, " (clip.max_consecutive_skips)");
  }
  return !failure.empty();
}

void Trainer::State::AccumulateGradients(int64_t step) {
  const int64_t batches = spec.accumulation(), first = step * batches;
  record.loss = network->LossAndGradients(data->Fill(first), first);
  if (batches == 1) return;
  const std::span<float> gradients = network->gradients(), sums = accumulated.span();
  std::copy(gradients.begin(), gradients.end(), sums.begin());
  for (int64_t batch = first + 1; batch < first + batches; ++batch) {
    record.loss += network->LossAndGradients(data->Fill(batch), batch);
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += gradients[i];
  }
  record.loss /= static_cast<double>(batches);
  const float share = 1.0f / static_cast<float>(batches);
  for (size_t i = 0; i < sums.size(); ++i) gradients[i] = sums[i] * share;
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

bool Trainer::State::RunStep(int64_t step, const LiveControls& live, Observer& observer) {
  const absl::Duration start = clock->Monotonic();
  record.step = step;
  record.control_revision = controls->revision;
  record.learning_rate = schedule.RateAt(step) * controls->controls.learning_rate_scale();
  record.report_tensors = record.step % controls->controls.report_every() == 0;
  network->MeasureLayers(record.report_tensors ? std::span(record.layers) : std::span<LayerStatistics>());
  ComputeGradients(step);
  record.time = clock->Now();
  alerts.clear();
  detector.JudgeGradients(record, record.time, &alerts);
  Update();
  schedule.ObserveLoss(record.loss);
  detector.JudgeUpdate(record, record.time, &alerts);
  record.step_seconds = absl::ToDoubleSeconds(clock->Monotonic() - start);
  Validate(step, live);
  observer.OnStep(record);
  for (const v1::Alert& alert : alerts) observer.OnAlert(alert);
  return !MustEnd();
}

LiveControls::Command Trainer::State::ObeyPause(int64_t steps_done, LiveControls& live, Observer& observer) {
  if (live.command() == LiveControls::Command::kPause) {
    observer.OnPaused(steps_done);
    if (live.AwaitRun() == LiveControls::Command::kRun) observer.OnResumed(steps_done);
  }
  return live.command();
}

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const v1::JobSpec& spec, const DataRoots& roots,
                                                         AlertIdentity identity, const Clock* clock) {
  auto opened = OpenData(spec.data(), spec.seed(), roots, spec.validation().examples());
  if (!opened.ok()) return WithFieldPrefix("data", opened.status());
  std::unique_ptr<DataSource> data = *std::move(opened);
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

TrainResult Trainer::Run(LiveControls& controls, Observer& observer) {
  TrainResult result;
  // The first batch takes the memory of all of them.
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
    if (const auto& snapshot = controls.ForStep(result.steps_done); snapshot != state.controls) {
      state.Adopt(snapshot, result.steps_done, observer);
    }
    const bool go_on = state.RunStep(result.steps_done, controls, observer);
    if (++result.steps_done == 1) result.first_loss = state.record.loss;
    result.final_loss = state.record.loss;
    if (state.record.validation.measured) result.validation = state.record.validation;
    if (!go_on) {
      result.state = v1::JOB_STATE_FAILED;
      result.failure = state.failure;
      break;
    }
  }
  state.alerts.clear();
  state.detector.Finish(state.record.step, state.clock->Now(), &state.alerts);
  for (const v1::Alert& alert : state.alerts) observer.OnAlert(alert);
  result.parameters_sha256 = ParameterDigest(state.network->layout(), state.network->parameters());
}

}  // namespace gradwatch::core
