// How good the detector's alerts are, under the default rules and others, those after other tools among them: plays
// recorded runs to it, as the trainer would, and scores its alerts against what became of the runs.
// tests/bench/detection asks it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "client/lib/spec_reader.h"
#include "core/base/status_macros.h"
#include "core/detect/detector.h"
#include "tests/bench/rule_sets.h"
#include "tests/support/alert_score.h"
#include "tests/support/recorded_run.h"

namespace gradwatch::testing {
namespace {

constexpr size_t kMostListed = 3;  // alerts of a run that a list names

struct CommandLine {
  std::vector<std::string> folders, rules, presets, without;
  bool rivals = false;
  std::string alerts, run, by, list;
};

// What a set of rules made of a run.
struct Played {
  std::vector<v1::Alert> transitions;
  RunVerdict verdict;
};

// The runs of a folder.
struct PlayedSet {
  std::vector<RunLabel> labels;
  std::vector<std::vector<Played>> played;  // [rules][run]
  int64_t steps = 0;                        // of all runs
  std::vector<absl::Duration> costs;        // [rules], of judging them
};

absl::StatusOr<NamedRules> RulesOfFile(const std::string& path) {
  NamedRules named{std::filesystem::path(path).filename().string(), {}};
  GW_RETURN_IF_ERROR(client::ReadMessage(path, &named.rules));
  GW_RETURN_IF_ERROR(core::ValidateRules(named.rules));
  return named;
}

// The set with this rule taken out of it.
NamedRules Without(const std::string& rule, const NamedRules& whole) {
  NamedRules rest{absl::StrCat(whole.name, " without ", rule), core::ResolveRules(whole.rules)};
  auto* const rules = rest.rules.mutable_rules();
  rules->erase(
      std::remove_if(rules->begin(), rules->end(), [&](const v1::Rule& other) { return other.name() == rule; }),
      rules->end());
  rest.rules.set_preset("none");
  return rest;
}

// Adds each set once more without each of these rules, or "each" of its own in turn.
absl::Status AddAblations(const std::vector<std::string>& asked, std::vector<NamedRules>* all) {
  const std::vector<NamedRules> whole = *all;
  for (const NamedRules& named : whole) {
    std::vector<std::string> names;
    const v1::RuleSet resolved = core::ResolveRules(named.rules);
    for (const v1::Rule& rule : resolved.rules()) names.push_back(rule.name());
    for (const std::string& rule : asked == std::vector<std::string>{"each"} ? names : asked) {
      if (std::ranges::find(names, rule) == names.end()) {
        return absl::InvalidArgumentError(absl::StrCat("--without ", rule, ": there is no such rule in ", named.name));
      }
      all->push_back(Without(rule, named));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<NamedRules>> AskedRules(const CommandLine& line) {
  std::vector<NamedRules> all;
  if (line.rules.empty() && line.presets.empty()) all.push_back({"default rules", v1::RuleSet()});
  for (const std::string& path : line.rules) {
    GW_ASSIGN_OR_RETURN(NamedRules named, RulesOfFile(path));
    all.push_back(std::move(named));
  }
  for (const std::string& preset : line.presets) {
    GW_ASSIGN_OR_RETURN(NamedRules named, PresetRules(preset));
    all.push_back(std::move(named));
  }
  GW_RETURN_IF_ERROR(AddAblations(line.without, &all));
  if (!line.rivals) return all;
  for (NamedRules& rival : RivalRules()) all.push_back(std::move(rival));
  return all;
}

// Reading takes most of the time, so a run is read once for all rules.
absl::StatusOr<PlayedSet> PlaySet(const std::string& folder, const std::vector<NamedRules>& all,
                                  const std::string& only_run) {
  PlayedSet set;
  set.played.resize(all.size());
  set.costs.resize(all.size(), absl::ZeroDuration());
  GW_ASSIGN_OR_RETURN(const std::vector<RunLabel> labels, ReadLabels(folder));
  for (const RunLabel& label : labels) {
    if (!only_run.empty() && label.run != only_run) continue;
    GW_ASSIGN_OR_RETURN(const RecordedRun run, ReadRun(folder, label.run));
    set.labels.push_back(label);
    set.steps += static_cast<int64_t>(run.steps.size());
    for (size_t i = 0; i < all.size(); ++i) {
      Played played{PlayRun(run, all[i].rules, &set.costs[i]), {}};
      played.verdict = JudgeAlerts(label, AlertsOf(played.transitions));
      set.played[i].push_back(std::move(played));
    }
  }
  return set;
}

std::string SeverityOf(const v1::Alert& alert) {
  return absl::AsciiStrToLower(v1::Severity_Name(alert.severity()).substr(sizeof "SEVERITY_" - 1));
}

std::vector<v1::Alert> FiringOf(const Played& played) {
  std::vector<v1::Alert> firing;
  for (const v1::Alert& alert : played.transitions) {
    if (alert.state() == v1::ALERT_STATE_FIRING) firing.push_back(alert);
  }
  return firing;
}

// As ../shared/traces/evaluate.py reads them.
absl::Status WriteAlerts(const std::string& folder, const PlayedSet& set, const std::vector<Played>& played) {
  std::error_code ignored;  // the files then tell
  std::filesystem::create_directories(folder, ignored);
  for (size_t i = 0; i < played.size(); ++i) {
    std::vector<std::string> objects;
    for (const v1::Alert& alert : FiringOf(played[i])) {
      objects.push_back(absl::StrCat("{\"step\": ", alert.step(), ", \"severity\": \"", SeverityOf(alert),
                                     "\", \"rule\": \"", alert.rule(), "\"}"));
    }
    const std::string path = absl::StrCat(folder, "/", set.labels[i].run, ".json");
    std::ofstream file(path);
    file << "[" << absl::StrJoin(objects, ",\n ") << "]\n";
    if (!file.flush()) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  }
  return absl::OkStatus();
}

// tests/bench/detection adds rows of its own to this table.
void PrintHead() {
  std::printf("%-57s %4s %7s %5s %5s %6s %6s %6s %7s %7s %6s  %s\n", "", "runs", "caught", "late", "lead", "share",
              "false", "early", "spikes", "warned", "us", "first");
}

// The rules whose critical alert was the first in time of a run that was caught, the most frequent first: "loss_jump
// 7".
std::string FirstRules(const std::vector<const Played*>& played, const std::vector<const RunLabel*>& labels) {
  std::map<std::string, int> counts;
  for (size_t i = 0; i < played.size(); ++i) {
    if (!played[i]->verdict.caught.value_or(false)) continue;
    if (const auto rule = FirstInTime(*labels[i], played[i]->transitions); rule.has_value()) ++counts[*rule];
  }
  std::vector<std::pair<int, std::string>> order;
  for (const auto& [rule, count] : counts) order.emplace_back(-count, rule);
  std::ranges::sort(order);
  std::vector<std::string> words;
  for (const auto& [count, rule] : order) words.push_back(absl::StrCat(rule, " ", -count));
  return absl::StrJoin(words, ", ");
}

// `cost`: microseconds of a step.
void PrintScore(const std::string& name, const AlertScore& score, std::optional<double> cost,
                const std::string& first) {
  const auto print = [](const std::optional<double>& value, int width, int digits) {
    if (value.has_value()) {
      std::printf(" %*.*f", width, digits, *value);
    } else {
      std::printf(" %*s", width, "-");
    }
  };
  std::printf("%-57s %4d", name.c_str(), score.runs);
  print(score.caught.value(), 7, 3);
  print(score.late.value(), 5, 3);
  print(score.lead, 5, 0);
  print(score.share, 6, 2);
  print(score.falsely.value(), 6, 3);
  print(score.early.value(), 6, 3);
  print(score.spikes.value(), 7, 3);
  print(score.warned.value(), 7, 3);
  print(cost, 6, 2);
  std::printf("  %s\n", first.c_str());
}

// A row of all runs, or of those with each value of a field.
void PrintRows(const std::string& name, const std::string& by, const PlayedSet& set, size_t rules) {
  std::map<std::string, std::vector<size_t>> groups;
  for (size_t i = 0; i < set.labels.size(); ++i) {
    const auto field = set.labels[i].fields.find(by);
    const std::string value = field == set.labels[i].fields.end() ? "none" : field->second;
    groups[by.empty() ? name : absl::StrCat("  ", by, " ", value)].push_back(i);
  }
  if (!by.empty()) std::printf("%s\n", name.c_str());
  std::optional<double> cost;
  if (by.empty())
    cost = absl::ToDoubleMicroseconds(set.costs[rules]) / static_cast<double>(std::max<int64_t>(1, set.steps));
  for (const auto& [group, runs] : groups) {
    std::vector<RunVerdict> verdicts;
    std::vector<const Played*> played;
    std::vector<const RunLabel*> labels;
    for (const size_t run : runs) {
      verdicts.push_back(set.played[rules][run].verdict);
      played.push_back(&set.played[rules][run]);
      labels.push_back(&set.labels[run]);
    }
    PrintScore(group, SumUp(verdicts), cost, FirstRules(played, labels));
  }
}

std::string Describe(const RunLabel& label) {
  std::string text = absl::StrCat(label.run, " ", label.label);
  if (label.onset.has_value()) absl::StrAppend(&text, " at ", *label.onset);
  if (label.label == "diverged") absl::StrAppend(&text, label.by_value ? " (not finite)" : " (by its loss)");
  if (label.has_fault) absl::StrAppend(&text, ", ", label.fields.at("fault"), " at ", label.fault_step.value_or(-1));
  return text;
}

// What --list may ask for.
using Picks = std::map<std::string, std::function<bool(const RunVerdict&)>>;
const Picks& ListPicks() {
  static const auto* const picks = new Picks{
      {"missed", [](const RunVerdict& v) { return !v.caught.value_or(true); }},
      {"false", [](const RunVerdict& v) { return v.falsely.value_or(false); }},
      {"early", [](const RunVerdict& v) { return v.early.value_or(false); }},
      {"warned", [](const RunVerdict& v) { return v.warned.value_or(false); }},
  };
  return *picks;
}

void PrintList(const std::string& what, const PlayedSet& set, const std::vector<Played>& played) {
  for (size_t i = 0; i < played.size(); ++i) {
    if (!ListPicks().at(what)(played[i].verdict)) continue;
    const std::vector<v1::Alert> firing = FiringOf(played[i]);
    std::vector<std::string> words;
    for (size_t j = 0; j < std::min(firing.size(), kMostListed); ++j) {
      words.push_back(absl::StrCat(firing[j].step(), " ", SeverityOf(firing[j]), " ", firing[j].rule()));
    }
    if (firing.size() > kMostListed) words.push_back(absl::StrCat(firing.size() - kMostListed, " more"));
    std::printf("  %s; alerts: %s\n", Describe(set.labels[i]).c_str(),
                words.empty() ? "none" : absl::StrJoin(words, ", ").c_str());
  }
}

// The alerts of a run in order, among them what became of it.
void PrintRun(const RunLabel& label, const Played& played) {
  std::printf("%s\n", Describe(label).c_str());
  const auto join = absl::PairFormatter("=");
  std::printf("  %s\n", absl::StrJoin(label.fields, " ", join).c_str());
  std::multimap<int64_t, std::string> lines;
  if (label.fault_step.has_value()) lines.emplace(*label.fault_step, "---- the fault is put in");
  if (label.onset.has_value()) lines.emplace(*label.onset, absl::StrCat("---- onset: ", label.label));
  for (const v1::Alert& alert : FiringOf(played)) {
    lines.emplace(alert.step(), absl::StrCat(SeverityOf(alert), " ", alert.rule(), ": ", alert.summary()));
  }
  for (const auto& [step, line] : lines) std::printf("%7d  %s\n", static_cast<int>(step), line.c_str());
}

void PrintSet(const CommandLine& line, const std::vector<NamedRules>& all, const PlayedSet& set) {
  for (size_t i = 0; i < all.size(); ++i) {
    if (!line.list.empty()) {
      std::printf("%s, %s:\n", all[i].name.c_str(), line.list.c_str());
      PrintList(line.list, set, set.played[i]);
    } else if (line.run.empty()) {
      PrintRows(all[i].name, line.by, set, i);
    } else if (!set.labels.empty()) {
      std::printf("%s: ", all[i].name.c_str());
      PrintRun(set.labels[0], set.played[i][0]);
    }
  }
}

absl::Status Measure(const CommandLine& line) {
  GW_ASSIGN_OR_RETURN(const std::vector<NamedRules> all, AskedRules(line));
  bool found = false;
  for (size_t folder = 0; folder < line.folders.size(); ++folder) {
    GW_ASSIGN_OR_RETURN(const PlayedSet set, PlaySet(line.folders[folder], all, line.run));
    found = found || !set.labels.empty();
    for (size_t i = 0; i < all.size() && !line.alerts.empty(); ++i) {
      GW_RETURN_IF_ERROR(WriteAlerts(absl::StrCat(line.alerts, "/", folder, "/", i), set, set.played[i]));
    }
    if (line.run.empty()) std::printf("%s\n", line.folders[folder].c_str());
    if (line.run.empty() && line.list.empty()) PrintHead();
    PrintSet(line, all, set);
    std::fflush(stdout);
  }
  return found ? absl::OkStatus() : absl::NotFoundError("no such run");
}

int Main(int argc, char** argv) {
  CommandLine line;
  CLI::App app("Scores the detector's alerts about recorded runs.", "measure_detection");
  app.add_option("folders", line.folders, "Folders of runs with their labels.jsonl")->required();
  app.add_option("--rules", line.rules, "A RuleSet in a file; may be given more than once. Unset: the default rules")
      ->allow_extra_args(false);
  app.add_option("--preset", line.presets, "Rules that have a name; may be given more than once")
      ->allow_extra_args(false);
  app.add_option("--without", line.without,
                 "Once more without this rule, or without each one in turn (each); may be given more than once")
      ->allow_extra_args(false);
  app.add_flag("--rivals", line.rivals, "The presets after other tools beside them");
  app.add_option("--alerts", line.alerts, "Write the alerts to FOLDER/set/rules/RUN.json, both counted from 0");
  auto* const run = app.add_option("--run", line.run, "Print the alerts of this run");
  auto* const by = app.add_option("--by", line.by, "A row for each value of this field of the labels");
  auto* const list = app.add_option("--list", line.list, "Print the runs that are: missed, false, early, warned");
  list->check(CLI::IsMember({"missed", "false", "early", "warned"}))->excludes(run)->excludes(by);
  by->excludes(run);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = Measure(line);
  if (status.ok()) return 0;
  std::fprintf(stderr, "measure_detection: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace gradwatch::testing

int main(int argc, char** argv) { return gradwatch::testing::Main(argc, argv); }
