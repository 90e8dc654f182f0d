// An edit of the controls of a run, and what became of it.
#ifndef GRADWATCH_CORE_TRAIN_CONTROL_EDIT_H_
#define GRADWATCH_CORE_TRAIN_CONTROL_EDIT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::core {

// What is asked for: the values at some paths, from some step on.
struct ControlEdit {
  int64_t edit = 0;                  // its id within the job, from 1
  v1::Controls values{};             // what the paths name
  std::vector<std::string> paths{};  // as in ApplyControlChanges
  std::optional<int64_t> at_step{};  // first step that is to use it; one that has passed, or unset: the next
};

// What became of an edit.
struct EditOutcome {
  int64_t edit = 0;
  bool applied = false;  // false: it never will be
  int64_t revision = 0;  // applied: of the controls that it made
  int64_t step = 0;      // applied: the first that uses them; else the next one to be done
  std::string reason{};  // not applied: why it did not fit, in one sentence; empty: it was withdrawn
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TRAIN_CONTROL_EDIT_H_
