// The checks of edits themselves: a log as it must be passes, and each way to be wrong is found.
#include "tests/faults/edit_history.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>

namespace gradwatch::testing {
namespace {

// Three edits of a job: "2" for step 20, asked for first, "1" for the next step, and "3", which waits for ever.
struct History {
  std::vector<AcknowledgedEdit> edits;
  v1::Controls initial;
  std::vector<v1::Event> events;
  std::vector<StatisticsRange> statistics;

  v1::Adjustment* applied(size_t event) { return events[event].mutable_adjusted()->mutable_adjustment(); }
};

void Ask(int64_t edit, double scale, std::optional<int64_t> at_step, History* history) {
  AcknowledgedEdit asked;
  asked.request.mutable_controls()->set_learning_rate_scale(scale);
  asked.request.mutable_update_mask()->add_paths("learning_rate_scale");
  v1::Adjustment* adjustment = asked.answer.mutable_adjustment();
  if (at_step.has_value()) {
    asked.request.set_at_step(*at_step);
    adjustment->set_at_step(*at_step);
  }
  adjustment->set_edit(edit);
  adjustment->add_paths("learning_rate_scale");
  *adjustment->mutable_values() = asked.request.controls();
  v1::Event& event = history->events.emplace_back();
  event.set_number(static_cast<int64_t>(history->events.size()));
  event.set_steps_done(5);
  *event.mutable_adjust_requested()->mutable_adjustment() = *adjustment;
  asked.answer.set_event_number(event.number());
  history->edits.push_back(std::move(asked));
}

void Apply(size_t edit, int64_t revision, int64_t step, const v1::Controls& old, History* history) {
  v1::Event& event = history->events.emplace_back();
  event.set_number(static_cast<int64_t>(history->events.size()));
  v1::Adjustment* applied = event.mutable_adjusted()->mutable_adjustment();
  *applied = history->edits[edit].answer.adjustment();
  applied->set_revision(revision);
  applied->set_effective_step(step);
  *applied->mutable_old_controls() = old;
  *applied->mutable_new_controls() = old;
  applied->mutable_new_controls()->set_learning_rate_scale(applied->values().learning_rate_scale());
}

History GoodHistory() {
  History history;
  history.initial.set_learning_rate_scale(1);
  history.initial.set_report_every(4);
  Ask(1, 0.5, 20, &history);
  Ask(2, 2, std::nullopt, &history);
  Ask(3, 3, 1000, &history);
  Apply(1, 2, 7, history.initial, &history);
  Apply(0, 3, 20, history.applied(3)->new_controls(), &history);
  v1::Event& dropped = history.events.emplace_back();
  dropped.set_number(6);
  *dropped.mutable_adjust_dropped()->mutable_adjustment() = history.edits[2].answer.adjustment();
  dropped.mutable_adjust_dropped()->set_reason("the job ended first");
  for (int64_t step = 0; step < 30; ++step) {
    const int64_t revision = step < 7 ? 1 : step < 20 ? 2 : 3;
    history.statistics.push_back({1, step, step, false, revision, revision == 1 ? 0.1 : revision == 2 ? 0.2 : 0.05, 0});
  }
  return history;
}

int Failures(const History& history) {
  ::testing::TestPartResultArray results;
  ::testing::ScopedFakeTestPartResultReporter reporter(
      ::testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &results);
  CheckEdits("job", history.edits, history.initial, history.events);
  CheckRevisions("job", history.statistics, history.events, 0.1);
  return results.size();
}

TEST(EditHistoryTest, AGoodHistoryPassesAndIsCounted) {
  const History history = GoodHistory();
  const EditCounts counts = CheckEdits("job", history.edits, history.initial, history.events);
  EXPECT_EQ(counts.applied, 2);
  EXPECT_EQ(counts.dropped, 1);
  EXPECT_EQ(counts.together, 0);
  EXPECT_EQ(counts.at_steps, 1);
  EXPECT_EQ(counts.on_time, 1);
  CheckRevisions("job", history.statistics, history.events, 0.1);
}

TEST(EditHistoryTest, EveryWayToBeWrongIsFound) {
  const struct {
    const char* what;
    std::function<void(History*)> break_it;
  } cases[] = {
      {"lost", [](History* h) { h->events.pop_back(); }},
      {"applied twice", [](History* h) { h->events.push_back(h->events[4]); }},
      {"dropped after it was applied",
       [](History* h) {
         *h->events.back().mutable_adjust_dropped()->mutable_adjustment() = h->edits[1].answer.adjustment();
       }},
      {"nobody was answered", [](History* h) { h->edits.pop_back(); }},
      {"never in the log", [](History* h) { h->events.erase(h->events.begin() + 2); }},
      {"asked for twice", [](History* h) { h->events.push_back(h->events[2]); }},
      {"other values", [](History* h) { h->applied(4)->mutable_values()->set_learning_rate_scale(9); }},
      {"another step asked for", [](History* h) { h->applied(4)->set_at_step(19); }},
      {"a gap in the revisions", [](History* h) { h->applied(4)->set_revision(4); }},
      {"before its step", [](History* h) { h->applied(4)->set_effective_step(19); }},
      {"after its step", [](History* h) { h->applied(4)->set_effective_step(21); }},
      {"before it was asked for", [](History* h) { h->applied(3)->set_effective_step(4); }},
      {"in another order",
       [](History* h) {
         h->applied(3)->set_effective_step(20);
         h->applied(3)->set_at_step(20);
         h->edits[1].request.set_at_step(20);
       }},
      {"steps that fall", [](History* h) { h->applied(3)->set_effective_step(25); }},
      {"applied to what did not hold",
       [](History* h) { h->applied(4)->mutable_old_controls()->set_learning_rate_scale(1); }},
      {"something else changed too", [](History* h) { h->applied(4)->mutable_new_controls()->set_report_every(9); }},
      {"dropped without a reason", [](History* h) { h->events.back().mutable_adjust_dropped()->clear_reason(); }},
      {"a report of an earlier revision", [](History* h) { h->statistics[20].revision = 2; }},
      {"a report of a later revision", [](History* h) { h->statistics[6].revision = 2; }},
      {"a report with another rate", [](History* h) { h->statistics[25].learning_rate = 0.2; }},
  };
  ASSERT_EQ(Failures(GoodHistory()), 0);
  for (const auto& c : cases) {
    History history = GoodHistory();
    c.break_it(&history);
    EXPECT_GT(Failures(history), 0) << c.what;
  }
}

}  // namespace
}  // namespace gradwatch::testing
