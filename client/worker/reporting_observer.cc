#include "client/worker/reporting_observer.h"

#include <utility>

namespace gradwatch::worker {
namespace {

v1::Notice NoticeAfter(int64_t steps_done) {
  v1::Notice notice;
  notice.set_steps_done(steps_done);
  return notice;
}

}  // namespace

// Its step counts as done: the alert is of it, though it comes before the report.
void ReportingObserver::OnAlert(const v1::Alert& alert) {
  v1::Notice notice = NoticeAfter(alert.step() + 1);
  *notice.mutable_alert() = alert;
  notify_(std::move(notice));
}

void ReportingObserver::OnEdit(const core::EditOutcome& outcome) {
  v1::Notice notice = NoticeAfter(outcome.step);
  if (outcome.applied) {
    notice.mutable_controls_applied()->set_revision(outcome.revision);
    notice.mutable_controls_applied()->set_effective_step(outcome.step);
    notice.mutable_controls_applied()->set_edit(outcome.edit);
  } else {
    notice.mutable_edit_dropped()->set_edit(outcome.edit);
    notice.mutable_edit_dropped()->set_reason(outcome.reason);
  }
  notify_(std::move(notice));
}

void ReportingObserver::OnPaused(int64_t steps_done) {
  v1::Notice notice = NoticeAfter(steps_done);
  notice.mutable_paused();
  notify_(std::move(notice));
}

void ReportingObserver::OnResumed(int64_t steps_done) {
  v1::Notice notice = NoticeAfter(steps_done);
  notice.mutable_resumed();
  notify_(std::move(notice));
}

}  // namespace gradwatch::worker
