#include "server/history/step_ranges.h"

#include <algorithm>

namespace gradwatch::server {

StepRange Common(const StepRange& a, const StepRange& b) {
  return {.first = std::max(a.first, b.first), .last = std::min(a.last, b.last)};
}

StepRange RoundOut(const StepRange& range, int64_t steps) {
  return {.first = range.first / steps * steps, .last = range.last / steps * steps + steps - 1};
}

StepRanges Common(const StepRanges& ranges, const StepRange& window) {
  StepRanges common;
  for (const StepRange& range : ranges) {
    const StepRange both = Common(range, window);
    if (!both.empty()) common.push_back(both);
  }
  return common;
}

StepRanges Without(const StepRanges& ranges, const StepRanges& taken) {
  StepRanges left;
  auto next = taken.begin();
  for (StepRange range : ranges) {
    while (next != taken.end() && next->last < range.first) ++next;
    // One that is taken may reach into the next range, too.
    for (auto at = next; at != taken.end() && at->first <= range.last; ++at) {
      if (at->first > range.first) left.push_back({.first = range.first, .last = at->first - 1});
      range.first = at->last + 1;
    }
    if (!range.empty()) left.push_back(range);
  }
  return left;
}

StepRanges Together(StepRanges ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const StepRange& a, const StepRange& b) { return a.first < b.first; });
  StepRanges together;
  for (const StepRange& range : ranges) {
    if (range.empty()) continue;
    if (together.empty() || together.back().last + 1 < range.first) {
      together.push_back(range);
    } else {
      together.back().last = std::max(together.back().last, range.last);
    }
  }
  return together;
}

StepRanges RoundOut(const StepRanges& ranges, int64_t steps) {
  StepRanges rounded;
  for (const StepRange& range : ranges) rounded.push_back(RoundOut(range, steps));
  return Together(std::move(rounded));
}

}  // namespace gradwatch::server
