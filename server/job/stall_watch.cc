#include "server/job/stall_watch.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/timestamp.h"
#include "server/job/job_state.h"

namespace gradwatch::server {
namespace {

constexpr absl::Duration kShortestLimit = absl::Seconds(30);
constexpr int kMedianSteps = 10;
// Where nobody knows how long a step takes: data may be read anew, and the first step allocates.
constexpr absl::Duration kUnknownLimit = absl::Minutes(5);
constexpr size_t kTimes = 31;

std::string Seconds(absl::Duration time) {
  return absl::FormatDuration(absl::Trunc(time, time < absl::Seconds(1) ? absl::Milliseconds(1) : absl::Seconds(1)));
}

// Where the rule of this name was asked for: "rules.rules[3].name", or by "rules.preset".
std::string NameField(absl::string_view name, const v1::RuleSet& asked) {
  for (int i = 0; i < asked.rules_size(); ++i) {
    if (asked.rules(i).name() == name) return absl::StrCat("rules.rules[", i, "].name");
  }
  return "rules.preset";
}

}  // namespace

v1::Rule StallRuleOf(const v1::RuleSet& rules) {
  for (const v1::Rule& rule : rules.rules()) {
    if (rule.has_stall() && !rule.off()) return rule;
  }
  v1::Rule rule;
  rule.set_name(kServerRule);
  // A stall costs time, not the run; whoever is to be woken up by one says so with a rule of their own.
  rule.set_severity(v1::SEVERITY_WARNING);
  rule.mutable_stall();
  return rule;
}

absl::Status CheckStallNames(const v1::RuleSet& rules, const v1::RuleSet& asked, const v1::JobSpec& spec) {
  const std::string own = StallRuleOf(spec.rules()).name();
  core::FieldErrors errors;
  for (const v1::Rule& rule : rules.rules()) {
    const bool is_servers = rule.name() == own || rule.name() == kServerRule;
    if (rule.off() || rule.has_stall() == is_servers) continue;
    errors.Add(NameField(rule.name(), asked),
               rule.has_stall() ? absl::StrCat("\"", rule.name(), "\": the rule about stalls of this job is \"", own,
                                               "\", and keeps its name")
                                : absl::StrCat("\"", rule.name(),
                                               "\" is the name of this job's rule about stalls, and of no other"));
  }
  return errors.ToStatus();
}

void StallWatch::Look(absl::Duration now, int64_t steps_done) {
  now_ = now;
  if (!since_.has_value()) {
    since_ = now;
    measures_ = false;
    steps_done_ = steps_done;
    return;
  }
  if (steps_done <= steps_done_) return;
  if (measures_ && now > *since_) {
    step_times_.push_back((now - *since_) / (steps_done - steps_done_));
    if (step_times_.size() > kTimes) step_times_.pop_front();
  }
  since_ = now;
  measures_ = true;
  steps_done_ = steps_done;
}

std::optional<absl::Duration> StallWatch::MedianStep() const {
  if (step_times_.empty()) return std::nullopt;
  std::vector<absl::Duration> times(step_times_.begin(), step_times_.end());
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

absl::Duration StallWatch::Limit(const v1::Rule& rule) const {
  const auto median = MedianStep();
  const absl::Duration unknown = std::max(kUnknownLimit, kMedianSteps * expected_);
  if (rule.stall().has_seconds()) {
    const absl::Duration told = absl::Seconds(rule.stall().seconds());
    return median.has_value() || measures_ ? told : std::max(told, unknown);
  }
  // After a single step nobody knows what the second one takes.
  return median.has_value() ? std::max(kShortestLimit, kMedianSteps * *median) : unknown;
}

v1::Alert MakeStallAlert(const v1::Job& job, const v1::Rule& rule, const StallWatch& watch, absl::Time now) {
  v1::Alert alert;
  alert.set_job_id(job.job_id());
  alert.set_attempt(job.attempt());
  alert.set_rule(rule.name());
  alert.set_severity(rule.severity());
  alert.set_state(v1::ALERT_STATE_FIRING);
  alert.set_first_step(job.steps_done());
  alert.set_step(job.steps_done());
  alert.set_value(absl::ToDoubleSeconds(watch.waited()));
  alert.set_limit(absl::ToDoubleSeconds(watch.Limit(rule)));
  const auto median = watch.MedianStep();
  alert.set_summary(absl::StrCat("no step for ", Seconds(watch.waited()), ", though the trainer is there: step ",
                                 job.steps_done(), " does not come",
                                 median.has_value() ? absl::StrCat("; a step took ", Seconds(*median)) : ""));
  alert.add_diagnosis(
      "the trainer's process lives and talks; its steps wait: for data, a lock, a device, or the processor");
  alert.add_diagnosis("look at what it does (top, py-spy, gdb) and at its log; stop the job if it does not go on");
  *alert.mutable_time() = core::ToTimestamp(now);
  return alert;
}

v1::Alert EndStallAlert(v1::Alert alert, const v1::Job& job, absl::Time now) {
  const bool goes_on = job.steps_done() > alert.first_step();
  alert.set_state(v1::ALERT_STATE_RESOLVED);
  alert.set_step(std::max(alert.step(), job.steps_done()));
  const std::string end = goes_on ? absl::StrCat("steps come again, from step ", alert.first_step())
                                  : absl::StrCat("the job is ", StateName(job.state()));
  alert.set_summary(absl::StrCat(end, "; it was: ", alert.summary()));
  *alert.mutable_time() = core::ToTimestamp(now);
  return alert;
}

}  // namespace gradwatch::server
