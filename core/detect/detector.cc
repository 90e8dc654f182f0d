#include "core/detect/detector.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/base/timestamp.h"
#include "core/detect/condition.h"
#include "core/detect/episode.h"
#include "core/detect/run_signals.h"

namespace gradwatch::core {
namespace {

// Of a rule and its alert, with summary and diagnosis: once here, once on its way and once where it is kept what was
// told of it (AlertBudget).
constexpr int64_t kAlertBytes = 9 << 10;

// A rule at work.
struct Watch {
  v1::Rule rule;
  std::unique_ptr<Condition> condition;
  Episode episode;
};

}  // namespace

struct Detector::State {
  State(std::vector<std::string> tensor_names, AlertIdentity who, RunFacts facts)
      : identity(std::move(who)), signals(std::move(tensor_names), std::move(facts)) {}

  void Judge(const StepRecord& record, bool update, absl::Time now, std::vector<v1::Alert>* transitions);
  void Tell(Watch* watch, absl::Time now, std::vector<v1::Alert>* transitions);
  // A watch of a rule that is new.
  void Install(const v1::Rule& rule);
  // The watch of `old` that measures what the rule does goes on as one of this rule, and leaves one there without a
  // condition; false: there is none.
  bool GoOn(const v1::Rule& rule, int64_t step, absl::Time now, std::vector<Watch>* old,
            std::vector<v1::Alert>* transitions);

  const AlertIdentity identity;
  RunSignals signals;
  std::vector<Watch> watches;
  int64_t last_holding = -1;
  std::map<std::string, int32_t> episodes;  // of rules that were there before, by name: ids are never given twice
};

void Detector::State::Judge(const StepRecord& record, bool update, absl::Time now,
                            std::vector<v1::Alert>* transitions) {
  for (Watch& watch : watches) {
    if (watch.condition->judges_update() != update) continue;
    const Verdict verdict = watch.condition->Judge(record, signals);
    if (verdict.kind == Verdict::Kind::kHolds) last_holding = record.step;
    const Episode::Change change = watch.episode.Advance(record.step, verdict);
    if (change == Episode::Change::kNone) continue;
    if (change != Episode::Change::kResolved) {
      watch.condition->Describe(record, verdict, signals, &watch.episode.alert());
    }
    Tell(&watch, now, transitions);
  }
}

void Detector::State::Tell(Watch* watch, absl::Time now, std::vector<v1::Alert>* transitions) {
  *watch->episode.alert().mutable_time() = ToTimestamp(now);
  transitions->push_back(watch->episode.alert());
}

bool Detector::State::GoOn(const v1::Rule& rule, int64_t step, absl::Time now, std::vector<Watch>* old,
                           std::vector<v1::Alert>* transitions) {
  const auto same = [&](const Watch& watch) {
    return watch.rule.name() == rule.name() && MeasureOf(watch.rule) == MeasureOf(rule);
  };
  const auto found = std::find_if(old->begin(), old->end(), same);
  if (found == old->end()) return false;
  if (found->episode.Follow(rule, step) != Episode::Change::kNone) Tell(&*found, now, transitions);
  found->rule = rule;
  watches.push_back(std::move(*found));
  return true;
}

void Detector::State::Install(const v1::Rule& rule) {
  auto condition = MakeCondition(rule, signals.tensor_names());
  if (condition == nullptr) return;
  watches.push_back({rule, std::move(condition), Episode(rule, identity, episodes[rule.name()])});
}

int64_t DetectorBytes(const v1::RuleSet& rules, const std::vector<std::string>& tensor_names) {
  int64_t bytes = RunSignals::Bytes(tensor_names);
  for (const v1::Rule& rule : rules.rules()) bytes += kAlertBytes + ConditionBytes(rule, tensor_names);
  return bytes;
}

Detector::Detector(const v1::RuleSet& rules, std::vector<std::string> tensor_names, AlertIdentity identity,
                   RunFacts facts)
    : state_(std::make_unique<State>(std::move(tensor_names), std::move(identity), std::move(facts))) {
  const v1::RuleSet resolved = ResolveRules(rules);
  for (const v1::Rule& rule : resolved.rules()) state_->Install(rule);
}

Detector::~Detector() = default;

void Detector::JudgeGradients(const StepRecord& record, absl::Time now, std::vector<v1::Alert>* transitions) {
  state_->signals.BeginStep(record);
  state_->Judge(record, false, now, transitions);
  state_->signals.EndGradients(record);
}

void Detector::JudgeUpdate(const StepRecord& record, absl::Time now, std::vector<v1::Alert>* transitions) {
  state_->signals.ObserveUpdate(record);
  state_->Judge(record, true, now, transitions);
  state_->signals.EndUpdate(record);
}

void Detector::SetRules(const v1::RuleSet& rules, int64_t step, absl::Time now, std::vector<v1::Alert>* transitions) {
  State& state = *state_;
  std::vector<Watch> old = std::exchange(state.watches, {});
  for (const Watch& watch : old) {
    int32_t& episodes = state.episodes[watch.rule.name()];
    episodes = std::max(episodes, watch.episode.episodes());
  }
  const v1::RuleSet resolved = ResolveRules(rules);
  for (const v1::Rule& rule : resolved.rules()) {
    if (!state.GoOn(rule, step, now, &old, transitions)) state.Install(rule);
  }
  for (Watch& watch : old) {
    if (watch.condition == nullptr) continue;
    const bool removed =
        std::ranges::none_of(resolved.rules(), [&](const v1::Rule& rule) { return rule.name() == watch.rule.name(); });
    if (watch.episode.Withdraw(step, removed) != Episode::Change::kNone) state.Tell(&watch, now, transitions);
  }
}

int64_t Detector::last_holding() const { return state_->last_holding; }

void Detector::Finish(int64_t step, absl::Time now, std::vector<v1::Alert>* transitions) {
  for (Watch& watch : state_->watches) {
    if (watch.episode.Finish(step) != Episode::Change::kNone) state_->Tell(&watch, now, transitions);
  }
}

}  // namespace gradwatch::core
