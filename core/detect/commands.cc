#include "core/detect/commands.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace gradwatch::core {
namespace {

// What Controls.learning_rate_scale takes (core/spec/controls.cc).
constexpr double kMostScale = 1000;

absl::string_view JobOf(const v1::Alert& alert) {
  return alert.job_id().empty() ? absl::string_view("JOB") : absl::string_view(alert.job_id());
}

std::string RunningCommand(const Change& change, absl::string_view job) {
  switch (change.of) {
    case Change::Of::kLearningRateScale:
      return absl::StrFormat("gradwatch adjust %s --lr-scale %.3g", job, change.value);
    case Change::Of::kGlobalNorm:
      return absl::StrFormat("gradwatch clip set %s --mode global_norm --max-norm %.2g", job, change.value);
    case Change::Of::kTensorNorm:
      if (absl::StrContains(change.tensor, "'")) return "";
      return absl::StrFormat("gradwatch clip set %s --tensors '%s' --mode tensor_norm --max-norm %.2g", job,
                             change.tensor, change.value);
    default:
      return "";
  }
}

// The place of one tensor in a spec is longer than a command.
std::string SpecSettings(const Change& change) {
  switch (change.of) {
    case Change::Of::kLearningRateScale:
      return absl::StrFormat("--set controls.learning_rate_scale=%.3g", change.value);
    case Change::Of::kGlobalNorm:
      return absl::StrFormat("--set controls.clip.mode=global_norm --set controls.clip.threshold=%.2g", change.value);
    case Change::Of::kInputScale:
      return "--set data.csv.standardize=true";
    default:
      return "";
  }
}

}  // namespace

Change RateTimes(double factor, const StepRecord& record) {
  const double scale = factor * record.learning_rate_scale;
  if (!(scale > 0 && scale <= kMostScale)) return {};
  return {.of = Change::Of::kLearningRateScale, .value = scale};
}

std::string CommandOf(const Change& change, When when, const v1::Alert& alert) {
  const bool needs_start = change.of == Change::Of::kInputScale;
  if (when == When::kNow && !needs_start) return RunningCommand(change, JobOf(alert));
  const std::string settings = SpecSettings(change);
  return settings.empty() ? "" : absl::StrCat("gradwatch submit SPEC ", settings);
}

std::string InWords(const Cure& cure, When when, const v1::Alert& alert) {
  const std::string command = CommandOf(cure.change, when, alert);
  return absl::StrCat(kCure, cure.words, command.empty() ? "." : absl::StrCat(": ", command));
}

std::string LayerStatisticsCommand(const v1::Alert& alert) {
  return absl::StrCat("gradwatch adjust ", JobOf(alert), " --layer-statistics true");
}

}  // namespace gradwatch::core
