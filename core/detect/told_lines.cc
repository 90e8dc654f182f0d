#include "core/detect/told_lines.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "core/detect/commands.h"

namespace gradwatch::core {
namespace {

// Whether a line speaks of what its alert is about, or its rule, without a name.
bool IsOfItsAlert(absl::string_view line) {
  static constexpr std::array<absl::string_view, 3> kStarts = {"It ", "So ", "That "};
  return absl::StrContains(line, " this rule ") ||
         std::any_of(kStarts.begin(), kStarts.end(),
                     [line](absl::string_view start) { return absl::StartsWith(line, start); });
}

// What makes two lines the same: of a cure its command, if it has one; of a cause step and tensor as well.
std::string KeyOf(const std::string& line, const v1::Alert& alert) {
  if (!absl::StartsWith(line, kCure)) return absl::StrCat(alert.step(), " ", alert.tensor(), " ", line);
  const size_t command = line.find(kCommand);
  return command == std::string::npos ? line : line.substr(command);
}

// An alert may point to so many others: more would make a line longer than servers take.
constexpr size_t kMostSources = 3;

// As lists print it, and commands take it.
std::string ShortIdOf(const v1::Alert& alert) {
  return absl::StrCat(alert.job_id(), "/", alert.attempt(), "/", alert.rule(), "/", alert.episode());
}

}  // namespace

bool ToldLines::IsTold(const std::string& line, const v1::Alert& alert, std::vector<std::string>* by) {
  if (IsOfItsAlert(line)) return false;
  std::string key = KeyOf(line, alert);
  const auto told = std::find_if(told_.begin(), told_.end(), [&](const Line& other) { return other.key == key; });
  if (told == told_.end() || told->rule == alert.rule() || told->severity < alert.severity()) {
    Line now = {std::move(key), alert.rule(), ShortIdOf(alert), alert.severity(), alert.step()};
    if (told == told_.end()) {
      told_.push_back(std::move(now));
    } else {
      *told = std::move(now);
    }
    return false;
  }
  const std::string when = told->step == alert.step() ? "this step" : absl::StrCat("step ", told->step);
  std::string source = absl::StrCat("alert ", told->alert, " of ", when);
  if (absl::c_linear_search(*by, source)) return true;
  if (by->size() == kMostSources) return false;  // said twice rather than by none that is named
  by->push_back(std::move(source));
  return true;
}

void ToldLines::TellOnce(v1::Alert* alert) {
  std::erase_if(told_, [alert](const Line& line) { return line.step < alert->step() - kSteps; });
  std::vector<std::string> lines, by;
  bool causes = false, cures = false;  // whether any were told
  for (std::string& line : *alert->mutable_diagnosis()) {
    if (IsTold(line, *alert, &by)) {
      (absl::StartsWith(line, kCure) ? cures : causes) = true;
    } else {
      lines.push_back(std::move(line));
    }
  }
  alert->mutable_diagnosis()->Assign(lines.begin(), lines.end());
  if (by.empty()) return;
  const char* what = !causes ? "Cures" : cures ? "More of why, and cures" : "More of why";
  alert->add_diagnosis(absl::StrCat(what, ": see ", absl::StrJoin(by, " and "), "."));
}

}  // namespace gradwatch::core
