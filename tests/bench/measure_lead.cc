// How early alerts come: plays the scenarios of lead_scenarios.h to the default rules and to presets after other tools,
// all on the very same steps, and prints a line of JSON for each scenario and set of rules. tests/bench/lead asks it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/bench/lead_scenarios.h"
#include "tests/support/watched_run.h"

namespace gradwatch::testing {
namespace {

// Presets that lack what their tool finds explosions with, so that their leads would say nothing of the tool:
// autotrainer's ratio of norms, composer's cap on the loss, ignite's later form, trainscope's CUSUM.
constexpr std::string_view kFragments[] = {"preset autotrainer", "preset composer", "preset ignite",
                                           "preset trainscope"};

// NaN: there is none.
double Median(std::vector<double> values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::ranges::sort(values);
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

std::string Json(double value) { return std::isfinite(value) ? absl::StrCat(value) : "null"; }

// The first alerts of at least one severity of a set of rules, over runs that went wrong and those with nothing wrong.
// Medians are over those runs that have each.
class Firsts {
 public:
  Firsts(v1::Severity least, int64_t begin) : least_(least), begin_(begin) {}

  void AddBad(const std::vector<v1::Alert>& alerts, std::optional<int64_t> broken) {
    ++runs_;
    const auto very_first = FirstTold(alerts, least_);
    early_ += very_first.has_value() && very_first->step < begin_;
    const auto first = FirstTold(alerts, least_, begin_);
    if (!first.has_value()) return;
    after_.push_back(static_cast<double>(first->step - begin_));
    if (broken.has_value()) lead_.push_back(static_cast<double>(*broken - first->step));
    ++rules_[first->rule];
  }
  void AddCalm(const std::vector<v1::Alert>& alerts) { calm_ += FirstTold(alerts, least_).has_value(); }

  // "told": share of the runs that went wrong; "after": steps from where that began; "lead": steps to the first value
  // that is not finite; "early", "calm": shares of false alerts.
  std::string ToJson() const {
    const auto most = std::ranges::max_element(rules_, {}, [](const auto& rule) { return rule.second; });
    const auto share = [&](size_t count) { return Json(static_cast<double>(count) / runs_); };
    return absl::StrCat("{\"told\": ", share(after_.size()), ", \"after\": ", Json(Median(after_)),
                        ", \"lead\": ", Json(Median(lead_)), ", \"rule\": \"", most == rules_.end() ? "" : most->first,
                        "\", \"early\": ", share(early_), ", \"calm\": ", share(calm_), "}");
  }

 private:
  const v1::Severity least_;
  const int64_t begin_;
  int runs_ = 0;
  size_t early_ = 0, calm_ = 0;
  std::vector<double> after_, lead_;
  std::map<std::string, int> rules_;
};

// Median and share of the runs that have this mark, in steps from where it began: "[12, 0.9]".
std::string MarkJson(const std::vector<LeadRun>& runs, int64_t begin,
                     std::optional<int64_t> (LossMarks::*mark)() const) {
  std::vector<double> steps;
  for (const LeadRun& run : runs) {
    const std::optional<int64_t> step = (run.marks.*mark)();
    if (step.has_value()) steps.push_back(static_cast<double>(*step - begin));
  }
  const double share = static_cast<double>(steps.size()) / static_cast<double>(runs.size());
  return absl::StrCat("[", Json(Median(steps)), ", ", Json(share), "]");
}

std::string FirstsJson(const std::vector<LeadRun>& bad, const std::vector<LeadRun>& calm, size_t set,
                       v1::Severity least, int64_t begin) {
  Firsts firsts(least, begin);
  for (const LeadRun& run : bad) firsts.AddBad(run.alerts[set], run.marks.non_finite());
  for (const LeadRun& run : calm) firsts.AddCalm(run.alerts[set]);
  return firsts.ToJson();
}

void Measure(const LeadScenario& scenario, const std::vector<NamedRules>& rules, int seeds) {
  std::vector<LeadRun> bad, calm;
  for (int seed = 1; seed <= seeds; ++seed) {
    bad.push_back(scenario.run(rules, static_cast<uint64_t>(seed), false));
    calm.push_back(scenario.run(rules, static_cast<uint64_t>(seed), true));
  }
  const std::string common = absl::StrCat("\"scenario\": \"", scenario.name, "\", \"value\": \"", scenario.value,
                                          "\", \"growth\": ", Json(scenario.growth),
                                          ", \"passed\": ", MarkJson(bad, scenario.begin, &LossMarks::passed),
                                          ", \"broken\": ", MarkJson(bad, scenario.begin, &LossMarks::non_finite));
  for (size_t set = 0; set < rules.size(); ++set) {
    std::printf("{%s, \"rules\": \"%s\", \"first\": %s, \"critical\": %s}\n", common.c_str(), rules[set].name.c_str(),
                FirstsJson(bad, calm, set, v1::SEVERITY_WARNING, scenario.begin).c_str(),
                FirstsJson(bad, calm, set, v1::SEVERITY_CRITICAL, scenario.begin).c_str());
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
  for (NamedRules& rival : RivalRules()) {
    if (std::ranges::find(kFragments, rival.name) == std::end(kFragments)) rules.push_back(std::move(rival));
  }
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
