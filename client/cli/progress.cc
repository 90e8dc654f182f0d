#include "client/cli/progress.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/report_text.h"
#include "client/cli/text.h"

namespace gradwatch::cli {
namespace {

constexpr absl::Duration kInterval = absl::Milliseconds(100);
constexpr double kWeight = 0.05;  // of a new step in the moving average

}  // namespace

void Progress::Update(const v1::StepReport& report) {
  if (!io_.err_is_tty) return;
  step_seconds_ =
      step_seconds_ == 0 ? report.step_seconds() : step_seconds_ + kWeight * (report.step_seconds() - step_seconds_);
  const absl::Time now = io_.now();
  if (now - last_drawn_ < kInterval) return;
  last_drawn_ = now;
  *io_.err << "\r\x1b[K" << Line(report).substr(0, io_.width - 1) << std::flush;
  drawn_ = true;
}

void Progress::Clear() {
  if (drawn_) *io_.err << "\r\x1b[K" << std::flush;
  drawn_ = false;
}

std::string Progress::Line(const v1::StepReport& report) const {
  std::string line = absl::StrCat("step ", report.step());
  if (total_ > 0) absl::StrAppend(&line, "/", total_);
  if (step_seconds_ > 0) absl::StrAppendFormat(&line, "  %.3g steps/s", 1 / step_seconds_);
  absl::StrAppend(&line, "  loss ", NumberText(report.loss()), "  norm ", GradNormText(report));
  if (total_ > 0 && step_seconds_ > 0) {
    const double seconds = static_cast<double>(total_ - report.step() - 1) * step_seconds_;
    absl::StrAppend(&line, "  ETA ", DurationText(absl::Seconds(seconds)));
  }
  return line;
}

}  // namespace gradwatch::cli
