#include "client/worker/reporting_observer.h"

#include <gtest/gtest.h>

#include <vector>

namespace gradwatch::worker {
namespace {

// As a trainer tells them: within the step, before its report, and those that the end resolves behind all reports. The
// server refuses an alert of a step that does not count as done.
TEST(ReportingObserverTest, TheStepOfAnAlertCountsAsDone) {
  ReportBuffer reports(0, 0);
  std::vector<v1::Notice> notices;
  const auto notify = [&notices](v1::Notice notice) { notices.push_back(std::move(notice)); };
  ReportingObserver observer(&reports, notify);
  v1::Alert alert;
  for (int step = 0; step < 3; ++step) {
    alert.set_step(step);
    observer.OnAlert(alert);
    EXPECT_EQ(reports.end_step(), step) << "nothing is waited for";
    core::StepRecord record;
    record.step = step;
    observer.OnStep(record);
  }
  observer.OnAlert(alert);
  ASSERT_EQ(notices.size(), 4u);
  const int64_t expected[] = {1, 2, 3, 3};
  for (size_t i = 0; i < notices.size(); ++i) EXPECT_EQ(notices[i].steps_done(), expected[i]);
}

TEST(ReportingObserverTest, StepsAreOfferedAndTheRestBecomesNotices) {
  ReportBuffer reports(0, 0);
  std::vector<v1::Notice> notices;
  const auto notify = [&notices](v1::Notice notice) { notices.push_back(std::move(notice)); };
  ReportingObserver observer(&reports, notify);

  observer.OnEdit({.edit = 9, .applied = true, .revision = 4, .step = 0});
  v1::Alert alert;
  alert.set_rule("non_finite");
  observer.OnAlert(alert);
  core::StepRecord record;
  observer.OnStep(record);
  observer.OnPaused(1);
  observer.OnEdit({.edit = 7, .step = 1, .reason = "too large"});
  observer.OnResumed(1);

  EXPECT_EQ(reports.end_step(), 1);
  ASSERT_EQ(notices.size(), 5u);
  EXPECT_EQ(notices[0].controls_applied().revision(), 4);
  EXPECT_EQ(notices[0].controls_applied().effective_step(), 0);
  EXPECT_EQ(notices[0].controls_applied().edit(), 9);
  EXPECT_EQ(notices[0].steps_done(), 0);
  EXPECT_EQ(notices[1].alert().rule(), "non_finite");
  EXPECT_EQ(notices[1].steps_done(), 1) << "the step that raised it counts, though its report comes later";
  EXPECT_TRUE(notices[2].has_paused());
  EXPECT_EQ(notices[2].steps_done(), 1);
  EXPECT_EQ(notices[3].edit_dropped().edit(), 7);
  EXPECT_EQ(notices[3].edit_dropped().reason(), "too large");
  EXPECT_EQ(notices[3].steps_done(), 1);
  EXPECT_TRUE(notices[4].has_resumed());
}

}  // namespace
}  // namespace gradwatch::worker
