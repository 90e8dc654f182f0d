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

}  // namespace

std::string RateCommand(const v1::Alert& alert, const StepRecord& record, double factor) {
  const double scale = factor * record.learning_rate_scale;
  if (!(scale > 0 && scale <= kMostScale)) return "";
  return absl::StrFormat("gradwatch adjust %s --lr-scale %.3g", JobOf(alert), scale);
}

std::string ClipCommand(const v1::Alert& alert, absl::string_view tensor_name, double max_norm) {
  if (absl::StrContains(tensor_name, "'")) return "";
  const std::string what =
      tensor_name.empty() ? "--mode global_norm" : absl::StrCat("--tensors '", tensor_name, "' --mode tensor_norm");
  return absl::StrFormat("gradwatch clip set %s %s --max-norm %.2g", JobOf(alert), what, max_norm);
}

std::string LayerStatisticsCommand(const v1::Alert& alert) {
  return absl::StrCat("gradwatch adjust ", JobOf(alert), " --layer-statistics true");
}

}  // namespace gradwatch::core
