#include "client/cli/watch_order.h"

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"

namespace gradwatch::cli {
namespace {

v1::StepReport Report(int attempt, int step) {
  v1::StepReport report;
  report.set_attempt(attempt);
  report.set_step(step);
  return report;
}

v1::Event Event(int number, int attempt, int steps_done) {
  v1::Event event;
  event.set_number(number);
  event.set_attempt(attempt);
  event.set_steps_done(steps_done);
  event.mutable_state_changed();
  return event;
}

v1::StatisticsLost Lost(int attempt, int first, int last) {
  v1::StatisticsLost lost;
  lost.set_attempt(attempt);
  lost.set_first_step(first);
  lost.set_last_step(last);
  return lost;
}

v1::WatchJobResponse Message(const std::vector<v1::Event>& events, const std::vector<v1::StepReport>& reports,
                             const std::vector<v1::StatisticsLost>& lost = {}) {
  v1::WatchJobResponse message;
  message.mutable_events()->Add(events.begin(), events.end());
  message.mutable_reports()->Add(reports.begin(), reports.end());
  message.mutable_lost()->Add(lost.begin(), lost.end());
  return message;
}

// "e1 1:0 1:1 lost 2-4 e2".
std::string Text(const std::vector<WatchOrder::Item>& items) {
  struct Visitor {
    std::string operator()(const v1::Event& event) const { return absl::StrCat("e", event.number()); }
    std::string operator()(const v1::StepReport& report) const {
      return absl::StrCat(report.attempt(), ":", report.step());
    }
    std::string operator()(const v1::ConflatedPoint& point) const {
      return absl::StrCat("point ", point.first_step(), "-", point.last_step());
    }
    std::string operator()(const v1::StatisticsLost& lost) const {
      return absl::StrCat("lost ", lost.first_step(), "-", lost.last_step());
    }
  };
  std::string text;
  for (const auto& item : items) absl::StrAppend(&text, text.empty() ? "" : " ", std::visit(Visitor(), item));
  return text;
}

std::string Take(WatchOrder& order, v1::WatchJobResponse message) { return Text(order.Take(&message)); }

v1::WatchJobRequest FromBeginning(int every = 0) {
  v1::WatchJobRequest request;
  request.set_from_beginning(true);
  request.set_every_steps(every);
  return request;
}

TEST(WatchOrderTest, HoldsEventsBackUntilTheirSteps) {
  WatchOrder order(FromBeginning());
  EXPECT_EQ(Take(order, Message({Event(1, 0, 0), Event(2, 1, 2), Event(3, 1, 2)}, {})), "e1");
  EXPECT_TRUE(order.holds_back());
  EXPECT_EQ(Take(order, Message({}, {Report(1, 0)})), "1:0");
  EXPECT_EQ(Take(order, Message({}, {Report(1, 1), Report(1, 2)})), "1:1 e2 e3 1:2");
  EXPECT_FALSE(order.holds_back());
}

TEST(WatchOrderTest, EventsOfEveryKindWaitForTheStepsThatWereDone) {
  const auto* kinds = v1::Event::descriptor()->FindOneofByName("what");
  ASSERT_GT(kinds->field_count(), 8);
  for (int i = 0; i < kinds->field_count(); ++i) {
    v1::Event event = Event(1, 1, 2);
    event.GetReflection()->MutableMessage(&event, kinds->field(i));
    WatchOrder order(FromBeginning());
    EXPECT_EQ(Take(order, Message({event}, {Report(1, 0)})), "1:0") << kinds->field(i)->name();
    EXPECT_EQ(Take(order, Message({}, {Report(1, 1), Report(1, 2)})), "1:1 e1 1:2") << kinds->field(i)->name();
  }
}

TEST(WatchOrderTest, WhatIsAboutAStepThatTheServerDidNotHaveYetWaitsForThat) {
  v1::Event adjusted = Event(1, 1, 1), alert = Event(2, 1, 1), acknowledged = Event(3, 1, 1);
  adjusted.mutable_adjusted()->mutable_adjustment()->set_effective_step(2);
  alert.mutable_alert_changed()->mutable_alert()->set_step(2);
  WatchOrder order(FromBeginning());
  EXPECT_EQ(Take(order, Message({adjusted, alert}, {Report(1, 0)})), "1:0");
  EXPECT_EQ(Take(order, Message({}, {Report(1, 1), Report(1, 2), Report(1, 3)})), "1:1 e1 1:2 e2 1:3");
  // When somebody acknowledges an alert says nothing of its step, which may be one of another attempt.
  acknowledged.set_attempt(2);
  acknowledged.mutable_alert_changed()->mutable_alert()->set_step(90);
  acknowledged.mutable_alert_changed()->set_acknowledgement(true);
  EXPECT_EQ(Take(order, Message({acknowledged}, {Report(2, 0)})), "2:0 e3");
}

v1::Event Alert(int number, int attempt, int steps_done, int step) {
  v1::Event event = Event(number, attempt, steps_done);
  event.mutable_alert_changed()->mutable_alert()->set_step(step);
  return event;
}

// Its report comes after the validation of the step, minutes later.
TEST(WatchOrderTest, AnAlertDoesNotWaitForTheReportOfItsStep) {
  const struct {
    int step;
    int steps_done;   // as the server has it
    const char* now;  // after the report of step 4
  } cases[] = {
      {5, 6, "1:4 e1"},  // as trainers tell it
      {5, 5, "1:4 e1"},  // that the step does not come
      {5, 4, "1:4 e1"},  // before that report
      {4, 5, "1:4 e1"},  // behind its line, which is here
      {4, 6, "1:4"},     // it ended with something later
      {6, 7, "1:4"},     // the report of step 5 is on its way
  };
  for (const auto& c : cases) {
    WatchOrder order(FromBeginning());
    EXPECT_EQ(Take(order, Message({}, {Report(1, 3)})), "1:3");
    EXPECT_EQ(Take(order, Message({Alert(1, 1, c.steps_done, c.step)}, {Report(1, 4)})), c.now)
        << "step " << c.step << ", " << c.steps_done << " done";
  }
  WatchOrder order(FromBeginning());
  EXPECT_EQ(Take(order, Message({Alert(1, 1, 1, 0)}, {})), "e1") << "of the first step";
  EXPECT_EQ(Take(order, Message({}, {Report(1, 0)})), "1:0");
  EXPECT_EQ(Take(order, Message({Alert(2, 1, 2, 1)}, {})), "e2") << "the step is not reported yet";
}

TEST(WatchOrderTest, WhereStepsAreQuickAnAlertStandsBehindTheReportOfItsStep) {
  for (const double seconds : {0.01, 10.0}) {
    WatchOrder order(FromBeginning());
    v1::StepReport report = Report(1, 4);
    report.set_step_seconds(seconds);
    EXPECT_EQ(Take(order, Message({}, {report})), "1:4");
    const bool waits = seconds < 1;
    EXPECT_EQ(Take(order, Message({Alert(1, 1, 6, 5)}, {})), waits ? "" : "e1");
    EXPECT_EQ(Take(order, Message({}, {Report(1, 5)})), waits ? "1:5 e1" : "1:5");
    // If it does not come after all, a sign of life tells that there is nothing to wait for.
    v1::WatchJobResponse alive = Message({}, {});
    alive.mutable_bookmark_time()->set_seconds(1);
    EXPECT_EQ(Take(order, Message({Alert(2, 1, 7, 6)}, {})), waits ? "" : "e2");
    EXPECT_EQ(Take(order, alive), waits ? "e2" : "");
  }
}

TEST(WatchOrderTest, WithAFilterOnStepsAnAlertStandsBeforeItsLineOrBehindTheLastOneBeforeIt) {
  WatchOrder order(FromBeginning(10));
  EXPECT_EQ(Take(order, Message({Alert(1, 1, 10, 9), Alert(2, 1, 11, 10), Alert(3, 1, 12, 11)}, {Report(1, 0)})),
            "1:0 e1 e2");
  EXPECT_EQ(Take(order, Message({}, {Report(1, 10)})), "1:10 e3");
}

TEST(WatchOrderTest, BeforeTheFirstStepNothingIsWaitedFor) {
  for (const int every : {0, 10}) {
    WatchOrder order(FromBeginning(every));
    EXPECT_EQ(Take(order, Message({Event(1, 0, 0), Event(2, 1, 0)}, {})), "e1 e2");
    EXPECT_EQ(Take(order, Message({Event(3, 2, 0)}, {Report(1, 0)})), "1:0") << "there may be more of attempt 1";
    EXPECT_EQ(Take(order, Message({}, {Report(2, 0)})), "e3 2:0");
  }
  v1::WatchJobResponse started = Message({Event(1, 1, 0)}, {});
  started.mutable_started();  // no attempt yet
  WatchOrder from_now(v1::WatchJobRequest{});
  EXPECT_EQ(Take(from_now, started), "e1");
}

TEST(WatchOrderTest, ALaterAttemptIsPastTheEventsOfAnEarlierOne) {
  WatchOrder order(FromBeginning());
  EXPECT_EQ(Take(order, Message({Event(1, 1, 9), Event(2, 2, 0), Event(3, 2, 1)}, {Report(1, 3)})), "1:3");
  EXPECT_EQ(Take(order, Message({}, {Report(2, 0)})), "e1 e2 2:0 e3");
}

TEST(WatchOrderTest, WhatHappensInANewAttemptWaitsForNoReport) {
  v1::WatchJobResponse started = Message({Event(1, 1, 0), Event(2, 1, 3)}, {});
  started.mutable_started()->set_last_event(3);
  WatchOrder order(FromBeginning());
  EXPECT_EQ(Take(order, started), "e1");
  EXPECT_EQ(Take(order, Message({Event(3, 2, 0)}, {Report(1, 0)})), "1:0") << "of history";
  EXPECT_EQ(Take(order, Message({Event(4, 2, 0), Alert(5, 2, 7, 6)}, {Report(1, 1)})), "1:1 e2 e3 e4 e5");
  EXPECT_EQ(Take(order, Message({Alert(6, 2, 8, 7)}, {Report(1, 2)})), "1:2 e6");
  EXPECT_EQ(Take(order, Message({Alert(7, 2, 8, 7)}, {Report(2, 5)})), "2:5") << "step 6 is on its way";
  EXPECT_EQ(Take(order, Message({}, {Report(2, 6), Report(2, 7)})), "2:6 2:7 e7");
}

// A job of a million steps is read for a while: what fires meanwhile is told at once, what fired before in its place.
TEST(WatchOrderTest, AnAlertThatFiresNowWaitsForNoHistory) {
  const struct {
    int every;
    int64_t last_awaited, first_not;  // steps of alerts, after the report of step 0
  } cases[] = {{0, 257, 258}, {1, 257, 258}, {10, 2570, 2571}};
  for (const auto& c : cases) {
    v1::WatchJobResponse started = Message({Event(1, 1, 0), Event(2, 1, 500), Alert(3, 1, 90'001, 90'000)}, {});
    started.mutable_started()->set_last_event(3);
    WatchOrder order(FromBeginning(c.every));
    EXPECT_EQ(Take(order, started), "e1");
    EXPECT_EQ(Take(order, Message({Event(4, 1, 90'002)}, {Report(1, 0)})), "1:0") << "no alert";
    const auto alert = [](int number, int64_t step) {
      return Message({Alert(number, 1, static_cast<int>(step) + 1, static_cast<int>(step))}, {});
    };
    EXPECT_EQ(Take(order, alert(5, c.last_awaited)), "") << c.every;
    EXPECT_EQ(Take(order, alert(6, c.first_not)), "e2 e3 e4 e5 e6") << c.every;
    EXPECT_FALSE(order.holds_back());
    WatchOrder up_to_a_step(FromBeginning(c.every), /*has_last_step=*/true);
    EXPECT_EQ(Take(up_to_a_step, started), "e1");
    EXPECT_EQ(Take(up_to_a_step, alert(4, c.first_not)), "") << "it may lie behind the step";
  }
}

TEST(WatchOrderTest, AFilterOnStepsIsTakenIntoAccount) {
  WatchOrder order(FromBeginning(10));
  EXPECT_EQ(Take(order, Message({Event(1, 1, 16)}, {Report(1, 0)})), "1:0");
  EXPECT_EQ(Take(order, Message({}, {Report(1, 10)})), "1:10 e1") << "step 15 will not come";
}

TEST(WatchOrderTest, WhatIsLostStandsAtItsPlaceAndCountsAsPassed) {
  WatchOrder order(FromBeginning());
  EXPECT_EQ(Take(order, Message({Event(1, 1, 4)}, {Report(1, 0), Report(1, 5)}, {Lost(1, 1, 4)})),
            "1:0 lost 1-4 e1 1:5");
}

TEST(WatchOrderTest, TheEndAndASignOfLifeLetEverythingThrough) {
  WatchOrder order(FromBeginning());
  v1::WatchJobResponse message = Message({Event(1, 1, 100)}, {});
  message.mutable_bookmark_time()->set_seconds(1);
  EXPECT_EQ(Take(order, message), "e1");
  message = Message({Event(2, 1, 200)}, {});
  EXPECT_EQ(Take(order, message), "");
  message.Clear();
  message.mutable_ended();
  EXPECT_EQ(Take(order, message), "e2");
}

TEST(WatchOrderTest, StartsWhereTheStreamDoes) {
  v1::WatchJobResponse started = Message({Event(1, 1, 50), Event(2, 1, 51)}, {});
  started.mutable_started()->mutable_job()->set_attempt(1);
  started.mutable_started()->mutable_job()->set_steps_done(50);
  v1::WatchJobRequest request;
  WatchOrder from_now(request);
  EXPECT_EQ(Take(from_now, started), "e1");
  request.set_from_step(51);
  WatchOrder from_step(request);
  EXPECT_EQ(Take(from_step, started), "e1 e2");
  request.set_resume_token("somewhere");
  WatchOrder resumed(request);
  EXPECT_EQ(Take(resumed, started), "");
  EXPECT_EQ(Text(resumed.Flush()), "e1 e2");
  request.set_events_only(true);
  WatchOrder events_only(request);
  EXPECT_EQ(Take(events_only, started), "e1 e2");
}

TEST(WatchOrderTest, HoldsNoMoreThanSoMuch) {
  WatchOrder order(FromBeginning());
  v1::WatchJobResponse message;
  for (int i = 1; i <= 10'003; ++i) *message.add_events() = Event(i, 1, 5);
  EXPECT_EQ(Take(order, message), "e1 e2 e3");
}

}  // namespace
}  // namespace gradwatch::cli
