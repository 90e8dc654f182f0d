#include "core/detect/alert_budget.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/timestamp.h"

namespace gradwatch::core {
namespace {

// Rules that the summary names, those with most; the rest is a number.
constexpr size_t kMaxNamed = 5;
constexpr int kMostTransitions = 3;  // of an episode: pending, firing, resolved

std::string CountOf(int64_t count, absl::string_view what) {
  return absl::StrCat(count, " ", what, count == 1 ? "" : "s");
}

}  // namespace

AlertBudget::AlertBudget(AlertIdentity identity, const Clock* clock, const AlertBudgetOptions& options)
    : identity_(std::move(identity)), clock_(clock), options_(options) {}

AlertBudget::Rule& AlertBudget::Find(const std::string& name) {
  const auto [place, is_new] = rules_.try_emplace(name);
  if (is_new) {
    place->second.tokens = options_.burst;
    place->second.filled = clock_->Monotonic();
  }
  return place->second;
}

std::vector<v1::Alert> AlertBudget::Take(v1::Alert alert, int64_t waiting) {
  Rule& rule = Find(alert.rule());
  const bool ends = alert.state() == v1::ALERT_STATE_RESOLVED;
  if (rule.open.contains(alert.episode())) return {Tell(std::move(alert), rule)};
  if (rule.counting == alert.episode()) {
    rule.last_step = std::max(rule.last_step, alert.step());
    if (ends) rule.counting.reset();
    return {};
  }
  if (MayTell(rule, waiting)) {
    ++rule.told;
    return {Tell(std::move(alert), rule)};
  }
  Count(alert, rule);
  if (episode_ > 0 && alert.severity() <= severity_) return {};
  return BeginCounting(alert);
}

v1::Alert AlertBudget::Tell(v1::Alert alert, Rule& rule) {
  const auto [place, is_new] = rule.open.try_emplace(alert.episode());
  open_ += is_new ? 1 : 0;
  if (alert.state() != v1::ALERT_STATE_RESOLVED) {
    if (alert.state() == v1::ALERT_STATE_FIRING) lines_.TellOnce(&alert);
    place->second = alert.diagnosis();
    return alert;
  }
  if (!is_new) *alert.mutable_diagnosis() = std::move(place->second);
  alert.set_step(std::max(alert.step(), alert.first_step()));  // as in Finish
  rule.open.erase(place);
  --open_;
  return alert;
}

std::vector<v1::Alert> AlertBudget::BeginCounting(const v1::Alert& alert) {
  std::vector<v1::Alert> told;
  if (episode_ > 0) {
    told.push_back(Truncation(v1::ALERT_STATE_RESOLVED, alert.step(),
                              absl::StrCat("from step ", alert.step(), " on alerts of ", alert.rule(),
                                           ", which are more severe, are counted too: another alert tells it")));
  }
  ++episode_;
  severity_ = alert.severity();
  first_step_ = alert.step();
  told.push_back(
      Truncation(v1::ALERT_STATE_FIRING, alert.step(),
                 absl::StrCat("from step ", alert.step(), " on alerts of ", alert.rule(),
                              " are counted, not told one by one; how many is told at the end of the run, unless "
                              "it is killed")));
  return told;
}

bool AlertBudget::MayTell(Rule& rule, int64_t waiting) {
  const absl::Duration now = clock_->Monotonic();
  const double seconds = absl::ToDoubleSeconds(now - rule.filled);
  rule.tokens = std::min<double>(options_.burst, rule.tokens + seconds * options_.per_second);
  rule.filled = now;
  // What is open will be told to its end.
  const bool has_room = waiting + kMostTransitions * (int64_t{open_} + 1) <= options_.max_waiting;
  if (rule.tokens < 1) return false;
  if (!has_room && rule.told >= options_.always_told) return false;
  rule.tokens -= 1;
  return true;
}

void AlertBudget::Count(const v1::Alert& alert, Rule& rule) {
  if (rule.counted == 0) rule.first_step = alert.first_step();
  rule.last_step = std::max(rule.last_step, alert.step());
  if (alert.state() != v1::ALERT_STATE_RESOLVED) rule.counting = alert.episode();
  ++rule.counted;
  ++counted_;
}

std::vector<v1::Alert> AlertBudget::Finish(int64_t step) {
  if (counted_ == 0) return {};
  // A run may end within a step that has told alerts: the last one that was done is the one before it.
  v1::Alert alert = Truncation(v1::ALERT_STATE_RESOLVED, std::max(step, first_step_), Summary());
  alert.set_value(static_cast<double>(counted_));
  return {std::move(alert)};
}

v1::Alert AlertBudget::Truncation(v1::AlertState state, int64_t step, std::string summary) const {
  v1::Alert alert;
  alert.set_alert_id(absl::StrCat(identity_.job_uid, "/", identity_.attempt, "/", kTruncationRule, "/", episode_));
  alert.set_job_id(identity_.job_id);
  alert.set_attempt(identity_.attempt);
  alert.set_rule(kTruncationRule);
  alert.set_severity(severity_);
  alert.set_state(state);
  alert.set_episode(episode_);
  alert.set_first_step(first_step_);
  alert.set_step(step);
  alert.set_summary(std::move(summary));
  alert.add_diagnosis(absl::StrCat("a rule tells ", options_.burst, " episodes at once and then ", options_.per_second,
                                   " a second, fewer while no server takes them; the others are counted"));
  alert.add_diagnosis("set its limit farther from what is usual, or for_steps and resolve_after_steps higher");
  *alert.mutable_time() = ToTimestamp(clock_->Now());
  return alert;
}

std::string AlertBudget::Summary() const {
  std::vector<std::pair<std::string, Rule>> counted;
  for (const auto& [name, rule] : rules_) {
    if (rule.counted > 0) counted.emplace_back(name, rule);
  }
  std::stable_sort(counted.begin(), counted.end(),
                   [](const auto& a, const auto& b) { return a.second.counted > b.second.counted; });
  std::vector<std::string> parts;
  for (size_t i = 0; i < std::min(counted.size(), kMaxNamed); ++i) {
    const auto& [name, rule] = counted[i];
    parts.push_back(absl::StrCat(rule.counted, " of ", name, " in steps ", rule.first_step, " to ", rule.last_step));
  }
  if (counted.size() > kMaxNamed) {
    parts.push_back(absl::StrCat("the rest of ", CountOf(static_cast<int64_t>(counted.size() - kMaxNamed), "rule")));
  }
  return absl::StrCat(CountOf(counted_, "alert"), counted_ == 1 ? " was" : " were",
                      " counted, not told: ", absl::StrJoin(parts, "; "));
}

}  // namespace gradwatch::core
