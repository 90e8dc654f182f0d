// What alerts of one fault say alike is told once.
#ifndef GRADWATCH_CORE_DETECT_TOLD_LINES_H_
#define GRADWATCH_CORE_DETECT_TOLD_LINES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "gradwatch/v1/alert.pb.h"

namespace gradwatch::core {

// What the alerts that fired have said of why and of what to try, so that those of one fault do not repeat each
// other's. Thread-compatible.
class ToldLines {
 public:
  // Takes lines out of an alert that one of another rule, as severe or more, has told, and says by which alerts, three
  // at most and by their short ids: who hears of severe ones alone hears all lines too. A cause is the same at the same
  // step, about the same tensor and in the same words; never where it speaks of what is the alert's own, as "it" or as
  // what its rule looks at. A cure is the same for kSteps steps, if its command is. To be called for each alert that is
  // told to fire, in order: one that is pending may go away and be in no list.
  void TellOnce(v1::Alert* alert);

 private:
  static constexpr int64_t kSteps = 20;
  struct Line {
    std::string key;
    std::string rule;   // of the alert that told it,
    std::string alert;  // and its short id
    v1::Severity severity;
    int64_t step;
  };
  // Whether another alert than this one has told the line; `by` then has that one. Else it counts as told by this.
  bool IsTold(const std::string& line, const v1::Alert& alert, std::vector<std::string>* by);

  std::vector<Line> told_;  // in the last kSteps
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_TOLD_LINES_H_
