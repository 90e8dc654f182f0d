// The default rules on whole jobs: which alerts healthy ones raise, and when broken ones are told of, against when
// their losses say that they are lost. Fails where a healthy one has a critical alert. tests/bench/healthy_jobs asks
// it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/support/hosted_jobs.h"

namespace gradwatch::testing {
namespace {

// Episodes that fired, by rule: "loss_jump 2, grad_norm_spike 1".
std::string Counts(const std::vector<v1::Alert>& transitions, v1::Severity severity) {
  std::map<std::string, int> counts;
  for (const v1::Alert& alert : transitions) {
    if (alert.state() == v1::ALERT_STATE_FIRING && alert.severity() == severity) ++counts[alert.rule()];
  }
  return counts.empty() ? "none" : absl::StrJoin(counts, ", ", absl::PairFormatter(" "));
}

std::string StepOr(std::optional<int64_t> step, const char* none) {
  return step.has_value() ? absl::StrCat(*step) : none;
}

constexpr char kMark[] =
    "passed: the first of 20 steps in a row, or of all to the end of a run that ends not finite, with losses above\n"
    "        3 times the lowest median of 20 so far\n\n";

void PrintHealthyHead() {
  std::printf("%-24s %6s %10s %10s %7s  %-30s %s\n", "healthy", "steps", "best", "last", "passed", "critical",
              "warnings");
}

// False: it has a critical alert.
bool PrintHealthy(const HostedJob& job, const WatchedRun& run) {
  std::printf("%-24s %6ld %10.4g %10.4g %7s  %-30s %s\n", job.name.c_str(), static_cast<long>(run.result.steps_done),
              run.marks.best(), run.marks.last(), StepOr(run.marks.passed(), "-").c_str(),
              Counts(run.alerts, v1::SEVERITY_CRITICAL).c_str(), Counts(run.alerts, v1::SEVERITY_WARNING).c_str());
  return !FirstTold(run.alerts, v1::SEVERITY_CRITICAL).has_value();
}

void PrintBrokenHead() {
  std::printf("%-24s %6s %10s %10s %7s %7s  %-30s %-10s %6s  %s\n", "broken", "steps", "best", "last", "passed",
              "broken", "first critical", "in time", "firing", "critical");
}

// "yes (+1)": the first critical alert came a step after the mark, which is still in time.
std::string InTime(std::optional<Told> first, std::optional<int64_t> passed) {
  if (!passed.has_value()) return "-";
  if (!first.has_value()) return "NO";
  const int64_t after = first->step - *passed;
  return absl::StrCat(after <= 1 ? "yes" : "NO", " (", after > 0 ? "+" : "", after, ")");
}

bool PrintBroken(const HostedJob& job, const WatchedRun& run) {
  const std::optional<Told> first = FirstTold(run.alerts, v1::SEVERITY_CRITICAL);
  const std::optional<int64_t> passed = run.marks.passed();
  std::printf("%-24s %6ld %10.4g %10.4g %7s %7s  %-30s %-10s %6d  %s\n", job.name.c_str(),
              static_cast<long>(run.result.steps_done), run.marks.best(), run.marks.last(), StepOr(passed, "-").c_str(),
              StepOr(run.marks.non_finite(), "-").c_str(),
              first.has_value() ? absl::StrCat(first->step, " ", first->rule).c_str() : "none",
              InTime(first, passed).c_str(), run.firing_critical, Counts(run.alerts, v1::SEVERITY_CRITICAL).c_str());
  return true;
}

// False: one of them could not be run, though it is here, or was not as it must be.
bool PrintAll(const std::vector<HostedJob>& jobs, const std::string& only, int64_t steps,
              bool (*print)(const HostedJob&, const WatchedRun&)) {
  bool all_well = true;
  for (const HostedJob& job : jobs) {
    if (!absl::StartsWith(job.name, only)) continue;
    const absl::StatusOr<WatchedRun> run = RunHosted(job, steps);
    if (run.ok()) {
      all_well = print(job, *run) && all_well;
    } else {
      std::printf("%-24s %s: %s\n", job.name.c_str(), absl::IsNotFound(run.status()) ? "skipped" : "FAILED",
                  std::string(run.status().message()).c_str());
      all_well = all_well && absl::IsNotFound(run.status());
    }
    std::fflush(stdout);
  }
  return all_well;
}

int Main(int argc, char** argv) {
  int64_t steps = 5000;
  std::string only;
  CLI::App app("Runs healthy and broken jobs under the default rules.", "measure_jobs");
  app.add_option("--steps", steps, "Steps of the healthy ones; broken ones have their own")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--only", only, "Jobs whose name begins so");
  CLI11_PARSE(app, argc, argv);
  std::printf("%s", kMark);
  PrintHealthyHead();
  bool all_well = PrintAll(HealthyJobs(), only, steps, PrintHealthy);
  std::printf("\n");
  PrintBrokenHead();
  all_well = PrintAll(BrokenJobs(), only, 0, PrintBroken) && all_well;
  return all_well ? 0 : 1;
}

}  // namespace
}  // namespace gradwatch::testing

int main(int argc, char** argv) { return gradwatch::testing::Main(argc, argv); }
