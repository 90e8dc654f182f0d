#include "client/worker/local_observer.h"

#include <cstdio>

#include "absl/strings/str_format.h"

namespace gradwatch::worker {
namespace {

constexpr absl::Duration kProgressPeriod = absl::Milliseconds(200);

}  // namespace

LocalObserver::LocalObserver(int64_t steps, bool show_progress, const core::Clock* clock)
    : steps_(steps),
      show_progress_(show_progress),
      clock_(clock),
      measured_from_(clock->Monotonic()),
      last_progress_(measured_from_) {}

void LocalObserver::OnStep(const core::StepRecord& record) {
  if (++steps_done_ == steps_ / 10) {
    steps_left_out_ = steps_done_;
    measured_from_ = clock_->Monotonic();
  }
  if (!show_progress_) return;
  const absl::Duration now = clock_->Monotonic();
  const bool is_last = steps_done_ == steps_;
  if (now - last_progress_ < kProgressPeriod && !is_last) return;
  last_progress_ = now;
  absl::FPrintF(stderr, "\r\033[Kstep %d of %d  loss %.6g%s", steps_done_, steps_, record.loss, is_last ? "\n" : "");
}

void LocalObserver::OnAlert(const v1::Alert& alert) {
  if (alert.state() == v1::ALERT_STATE_FIRING) ++alerts_[alert.rule()];
}

double LocalObserver::StepsPerSecond() const {
  const double seconds = absl::ToDoubleSeconds(clock_->Monotonic() - measured_from_);
  const auto steps = static_cast<double>(steps_done_ - steps_left_out_);
  return steps > 0 && seconds > 0 ? steps / seconds : 0;
}

}  // namespace gradwatch::worker
