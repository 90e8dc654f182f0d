#include "core/train/live_controls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/notification.h"
#include "core/spec/controls.h"

namespace gradwatch::core {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

ControlSnapshot Initial(int64_t revision = 1) {
  return {.revision = revision, .controls = ResolveControls(v1::Controls())};
}

// An edit that asks for this `report_every`.
ControlEdit Every(int64_t edit, int report_every, std::optional<int64_t> at_step = std::nullopt) {
  ControlEdit asked = {.edit = edit, .paths = {"report_every"}, .at_step = at_step};
  asked.values.set_report_every(report_every);
  return asked;
}

// The training thread: what it is told, as text, and what holds.
class Loop {
 public:
  explicit Loop(LiveControls* live) : live_(live) {}

  // What became of edits for this step: "7 is 2 from 10" (revision 2), "7 withdrawn", "7 refused".
  std::vector<std::string> Take(int64_t step) {
    std::vector<EditOutcome> outcomes;
    const auto fits = [this](const v1::Controls& controls) {
      return controls.report_every() == refused_ ? absl::InvalidArgumentError("no") : absl::OkStatus();
    };
    snapshot_ = live_->ForStep(step, fits, &outcomes);
    std::vector<std::string> texts;
    for (const EditOutcome& outcome : outcomes) texts.push_back(Text(outcome));
    return texts;
  }
  const ControlSnapshot& now() const { return *snapshot_; }
  const std::shared_ptr<const ControlSnapshot>& snapshot() const { return snapshot_; }
  void Refuse(int report_every) { refused_ = report_every; }

 private:
  static std::string Text(const EditOutcome& outcome) {
    if (outcome.applied) return absl::StrCat(outcome.edit, " is ", outcome.revision, " from ", outcome.step);
    return absl::StrCat(outcome.edit, outcome.reason.empty() ? " withdrawn" : " refused");
  }

