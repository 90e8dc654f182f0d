#include "tests/support/alert_score.h"

#include <algorithm>
#include <cstddef>

namespace gradwatch::testing {
namespace {

// Steps before a fault from which on an alert is about it.
constexpr int64_t kBeforeFault = 3;
// Steps that a divergence takes to be told from a bump.
constexpr int64_t kTimeToTell = 5;
// Steps that there must have been for a share of them to mean something.
constexpr int64_t kEnoughSteps = 10;

// The step of the fault that the run is about.
std::optional<int64_t> FaultOf(const RunLabel& label) {
  const bool had_no_part = label.onset.has_value() && label.fault_step.has_value() && *label.onset < *label.fault_step;
  return had_no_part ? std::nullopt : label.fault_step;
}

bool HasOneIn(const std::vector<int64_t>& steps, int64_t first, int64_t last) {
  return std::ranges::any_of(steps, [&](int64_t step) { return first <= step && step <= last; });
}

// The step from which on a critical alert is about the divergence.
int64_t CountsFrom(const RunLabel& label) {
  const std::optional<int64_t> fault = FaultOf(label);
  return fault.has_value() ? *fault - kBeforeFault : 0;
}

void JudgeDiverged(const RunLabel& label, const std::vector<int64_t>& critical, RunVerdict* verdict) {
  const int64_t onset = *label.onset, begin = FaultOf(label).value_or(0);
  const auto first = std::ranges::find_if(critical, [&](int64_t step) { return step >= CountsFrom(label); });
  const bool is_there = first != critical.end();
  verdict->caught = is_there && *first <= onset + (label.by_value ? 0 : kTimeToTell);
  verdict->late = is_there && !*verdict->caught;
  if (!*verdict->caught) return;
  const auto lead = static_cast<double>(onset - std::max(*first, begin));
  verdict->lead = lead;
  if (onset - begin >= kEnoughSteps) verdict->share = lead / static_cast<double>(onset - begin);
}

void Count(const std::optional<bool>& what, Share* share) {
  if (!what.has_value()) return;
  ++share->of;
  if (*what) ++share->hits;
}

std::optional<double> Median(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

RunAlerts AlertsOf(const std::vector<v1::Alert>& transitions) {
  RunAlerts alerts;
  for (const v1::Alert& alert : transitions) {
    if (alert.state() != v1::ALERT_STATE_FIRING) continue;
    if (alert.severity() == v1::SEVERITY_CRITICAL) alerts.critical.push_back(alert.step());
    if (alert.severity() >= v1::SEVERITY_WARNING) alerts.told.push_back(alert.step());
  }
  return alerts;
}

RunVerdict JudgeAlerts(const RunLabel& label, const RunAlerts& alerts) {
  RunVerdict verdict;
  if (const auto fault = FaultOf(label); fault.has_value()) {
    verdict.early = std::ranges::any_of(alerts.critical, [&](int64_t step) { return step < *fault - kBeforeFault; });
  }
  if (label.label == "diverged") JudgeDiverged(label, alerts.critical, &verdict);
  if (label.label == "spike") verdict.spike = HasOneIn(alerts.told, *label.onset - 1, *label.onset + 2);
  if (label.label == "healthy" && !label.has_fault) {
    verdict.falsely = !alerts.critical.empty();
    verdict.warned = !alerts.told.empty();
  }
  return verdict;
}

std::optional<std::string> FirstInTime(const RunLabel& label, const std::vector<v1::Alert>& transitions) {
  for (const v1::Alert& alert : transitions) {
    if (alert.state() != v1::ALERT_STATE_FIRING || alert.severity() != v1::SEVERITY_CRITICAL) continue;
    if (alert.step() >= CountsFrom(label)) return alert.rule();
  }
  return std::nullopt;
}

AlertScore SumUp(const std::vector<RunVerdict>& verdicts) {
  AlertScore score;
  score.runs = static_cast<int>(verdicts.size());
  std::vector<double> leads, shares;
  for (const RunVerdict& verdict : verdicts) {
    Count(verdict.caught, &score.caught);
    Count(verdict.late, &score.late);
    Count(verdict.falsely, &score.falsely);
    Count(verdict.early, &score.early);
    Count(verdict.spike, &score.spikes);
    Count(verdict.warned, &score.warned);
    if (verdict.lead.has_value()) leads.push_back(*verdict.lead);
    if (verdict.share.has_value()) shares.push_back(*verdict.share);
  }
  score.lead = Median(leads);
  score.share = Median(shares);
  return score;
}

}  // namespace gradwatch::testing
