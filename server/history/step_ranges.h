// Closed ranges of steps, what is left of some without others, and why steps are not there.
#ifndef GRADWATCH_SERVER_HISTORY_STEP_RANGES_H_
#define GRADWATCH_SERVER_HISTORY_STEP_RANGES_H_

#include <cstdint>
#include <string>
#include <vector>

namespace gradwatch::server {

// Steps are not negative, and far enough from the end of int64_t to be rounded up to a multiple of a level.
struct StepRange {
  int64_t first = 0;
  int64_t last = -1;  // below first: it is empty

  bool empty() const { return last < first; }
  int64_t steps() const { return empty() ? 0 : last - first + 1; }
  bool Has(int64_t step) const { return first <= step && step <= last; }
  friend bool operator==(const StepRange&, const StepRange&) = default;
};

// A range of steps of which something is not there, and why.
struct LostSteps {
  StepRange steps;
  std::string reason;

  friend bool operator==(const LostSteps&, const LostSteps&) = default;
};

// The steps that are in both; may be empty.
StepRange Common(const StepRange& a, const StepRange& b);
// `range` as whole runs of `steps`, which begin at multiples of it.
StepRange RoundOut(const StepRange& range, int64_t steps);

// Rising and disjoint, none of them empty. So are the results.
using StepRanges = std::vector<StepRange>;

StepRanges Common(const StepRanges& ranges, const StepRange& window);
StepRanges Without(const StepRanges& ranges, const StepRanges& taken);
// `ranges` in any order, overlapping, some empty: the steps that are in any of them; what touches is one range.
StepRanges Together(StepRanges ranges);
// Each rounded out.
StepRanges RoundOut(const StepRanges& ranges, int64_t steps);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_STEP_RANGES_H_