  LiveControls* const live_;
  std::shared_ptr<const ControlSnapshot> snapshot_;
  int refused_ = 0;
};

TEST(LiveControlsTest, HoldsTheInitialControlsUntilTheyAreEdited) {
  LiveControls live(Initial(4));
  Loop loop(&live);
  EXPECT_THAT(loop.Take(0), IsEmpty());
  EXPECT_EQ(loop.now().revision, 4);
  const auto first = loop.snapshot();
  EXPECT_THAT(loop.Take(1), IsEmpty());
  EXPECT_EQ(loop.snapshot(), first) << "the same pointer says that nothing has changed";
  live.Add(Every(7, 10));
  EXPECT_THAT(loop.Take(2), ElementsAre("7 is 5 from 2"));
  EXPECT_NE(loop.snapshot(), first);
  EXPECT_EQ(loop.now().revision, 5);
  EXPECT_EQ(loop.now().controls.report_every(), 10);
}

// What happens before the steps are taken, and what is told at each step of which something is told.
struct Case {
  const char* name;
  std::vector<ControlEdit> edits;
  std::vector<int64_t> withdrawn;
  std::vector<int64_t> steps;
  std::vector<std::string> told;
  int report_every;  // at the end
};

TEST(LiveControlsTest, EditsAreAppliedInTheOrderOfStepAndId) {
  const std::vector<Case> cases = {
      {"one a step", {Every(1, 10, 3), Every(2, 20, 5)}, {}, {2, 3, 4, 5}, {"1 is 2 from 3", "2 is 3 from 5"}, 20},
      {"in falling order of steps",
       {Every(1, 10, 5), Every(2, 20, 3)},
       {},
       {3, 4, 5},
       {"2 is 2 from 3", "1 is 3 from 5"},
       10},
      {"several at one step",
       {Every(1, 10, 3), Every(2, 20, 3), Every(3, 30, 3)},
       {},
       {2, 3},
       {"1 is 2 from 3", "2 is 3 from 3", "3 is 4 from 3"},
       30},
      {"in any order of arrival",
       {Every(3, 30, 3), Every(1, 10, 3), Every(2, 20, 3)},
       {},
       {3},
       {"1 is 2 from 3", "2 is 3 from 3", "3 is 4 from 3"},
       30},
      {"one without a step counts as one of the present one",
       {Every(1, 10, 3), Every(2, 20), Every(3, 30, 3)},
       {},
       {3},
       {"1 is 2 from 3", "2 is 3 from 3", "3 is 4 from 3"},
       30},
      {"it comes behind those of earlier steps",
       {Every(1, 10), Every(2, 20, 1)},
       {},
       {3},
       {"2 is 2 from 3", "1 is 3 from 3"},
       10},
      {"and before those of later ones",
       {Every(1, 10, 4), Every(2, 20)},
       {},
       {3, 4},
       {"2 is 2 from 3", "1 is 3 from 4"},
       10},
      {"a step that has passed means the next", {Every(1, 10, 0)}, {}, {50, 51}, {"1 is 2 from 50"}, 10},
      {"step 0", {Every(1, 10, 0), Every(2, 20, 1)}, {}, {0}, {"1 is 2 from 0"}, 10},
      {"known ones are ignored", {Every(1, 10, 3), Every(1, 20, 2), Every(1, 30)}, {}, {2, 3}, {"1 is 2 from 3"}, 10},
      {"withdrawn in time", {Every(1, 10, 3), Every(2, 20, 3)}, {1}, {2, 3}, {"1 withdrawn", "2 is 2 from 3"}, 20},
      {"withdrawn twice", {Every(1, 10, 3)}, {1, 1}, {0, 3}, {"1 withdrawn"}, 1},
      {"withdrawn before it is known", {}, {8}, {0, 1}, {"8 withdrawn"}, 1},
      {"told in the order of withdrawing, before what is applied",
       {Every(1, 10), Every(2, 20), Every(3, 30)},
       {3, 1},
       {0},
       {"3 withdrawn", "1 withdrawn", "2 is 2 from 0"},
       20},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    LiveControls live(Initial());
    Loop loop(&live);
    for (const ControlEdit& edit : c.edits) live.Add(edit);
    for (const int64_t edit : c.withdrawn) live.Withdraw(edit);
    std::vector<std::string> told;
    for (const int64_t step : c.steps) {
      for (const std::string& text : loop.Take(step)) told.push_back(text);
    }
    EXPECT_EQ(told, c.told);
    EXPECT_EQ(loop.now().controls.report_every(), c.report_every);
  }
}

TEST(LiveControlsTest, WhatIsDoneDoesNotComeBack) {
  LiveControls live(Initial());
  Loop loop(&live);
  live.Add(Every(4, 10, 9));
  live.Add(Every(5, 20));
  live.Withdraw(6);
  EXPECT_THAT(loop.Take(0), ElementsAre("6 withdrawn", "5 is 2 from 0"));
  for (const int64_t edit : {4, 5, 6}) live.Add(Every(edit, 30));
  live.Withdraw(5);  // was applied, and that is told
  live.Withdraw(6);
  EXPECT_THAT(loop.Take(1), IsEmpty());
  live.Add(Every(3, 40));  // a lower id than others that are known
  EXPECT_THAT(loop.Take(2), ElementsAre("3 is 3 from 2"));
  EXPECT_THAT(loop.Take(9), ElementsAre("4 is 4 from 9")) << "it waited all the time";
  EXPECT_EQ(loop.now().controls.report_every(), 10);
}

// As many as a server lets wait may all be sent again.
TEST(LiveControlsTest, TenThousandDoneEditsAreKnown) {
  LiveControls live(Initial());
  Loop loop(&live);
  for (int64_t edit = 1; edit <= 60'000; ++edit) {
    live.Add(Every(edit, 10));
    if (edit % 10'000 != 0) continue;
    EXPECT_EQ(loop.Take(edit).size(), 10'000u);
    for (int64_t again = edit - 9'999; again <= edit; ++again) live.Add(Every(again, 20)), live.Withdraw(again);
    EXPECT_THAT(loop.Take(edit), IsEmpty());
  }
  EXPECT_EQ(loop.now().revision, 60'001);
}

TEST(LiveControlsTest, EachIsAppliedToWhatHoldsThen) {
  LiveControls live(Initial());
  Loop loop(&live);
  ControlEdit clip = {.edit = 1, .paths = {"clip.mode", "clip.threshold"}, .at_step = 5};
  clip.values.mutable_clip()->set_mode(v1::CLIP_MODE_VALUE);
  clip.values.mutable_clip()->set_threshold(2);
  ControlEdit rate = {.edit = 2, .paths = {"learning_rate_scale"}};
  rate.values.set_learning_rate_scale(0.5);
  live.Add(clip);
  live.Add(rate);
  EXPECT_THAT(loop.Take(0), ElementsAre("2 is 2 from 0"));
  EXPECT_EQ(loop.now().controls.clip().mode(), v1::CLIP_MODE_NONE) << "it is scheduled, not part of the other";
  EXPECT_THAT(loop.Take(5), ElementsAre("1 is 3 from 5"));
  EXPECT_EQ(loop.now().controls.clip().threshold(), 2);
  EXPECT_EQ(loop.now().controls.learning_rate_scale(), 0.5) << "nor does it take the other back";
}

TEST(LiveControlsTest, WhatDoesNotFitIsDroppedWithAReasonAndChangesNothing) {
  LiveControls live(Initial());
  Loop loop(&live);
  loop.Refuse(20);
  ControlEdit removed = {.edit = 4, .paths = {"clip.overrides.`rnn*`"}};  // nobody has added it
  live.Add(Every(1, 10));
  live.Add(Every(2, 20));
  live.Add(Every(3, -3));
  live.Add(removed);
  live.Add(Every(5, 30));
  EXPECT_THAT(loop.Take(7), ElementsAre("1 is 2 from 7", "2 refused", "3 refused", "4 refused", "5 is 3 from 7"));
  EXPECT_EQ(loop.now().revision, 3);
  EXPECT_EQ(loop.now().controls.report_every(), 30);
  for (const int64_t edit : {2, 3, 4}) live.Add(Every(edit, 40)), live.Withdraw(edit);
  EXPECT_THAT(loop.Take(8), IsEmpty());

  std::vector<EditOutcome> outcomes;
  live.Add({.edit = 6, .paths = {"clip.overrides.`rnn*`"}});
  live.ForStep(
      9, [](const v1::Controls&) { return absl::OkStatus(); }, &outcomes);
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].reason, "clip.overrides: no tensors have a limit of their own");
  EXPECT_EQ(outcomes[0].step, 9);
}

TEST(LiveControlsTest, AStopIsFinal) {
  LiveControls live(Initial());
  live.SetCommand(LiveControls::Command::kStop);
  live.SetCommand(LiveControls::Command::kRun);
  EXPECT_EQ(live.command(), LiveControls::Command::kStop);
  EXPECT_EQ(live.AwaitRun(0), LiveControls::Command::kStop);
}

// What ends a wait in a pause before step 5, and what the loop finds then.
TEST(LiveControlsTest, APauseIsOverOrSomethingIsDue) {
  const struct {
    const char* name;
    std::function<void(LiveControls*)> wake;
    LiveControls::Command command;
    std::vector<std::string> told;
  } cases[] = {
      {"resumed", [](auto* live) { live->SetCommand(LiveControls::Command::kRun); }, LiveControls::Command::kRun, {}},
      {"stopped", [](auto* live) { live->SetCommand(LiveControls::Command::kStop); }, LiveControls::Command::kStop, {}},
      {"an edit", [](auto* live) { live->Add(Every(2, 10)); }, LiveControls::Command::kPause, {"2 is 2 from 5"}},
      {"one for this step",
       [](auto* live) { live->Add(Every(2, 10, 5)); },
       LiveControls::Command::kPause,
       {"2 is 2 from 5"}},
      {"a withdrawal", [](auto* live) { live->Withdraw(1); }, LiveControls::Command::kPause, {"1 withdrawn"}},
      {"one for later does not, the resumption does",
       [](auto* live) { live->Add(Every(2, 10, 6)), live->SetCommand(LiveControls::Command::kRun); },
       LiveControls::Command::kRun,
       {}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    LiveControls live(Initial());
    live.Add(Every(1, 10, 100));
    live.SetCommand(LiveControls::Command::kPause);
    absl::Notification waiting;
    LiveControls::Command seen = LiveControls::Command::kPause;
    std::thread training([&] {
      waiting.Notify();
      seen = live.AwaitRun(5);
    });
    waiting.WaitForNotification();
    c.wake(&live);
    training.join();
    EXPECT_EQ(seen, c.command);
    Loop loop(&live);
    EXPECT_EQ(loop.Take(5), c.told);
  }
}

// Under the thread sanitizer this shows that the hand-over has no race. Every edit has one outcome, whatever the order
// in which several threads add, repeat and withdraw.
TEST(LiveControlsTest, EditsMayComeWhileStepsRun) {
  constexpr int64_t kThreads = 4, kEach = 1000;
  LiveControls live(Initial());
  std::vector<std::thread> operators;
  for (int64_t thread = 0; thread < kThreads; ++thread) {
    operators.emplace_back([&live, thread] {
      std::mt19937 random(static_cast<uint32_t>(thread));
      for (int64_t i = 0; i < kEach; ++i) {
        const int64_t edit = i * kThreads + thread + 1;
        const auto at_step = random() % 3 == 0 ? std::optional<int64_t>(random() % 5000) : std::nullopt;
        live.Add(Every(edit, 10, at_step));
        if (random() % 4 == 0) live.Withdraw(edit);
        if (random() % 4 == 0) live.Add(Every(edit, 10));
      }
    });
  }
  std::vector<EditOutcome> outcomes;
  const auto fits = [](const v1::Controls&) { return absl::OkStatus(); };
  for (int64_t step = 0; static_cast<int64_t>(outcomes.size()) < kThreads * kEach; ++step) {
    live.ForStep(step, fits, &outcomes);
  }
  for (std::thread& thread : operators) thread.join();
  std::vector<int64_t> edits;
  int64_t revision = 1;
  for (const EditOutcome& outcome : outcomes) {
    edits.push_back(outcome.edit);
    if (!outcome.applied) continue;
    EXPECT_EQ(outcome.revision, ++revision);
  }
  std::sort(edits.begin(), edits.end());
  for (int64_t i = 0; i < kThreads * kEach; ++i) ASSERT_EQ(edits[static_cast<size_t>(i)], i + 1);
}

}  // namespace
}  // namespace gradwatch::core
