#include "core/detect/commands.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace gradwatch::core {
namespace {

// What Controls.learning_rate_scale takes (core/spec/controls.cc).
constexpr double kMostScale = 1000;

constexpr absl::string_view kLrScale = " --lr-scale ";
constexpr absl::string_view kGlobalNorm = " --mode global_norm --max-norm ";

absl::string_view JobOf(const v1::Alert& alert) {
  return alert.job_id().empty() ? absl::string_view("JOB") : absl::string_view(alert.job_id());
}

}  // namespace

std::string RateCommand(const v1::Alert& alert, const StepRecord& record, double factor) {
  const double scale = factor * record.learning_rate_scale;
  if (!(scale > 0 && scale <= kMostScale)) return "";
  return absl::StrFormat("gradwatch adjust %s%s%.3g", JobOf(alert), kLrScale, scale);
}

std::string ClipCommand(const v1::Alert& alert, absl::string_view tensor_name, double max_norm) {
  if (absl::StrContains(tensor_name, "'")) return "";
  const std::string what = tensor_name.empty()
                               ? std::string(kGlobalNorm)
                               : absl::StrCat(" --tensors '", tensor_name, "' --mode tensor_norm --max-norm ");
  return absl::StrFormat("gradwatch clip set %s%s%.2g", JobOf(alert), what, max_norm);
}

std::string ForTheSpec(absl::string_view line) {
  const size_t command = line.find(": gradwatch ");
  if (command == absl::string_view::npos) return std::string(line);
  const absl::string_view words = line.substr(0, command);
  for (const auto& [flag, setting] :
       {std::pair(kLrScale, "--set controls.learning_rate_scale="),
        {kGlobalNorm, "--set controls.clip.mode=global_norm --set controls.clip.threshold="}}) {
    const size_t place = line.find(flag, command);
    if (place == absl::string_view::npos) continue;
    return absl::StrCat(words, ": gradwatch submit SPEC ", setting, line.substr(place + flag.size()));
  }
  return absl::StrCat(words, ".");
}

std::string LayerStatisticsCommand(const v1::Alert& alert) {
  return absl::StrCat("gradwatch adjust ", JobOf(alert), " --layer-statistics true");
}

}  // namespace gradwatch::core
