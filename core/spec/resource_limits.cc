#include "core/spec/resource_limits.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "core/base/byte_units.h"
#include "core/base/error.h"
#include "core/clip/clip_settings.h"
#include "core/clip/clipper.h"
#include "core/detect/detector.h"
#include "core/optim/initializer.h"
#include "core/optim/optimizer.h"
#include "core/spec/controls.h"
#include "core/stats/gradient_cosine.h"
#include "core/stats/report_ring.h"
#include "core/stats/step_record.h"

namespace gradwatch::core {
namespace {

// The program with its libraries has some 19 MiB resident, 22 attached. It takes up to 28 MiB more while it sends the
// largest messages; before that, a file is read in blocks and lines, of 25 MiB at most.
constexpr int64_t kProgramBytes = int64_t{64} << 20;
// The stack of a thread, as far as it is used.
constexpr int64_t kThreadBytes = 64 << 10;
// Names, shapes and settings of a tensor and of a layer, in all copies of the spec and of the network's plan.
constexpr int64_t kTensorBytes = 1 << 10;
constexpr int64_t kLayerBytes = 1 << 10;

// As large as numbers get, rather than wrong.
int64_t Multiply(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

int64_t Add(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

// Arenas of floats that a job has: of parameters and gradients; of the last gradients where they are compared; of the
// optimizer's state; and the sum of gradients where a step is several batches, whose doubles are two.
int64_t FloatArenas(const v1::JobSpec& spec) {
  return 2 + (spec.controls().gradient_cosine() ? 1 : 0) + OptimizerStatePerParameter(spec.optimizer()) +
         (spec.accumulation() > 1 ? 2 : 0);
}

int64_t WatchBytes(const Network<float>& network, const v1::JobSpec& spec) {
  std::vector<std::string> names;
  for (const ParameterSegment& segment : network.layout().segments()) names.push_back(segment.name);
  const auto tensors = static_cast<int64_t>(names.size()), layers = static_cast<int64_t>(network.layers().size());
  // Whatever controls switch on later, but for histories and the copy of gradients.
  const int64_t measured = StepRecordBytes(tensors, layers) + Optimizer<float>::RangeBytes(network.layout()) +
                           GradientCosine<float>::NormBytes(tensors) + Clipper<float>::TensorBytes(tensors);
  return Add(measured, DetectorBytes(EffectiveRules(spec, spec.controls()), names) +
                           Clipper<float>::HistoryBytes(spec.controls().clip()));
}

// What drawing the weights takes beyond what is taken after it; data and rules are there before.
int64_t StartBytes(const Network<float>& network, int64_t later_bytes) {
  int64_t largest = 0;
  for (const ParameterSegment& segment : network.layout().segments()) {
    largest = std::max(largest, InitializationBytes(segment));
  }
  return std::max<int64_t>(0, largest - later_bytes);
}

int64_t ProcessBytes(const Network<float>& network, const v1::JobSpec& spec) {
  const auto tensors = static_cast<int64_t>(network.layout().segments().size());
  const auto layers = static_cast<int64_t>(network.layers().size());
  return kProgramBytes + spec.threads() * kThreadBytes + tensors * kTensorBytes + layers * kLayerBytes;
}

// A part of an estimate: how it is told, and the field whose change makes it smaller, by `by_spec` bytes at most.
struct Part {
  int64_t bytes;
  absl::string_view what;
  absl::string_view field;
  int64_t by_spec = bytes;
};

// All of them. What the program takes of every job is nobody's to change.
std::vector<Part> Parts(const v1::ResourceEstimate& estimate, const ParameterLayout& layout, int64_t batch_size) {
  const int64_t least_ring = ReportRingBytes(static_cast<int64_t>(layout.segments().size()), /*layers=*/0, /*steps=*/1);
  const bool has_many_steps = estimate.report_bytes() / 2 > least_ring;
  const int64_t beyond_program = std::max<int64_t>(0, estimate.process_bytes() - kProgramBytes);
  return {
      {estimate.parameter_bytes(), "parameters, gradients and optimizer", "model"},
      {estimate.activation_bytes(), "activations", batch_size > 1 ? "data.batch_size" : "model"},
      {estimate.data_bytes(), "data", "data"},
      {estimate.watch_bytes(), "statistics and the histories of rules", "rules"},
      {estimate.report_bytes(), "reports on their way", has_many_steps ? "steps" : "model"},
      {estimate.start_bytes(), "drawing the initial weights", "model"},
      {estimate.process_bytes(), "the program", "model", beyond_program},
  };
}

// "700 for activations, 280 for data": those that are a fiftieth of `sum` at least, the largest first.
std::string LargePartsText(std::vector<Part> parts, int64_t sum) {
  std::stable_sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.bytes > b.bytes; });
  std::erase_if(parts, [sum](const Part& part) { return part.bytes < sum / 50; });
  return absl::StrJoin(parts, ", ", [](std::string* out, const Part& part) {
    absl::StrAppend(out, part.bytes, InUnits(part.bytes), " for ", part.what);
  });
}

absl::Status TooLarge(absl::string_view field, absl::string_view description, absl::string_view reason) {
  return WithReason(InvalidField(field, description), reason);
}

// What controls take, or how much more than others, below 0 if less.
struct ControlBytes {
  int64_t copy = 0;       // of the gradients
  int64_t histories = 0;  // of clipping
  int64_t rules = 0;      // beyond those of the spec
  int64_t sum() const { return copy + histories + rules; }
  ControlBytes operator-(const ControlBytes& other) const {
    return {.copy = copy - other.copy, .histories = histories - other.histories, .rules = rules - other.rules};
  }
  // The field that is to blame for most of it.
  absl::string_view Largest() const {
    if (rules > std::max(copy, histories)) return "rules";
    return copy > histories ? "gradient_cosine" : "clip";
  }
};

// What rules take over the tensors of a job. Their globs are matched with the names of all tensors, so that each set is
// counted once, and none where nothing is asked.
class RuleMeter {
 public:
  explicit RuleMeter(const v1::Job& job) : job_(job) {}

