// How early alerts come: plays the scenarios of lead_scenarios.h to the default rules and to those after other tools,
// all on the very same steps, and prints a line of JSON for each scenario and set of rules. tests/bench/lead asks it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/bench/lead_scenarios.h"
#include "tests/support/watched_run.h"

namespace gradwatch::testing {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// Alerts of at least one severity, over runs that went wrong: first ones counted from where it began.
struct Firsts {
  std::vector<double> after;  // steps; kNever: there was none
  std::vector<double> lead;   // steps to the end of the run, of runs that were lost; -kNever: there was none
  std::map<std::string, int> rules;

  void Add(const std::vector<v1::Alert>& alerts, v1::Severity least, int64_t begin, std::optional<int64_t> end) {
    const std::optional<Told> first = FirstTold(alerts, least, begin);
    after.push_back(first.has_value() ? static_cast<double>(first->step - begin) : kNever);
    if (first.has_value()) ++rules[first->rule];
    if (end.has_value()) lead.push_back(first.has_value() ? static_cast<double>(*end - first->step) : -kNever);
  }
  std::string MostCommonRule() const {
    const auto most = std::ranges::max_element(rules, {}, [](const auto& rule) { return rule.second; });
    return most == rules.end() ? "" : most->first;
  }
};

// Where half of them have none, there is none.
double Median(std::vector<double> values) {
  if (values.empty()) return kNever;
  std::ranges::sort(values);
  const double low = values[(values.size() - 1) / 2], high = values[values.size() / 2];
  if (std::isinf(high)) return high;
  return std::isinf(low) ? low : (low + high) / 2;
}

std::string Json(double value) { return std::isfinite(value) ? absl::StrCat(value) : "null"; }

double After(std::optional<int64_t> step, int64_t begin) {
  return step.has_value() ? static_cast<double>(*step - begin) : kNever;
}

bool IsCritical(const std::vector<v1::Alert>& alerts) { return FirstTold(alerts, v1::SEVERITY_CRITICAL).has_value(); }

template <typename Of>
double MedianOf(const std::vector<LeadRun>& runs, Of of) {
  std::vector<double> values;
  for (const LeadRun& run : runs) values.push_back(of(run));
  return Median(values);
}

double LostShare(const std::vector<LeadRun>& runs) {
  const auto lost = std::ranges::count_if(runs, [](const LeadRun& run) { return run.marks.end().has_value(); });
  return static_cast<double>(lost) / static_cast<double>(runs.size());
}

// Words of JSON about one set of rules.
std::string Describe(const LeadScenario& scenario, size_t set, const std::vector<LeadRun>& bad,
                     const std::vector<LeadRun>& calm) {
  Firsts any, critical;
  int early = 0, falsely = 0;
  for (const LeadRun& run : bad) {
    any.Add(run.alerts[set], v1::SEVERITY_WARNING, scenario.begin, run.marks.end());
    critical.Add(run.alerts[set], v1::SEVERITY_CRITICAL, scenario.begin, run.marks.end());
    const auto first = FirstTold(run.alerts[set], v1::SEVERITY_CRITICAL);
    early += first.has_value() && first->step < scenario.begin;
  }
  for (const LeadRun& run : calm) falsely += IsCritical(run.alerts[set]);
  const auto share = [&](int count) { return Json(static_cast<double>(count) / static_cast<double>(bad.size())); };
  return absl::StrCat("\"first\": ", Json(Median(any.after)), ", \"first_rule\": \"", any.MostCommonRule(),
                      "\", \"first_lead\": ", Json(Median(any.lead)), ", \"critical\": ", Json(Median(critical.after)),
                      ", \"critical_rule\": \"", critical.MostCommonRule(),
                      "\", \"lead\": ", Json(Median(critical.lead)), ", \"early\": ", share(early),
                      ", \"calm\": ", share(falsely));
}

void Measure(const LeadScenario& scenario, const std::vector<NamedRules>& rules, int seeds) {
  std::vector<LeadRun> bad, calm;
  for (int seed = 1; seed <= seeds; ++seed) {
    bad.push_back(scenario.run(rules, static_cast<uint64_t>(seed), false));
    calm.push_back(scenario.run(rules, static_cast<uint64_t>(seed), true));
  }
  const int64_t begin = scenario.begin;
  const std::string common = absl::StrCat(
      "\"scenario\": \"", scenario.name, "\", \"value\": \"", scenario.value, "\", \"growth\": ", Json(scenario.growth),
      ", \"runs\": ", seeds, ", \"lost\": ", Json(LostShare(bad)), ", \"calm_lost\": ", Json(LostShare(calm)),
      ", \"passed\": ", Json(MedianOf(bad, [&](const LeadRun& run) { return After(run.marks.passed(), begin); })),
      ", \"non_finite\": ",
      Json(MedianOf(bad, [&](const LeadRun& run) { return After(run.marks.non_finite(), begin); })));
  for (size_t set = 0; set < rules.size(); ++set) {
    std::printf("{%s, \"rules\": \"%s\", %s}\n", common.c_str(), rules[set].name.c_str(),
                Describe(scenario, set, bad, calm).c_str());
  }
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  int seeds = 10;
  std::string only;
  CLI::App app("Measures how early alerts come before a run is lost.", "measure_lead");
  app.add_option("--seeds", seeds, "Runs of each scenario")->check(CLI::Range(1, 1000));
  app.add_option("--only", only, "Scenarios whose name begins so");
  CLI11_PARSE(app, argc, argv);
  std::vector<NamedRules> rules = {{std::string(core::kDefaultPreset), v1::RuleSet()}};
  for (NamedRules& rival : RivalRules()) rules.push_back(std::move(rival));
  bool found = false;
  for (const LeadScenario& scenario : LeadScenarios()) {
    if (!absl::StartsWith(scenario.name, only)) continue;
    found = true;
    Measure(scenario, rules, seeds);
  }
  if (!found) std::fprintf(stderr, "measure_lead: no scenario begins with \"%s\"\n", only.c_str());
  return found ? 0 : 1;
}

}  // namespace
}  // namespace gradwatch::testing

int main(int argc, char** argv) { return gradwatch::testing::Main(argc, argv); }
