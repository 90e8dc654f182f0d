#include "core/detect/detector.h"

#include <utility>

#include "core/base/timestamp.h"
#include "core/detect/condition.h"
#include "core/detect/episode.h"
#include "core/detect/run_context.h"

namespace gradwatch::core {
namespace {

// Of a rule and its alert, with summary and diagnosis, once here and once on its way.
constexpr int64_t kAlertBytes = 6 << 10;

// A rule at work.
struct Watch {
  std::unique_ptr<Condition> condition;
  Episode episode;
};

}  // namespace

struct Detector::State {
  explicit State(std::vector<std::string> tensor_names) : context(std::move(tensor_names)) {}

  void Judge(const StepRecord& record, bool update, absl::Time now, std::vector<v1::Alert>* transitions);

  RunContext context;
  std::vector<Watch> watches;
};

void Detector::State::Judge(const StepRecord& record, bool update, absl::Time now,
                            std::vector<v1::Alert>* transitions) {
  for (Watch& watch : watches) {
    if (watch.condition->judges_update() != update) continue;
    const Verdict verdict = watch.condition->Judge(record);
    const Episode::Change change = watch.episode.Advance(record.step, verdict);
    if (change == Episode::Change::kNone) continue;
    v1::Alert& alert = watch.episode.alert();
    if (change != Episode::Change::kResolved) watch.condition->Describe(record, verdict, context, &alert);
    *alert.mutable_time() = ToTimestamp(now);
    transitions->push_back(alert);
  }
}

int64_t DetectorBytes(const v1::RuleSet& rules, const std::vector<std::string>& tensor_names) {
  int64_t bytes = RunContext::Bytes(tensor_names);
  for (const v1::Rule& rule : rules.rules()) bytes += kAlertBytes + ConditionBytes(rule, tensor_names);
  return bytes;
}

Detector::Detector(const v1::RuleSet& rules, std::vector<std::string> tensor_names, AlertIdentity identity)
    : state_(std::make_unique<State>(std::move(tensor_names))) {
  const v1::RuleSet resolved = ResolveRules(rules);
  for (const v1::Rule& rule : resolved.rules()) {
    auto condition = MakeCondition(rule, state_->context.tensor_names());
    if (condition != nullptr) state_->watches.push_back({std::move(condition), Episode(rule, identity)});
  }
}

Detector::~Detector() = default;

void Detector::JudgeGradients(const StepRecord& record, absl::Time now, std::vector<v1::Alert>* transitions) {
  state_->Judge(record, false, now, transitions);
  state_->context.ObserveGradients(record);
}

void Detector::JudgeUpdate(const StepRecord& record, absl::Time now, std::vector<v1::Alert>* transitions) {
  state_->Judge(record, true, now, transitions);
  state_->context.ObserveUpdate(record);
}

void Detector::Finish(int64_t step, absl::Time now, std::vector<v1::Alert>* transitions) {
  for (Watch& watch : state_->watches) {
    if (watch.episode.Finish(step) == Episode::Change::kNone) continue;
    *watch.episode.alert().mutable_time() = ToTimestamp(now);
    transitions->push_back(watch.episode.alert());
  }
}

}  // namespace gradwatch::core