  int64_t Bytes(const v1::RuleSet& rules) {
    const auto [known, is_new] = bytes_.try_emplace(rules.SerializeAsString(), 0);
    if (is_new) known->second = DetectorBytes(rules, TensorNames());
    return known->second;
  }
  // How much more the rules of these controls take than those of the spec.
  int64_t BeyondSpec(const v1::Controls& controls) {
    return controls.has_rules() ? Bytes(controls.rules()) - Bytes(job_.spec().rules()) : 0;
  }

 private:
  const std::vector<std::string>& TensorNames() {
    if (names_.empty()) {
      for (const v1::TensorInfo& tensor : job_.tensors()) names_.push_back(tensor.name());
    }
    return names_;
  }

  const v1::Job& job_;
  std::vector<std::string> names_;
  std::map<std::string, int64_t> bytes_;  // by the rules, serialised
};

// Of all but the rules.
ControlBytes BytesOf(const v1::Controls& controls, const v1::Job& job) {
  const int64_t arena = job.estimate().parameter_bytes() / FloatArenas(job.spec());
  return {.copy = controls.gradient_cosine() ? arena : 0,
          .histories = Clipper<float>::HistoryBytes(ResolveClipSettings(controls.clip()))};
}

// "the copy of the gradients takes 128 bytes, the history of the norms takes 16000 bytes": what takes more than before.
std::string MoreText(const ControlBytes& more) {
  std::vector<std::string> told;
  const auto tell = [&told](absl::string_view what, int64_t bytes) {
    if (bytes > 0) told.push_back(absl::StrCat(what, " takes ", bytes, " bytes", InUnits(bytes)));
  };
  tell("the copy of the gradients", more.copy);
  tell("the history of the norms", more.histories);
  tell("what the rules keep", more.rules);
  return absl::StrJoin(told, ", ");
}

// While a history changes its length, the old one is there too.
int64_t HistoryBesideTheNew(const v1::Job& job, const v1::Controls& changed) {
  const v1::ClipSettings before = ResolveClipSettings(job.controls().clip()),
                         after = ResolveClipSettings(changed.clip());
  const bool is_copied = before.mode() == v1::CLIP_MODE_AUTOCLIP && after.mode() == before.mode() &&
                         before.autoclip().history() != after.autoclip().history();
  return is_copied ? Clipper<float>::HistoryBytes(before) : 0;
}

bool ChangesRules(const v1::Job& job, const v1::Controls& changed) {
  return EffectiveRules(job.spec(), job.controls()).SerializeAsString() !=
         EffectiveRules(job.spec(), changed).SerializeAsString();
}

// While rules change, those that go are there too; what all rules share is there once.
int64_t RulesBesideTheNew(const v1::Job& job, RuleMeter& meter) {
  return meter.Bytes(EffectiveRules(job.spec(), job.controls())) - meter.Bytes(v1::RuleSet());
}

}  // namespace

v1::ResourceEstimate EstimateResources(const Network<float>& network, const v1::JobSpec& spec, int64_t data_bytes) {
  const int64_t arena = Multiply(network.layout().arena_size(), sizeof(float));
  v1::ResourceEstimate estimate;
  estimate.set_parameters(network.layout().parameter_count());
  estimate.set_parameter_bytes(Multiply(arena, FloatArenas(spec)));
  estimate.set_activation_bytes(network.activation_bytes());
  estimate.set_data_bytes(data_bytes);
  estimate.set_watch_bytes(WatchBytes(network, spec));
  estimate.set_report_bytes(ReportRingBytes(static_cast<int64_t>(network.layout().segments().size()),
                                            static_cast<int64_t>(network.layers().size()), spec.steps()));
  estimate.set_start_bytes(StartBytes(network, Add(estimate.parameter_bytes() - arena, estimate.activation_bytes())));
  estimate.set_process_bytes(ProcessBytes(network, spec));
  return estimate;
}

int64_t EstimatedBytes(const v1::ResourceEstimate& estimate) {
  int64_t sum = 0;
  for (const int64_t bytes :
       {estimate.parameter_bytes(), estimate.activation_bytes(), estimate.data_bytes(), estimate.watch_bytes(),
        estimate.report_bytes(), estimate.start_bytes(), estimate.process_bytes()}) {
    sum = Add(sum, bytes);
  }
  return sum;
}

absl::Status CheckLimits(const v1::ResourceEstimate& estimate, const ParameterLayout& layout, int64_t batch_size,
                         const SpecLimits& limits) {
  if (estimate.parameters() > limits.max_parameters) {
    const auto& segments = layout.segments();
    const auto largest = std::max_element(segments.begin(), segments.end(),
                                          [](const auto& a, const auto& b) { return a.size < b.size; });
    return TooLarge("model",
                    absl::StrCat(estimate.parameters(), " parameters exceed the limit of ", limits.max_parameters,
                                 "; the largest tensor is ", largest->name, " with ", largest->size),
                    "QUOTA_PARAMS");
  }
  const int64_t bytes = EstimatedBytes(estimate);
  if (bytes <= limits.max_bytes) return absl::OkStatus();
  if (const int64_t program = std::min(kProgramBytes, estimate.process_bytes()); program > limits.max_bytes) {
    return WithReason(absl::InvalidArgumentError(
                          absl::StrCat("the limit of ", limits.max_bytes, " bytes", InUnits(limits.max_bytes),
                                       " is too small for any job: the program takes ", program, InUnits(program))),
                      "QUOTA_MEMORY");
  }
  const std::vector<Part> parts = Parts(estimate, layout, batch_size);
  const auto most =
      std::max_element(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.by_spec < b.by_spec; });
  return TooLarge(most->field,
                  absl::StrCat(bytes, " bytes", InUnits(bytes), " exceed the limit of ", limits.max_bytes,
                               InUnits(limits.max_bytes), ": ", LargePartsText(parts, bytes)),
                  "QUOTA_MEMORY");
}

absl::Status CheckControlsMemory(const v1::Job& job, const v1::Controls& changed, const SpecLimits& limits) {
  RuleMeter meter(job);
  ControlBytes before = BytesOf(job.controls(), job), after = BytesOf(changed, job);
  after.histories += HistoryBesideTheNew(job, changed);
  const bool rules_change = ChangesRules(job, changed);
  if (rules_change) {
    before.rules = meter.BeyondSpec(job.controls());
    after.rules = meter.BeyondSpec(changed) + RulesBesideTheNew(job, meter);
  }
  const ControlBytes more = after - before;
  if (more.sum() <= 0) return absl::OkStatus();
  if (!rules_change) after.rules = meter.BeyondSpec(changed);
  const int64_t bytes = Add(EstimatedBytes(job.estimate()), (after - BytesOf(job.spec().controls(), job)).sum());
  if (bytes <= limits.max_bytes) return absl::OkStatus();
  return TooLarge(more.Largest(),
                  absl::StrCat(MoreText(more), "; the job would need ", bytes, InUnits(bytes), ", beyond the limit of ",
                               limits.max_bytes, InUnits(limits.max_bytes)),
                  "QUOTA_MEMORY");
}

}  // namespace gradwatch::core
