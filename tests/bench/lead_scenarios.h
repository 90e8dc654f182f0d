// Ways to lose a network, or a series of made-up norms, that measure_lead plays to rules: what goes wrong, from which
// step on, and the same without it.
#ifndef GRADWATCH_TESTS_BENCH_LEAD_SCENARIOS_H_
#define GRADWATCH_TESTS_BENCH_LEAD_SCENARIOS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "gradwatch/v1/alert.pb.h"
#include "tests/bench/rule_sets.h"
#include "tests/support/loss_marks.h"

namespace gradwatch::testing {

// What a run was like, and what each set of rules said about it.
struct LeadRun {
  LossMarks marks;
  std::vector<std::vector<v1::Alert>> alerts;  // transitions, by set
};

struct LeadScenario {
  std::string name;   // "rate_geometric/sums"
  std::string value;  // how strong: "1.02"
  int64_t begin = 0;  // the first step that is wrong
  double growth = 0;  // of the norm a step, of made-up norms; 0: trained on the engine
  // A run with this seed; `calm`: with nothing wrong about it.
  std::function<LeadRun(const std::vector<NamedRules>& rules, uint64_t seed, bool calm)> run;
};

std::vector<LeadScenario> LeadScenarios();

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_BENCH_LEAD_SCENARIOS_H_
