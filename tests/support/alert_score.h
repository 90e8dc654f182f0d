// How good alerts are, against the labels of the runs that they are about.
#ifndef GRADWATCH_TESTS_SUPPORT_ALERT_SCORE_H_
#define GRADWATCH_TESTS_SUPPORT_ALERT_SCORE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gradwatch/v1/alert.pb.h"
#include "tests/support/recorded_run.h"

namespace gradwatch::testing {

// Steps at which episodes of alerts began to fire, in order.
struct RunAlerts {
  std::vector<int64_t> critical;
  std::vector<int64_t> told;  // of severity warning or critical
};

RunAlerts AlertsOf(const std::vector<v1::Alert>& transitions);

// What the alerts of one run were worth. A field is unset if the run says nothing about it.
struct RunVerdict {
  // Of critical alerts. A run that diverged has one in time: at the onset at the latest, or within 5 steps from it
  // where only time tells a divergence from a bump. Alerts more than 3 steps before a fault that was put in count for
  // nothing.
  std::optional<bool> caught;
  std::optional<bool> late;     // of one that diverged: there is one, but after that
  std::optional<double> lead;   // steps from the first one to the onset, of one that was caught; from the fault at most
  std::optional<double> share;  // of the steps that there were, if they were 10 or more
  std::optional<bool> falsely;  // a healthy run without a fault has one
  std::optional<bool> early;    // a run with a fault has one more than 3 steps before it
  // Of alerts that are critical or warnings.
  std::optional<bool> spike;   // a spike has one from 1 step before to 2 steps behind it
  std::optional<bool> warned;  // a healthy run without a fault has one
};

// A fault that comes after the onset had no part in it: the run is one without a fault then, but for being no healthy
// run without one.
RunVerdict JudgeAlerts(const RunLabel& label, const RunAlerts& alerts);

// The rule of the first critical alert that counts as one about the divergence of a run; unset: there is none.
std::optional<std::string> FirstInTime(const RunLabel& label, const std::vector<v1::Alert>& transitions);

// How many of those that could be.
struct Share {
  int hits = 0;
  int of = 0;
  // Unset: no run could be one.
  std::optional<double> value() const { return of == 0 ? std::nullopt : std::optional(static_cast<double>(hits) / of); }
};

// Of several runs.
struct AlertScore {
  int runs = 0;
  Share caught, late, falsely, early, spikes, warned;
  std::optional<double> lead, share;  // medians; unset: of nothing
};

AlertScore SumUp(const std::vector<RunVerdict>& verdicts);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_ALERT_SCORE_H_
