#include "server/job/trainer_lease.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace gradwatch::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using State = LeaseState;
using Input = LeaseInput;
using Action = LeaseAction;

constexpr absl::Duration kDeadline = absl::Seconds(100);
constexpr absl::Duration kLostBy = absl::Seconds(200);
constexpr absl::Duration kNow = absl::Seconds(10);
constexpr absl::Duration kReading = LeaseTimes().reading;

// The columns of the table: every state, kEnding by which of the two ends is waited for.
const std::vector<std::pair<std::string, Lease>>& Columns() {
  static const auto* const columns = new std::vector<std::pair<std::string, Lease>>{
      {"None", {.state = State::kNone}},
      {"Awaited", {.state = State::kAwaited, .lost_by = kLostBy}},
      {"Attaching", {.state = State::kAttaching, .lost_by = kLostBy}},
      {"Held", {.state = State::kHeld}},
      {"Silent", {.state = State::kSilent, .lost_by = kLostBy}},
      {"Detached", {.state = State::kDetached, .deadline = kDeadline, .lost_by = kLostBy}},
      {"Away", {.state = State::kAway, .lost_by = kLostBy}},
      {"Ended", {.state = State::kEnding, .deadline = kDeadline, .stream = true, .process_ended = true}},
      {"Killed", {.state = State::kEnding, .deadline = kDeadline, .stream = true}},
      {"KilledAlone", {.state = State::kEnding, .deadline = kDeadline}},
      {"Hearing", {.state = State::kHearing, .deadline = kDeadline}},
      {"Concluding", {.state = State::kConcluding}},
      {"Over", {.state = State::kOver}},
  };
  return *columns;
}

std::string NameOf(const Lease& lease) {
  for (const auto& [name, column] : Columns()) {
    if (column.state == lease.state && column.stream == lease.stream && column.process_ended == lease.process_ended) {
      return name;
    }
  }
  return "?";
}

std::string NameOf(Action action) {
  switch (action) {
    case Action::kAdmit:
      return "admit";
    case Action::kFenceOld:
      return "fence-old";
    case Action::kRefuseFenced:
      return "fenced";
    case Action::kRefuseLater:
      return "later";
    case Action::kRecovering:
      return "recovering";
    case Action::kRestore:
      return "restore";
    case Action::kCloseStream:
      return "close";
    case Action::kKill:
      return "kill";
    case Action::kHearLastWords:
      return "hear";
    case Action::kConcludeLost:
      return "lost";
    case Action::kConcludeAbsent:
      return "absent";
    case Action::kConcludeStopped:
      return "stopped";
  }
  return "?";
}

// What becomes of one cell: "Held restore", "restore", or nothing.
std::string Cell(const std::string& column, const LeaseStep& step) {
  std::vector<std::string> words;
  if (NameOf(step.lease) != column) words.push_back(NameOf(step.lease));
  for (const Action action : step.actions) words.push_back(NameOf(action));
  return absl::StrJoin(words, " ");
}

struct Row {
  std::string name;
  Input input;
  std::map<std::string, std::string> cells;  // those in which something happens
  absl::Duration now = kNow;
  absl::Duration stop_by = absl::InfiniteDuration();
};

// One cell for each of these columns.
std::map<std::string, std::string> In(const std::vector<std::string>& columns, const std::string& cell) {
  std::map<std::string, std::string> cells;
  for (const std::string& column : columns) cells[column] = cell;
  return cells;
}
std::map<std::string, std::string> operator+(std::map<std::string, std::string> a,
                                             const std::map<std::string, std::string>& b) {
  a.insert(b.begin(), b.end());
  return a;
}

const std::vector<std::string> kAll = {"None",  "Awaited", "Attaching",   "Held",    "Silent",     "Detached", "Away",
                                       "Ended", "Killed",  "KilledAlone", "Hearing", "Concluding", "Over"};
const std::vector<std::string> kGone = {"None", "Awaited", "Detached", "Away"};
const std::vector<std::string> kThere = {"Attaching", "Held", "Silent"};
const std::vector<std::string> kAtTheEnd = {"Ended", "Killed", "KilledAlone", "Hearing", "Concluding"};

std::vector<Row> HostedRows() {
  return {
      {"launched", Input::kLaunched, In({"None"}, "Awaited") + In(kAtTheEnd, "kill") + In({"Over"}, "kill")},
      {"adopted", Input::kAdopted, In({"None"}, "Away")},
      {"knock", Input::kKnock,
       In(kGone, "Attaching admit") + In({"Attaching"}, "fence-old admit") +
           In({"Held", "Silent"}, "Attaching fence-old admit") + In(kAtTheEnd, "later") + In({"Over"}, "fenced")},
      {"knock of the first", Input::kKnockOfFirst,
       In(kGone, "Attaching admit") + In({"Silent"}, "Attaching fence-old admit") + In({"Attaching", "Held"}, "later") +
           In(kAtTheEnd, "later") + In({"Over"}, "fenced")},
      {"knock of another", Input::kKnockOfOther, In(kAll, "fenced")},
      {"knock of a former", Input::kKnockOfFormer, In(kAll, "fenced")},
      {"turned away", Input::kTurnedAway, In({"Attaching"}, "Detached")},
      {"welcomed", Input::kWelcomed, In({"Attaching"}, "Held")},
      {"heard", Input::kHeard, In({"Held"}, "restore") + In({"Silent"}, "Held restore")},
      {"stream lost", Input::kStreamLost,
       In(kThere, "Detached") + In({"Ended"}, "Hearing hear") + In({"Killed"}, "KilledAlone")},
      {"process ended", Input::kProcessEnded,
       In(kGone, "Hearing hear") + In(kThere, "Ended") + In({"Killed"}, "Ended") + In({"KilledAlone"}, "Hearing hear")},
      {"stop", Input::kStop, {}},
      {"tick", Input::kTick,
       In({"Held"}, "restore") + In({"Silent", "Away", "Hearing"}, "recovering") + In({"Concluding"}, "lost")},
      {"tick after the deadline", Input::kTick,
       In({"Held"}, "Silent recovering") + In({"Silent", "Away"}, "recovering") + In({"Detached"}, "Away recovering") +
           In({"Ended", "Killed"}, "Hearing close hear") + In({"KilledAlone"}, "Hearing hear") +
           In({"Hearing"}, "Concluding lost") + In({"Concluding"}, "lost"),
       kDeadline},
      {"tick when it is lost", Input::kTick,
       In({"Awaited", "Detached", "Away"}, "KilledAlone kill") + In({"Silent"}, "Killed kill") +
           In({"Held"}, "Silent recovering") + In({"Ended", "Killed"}, "Hearing close hear") +
           In({"KilledAlone"}, "Hearing hear") + In({"Hearing"}, "Concluding lost") + In({"Concluding"}, "lost"),
       kLostBy},
      {"tick after the grace", Input::kTick,
       In(kGone, "KilledAlone kill") + In(kThere, "Killed kill") + In({"Hearing"}, "recovering") +
           In({"Concluding"}, "lost"),
       kNow, kNow},
      {"words go on", Input::kWordsGoOn, {}},
      {"words heard", Input::kWordsHeard, In({"Hearing"}, "Concluding lost")},
      {"job ended", Input::kJobEnded, In({kAll.begin(), kAll.end() - 1}, "Over")},
  };
}

const std::vector<std::string> kExternal = {"None",     "Awaited", "Attaching",  "Held", "Silent",
                                            "Detached", "Away",    "Concluding", "Over"};

std::vector<Row> ExternalRows() {
  return {
      {"launched", Input::kLaunched, In({"None"}, "Awaited") + In({"Concluding", "Over"}, "kill")},
      {"adopted", Input::kAdopted, In({"None"}, "Detached")},
      {"knock", Input::kKnock,
       In(kGone, "Attaching admit") + In({"Attaching"}, "fence-old admit") +
           In({"Held", "Silent"}, "Attaching fence-old admit") + In({"Concluding"}, "later") + In({"Over"}, "fenced")},
      {"knock of the first", Input::kKnockOfFirst,
       In(kGone, "Attaching admit") + In({"Silent"}, "Attaching fence-old admit") + In({"Attaching", "Held"}, "later") +
           In({"Concluding"}, "later") + In({"Over"}, "fenced")},
      {"knock of another", Input::kKnockOfOther,
       In({"None", "Awaited", "Away"}, "Attaching admit") + In({"Silent"}, "Attaching fence-old admit") +
           In({"Attaching", "Held", "Detached", "Concluding"}, "later") + In({"Over"}, "fenced")},
      {"knock of a former", Input::kKnockOfFormer, In(kExternal, "fenced")},
      {"turned away", Input::kTurnedAway, In({"Attaching"}, "Detached")},
      {"welcomed", Input::kWelcomed, In({"Attaching"}, "Held")},
      {"heard", Input::kHeard, In({"Held"}, "restore") + In({"Silent"}, "Held restore")},
      {"stream lost", Input::kStreamLost, In(kThere, "Detached")},
      {"process ended", Input::kProcessEnded, {}},
      {"stop", Input::kStop, {}},
      {"tick", Input::kTick,
       In({"Held"}, "restore") + In({"Silent", "Away"}, "recovering") + In({"Concluding"}, "lost")},
      {"tick after the deadline", Input::kTick,
       In({"Held"}, "Silent recovering") + In({"Silent", "Away"}, "recovering") + In({"Detached"}, "Away recovering") +
           In({"Concluding"}, "lost"),
       kDeadline},
      {"tick when it is lost", Input::kTick,
       In({"Awaited", "Detached", "Away"}, "Concluding absent") + In({"Silent"}, "Concluding close absent") +
           In({"Held"}, "Silent recovering") + In({"Concluding"}, "lost"),
       kLostBy},
      {"tick after the grace", Input::kTick,
       In(kGone, "Concluding stopped") + In(kThere, "Concluding close stopped") + In({"Concluding"}, "lost"), kNow,
       kNow},
      {"words go on", Input::kWordsGoOn, {}},
      {"words heard", Input::kWordsHeard, {}},
      {"job ended", Input::kJobEnded, In({kExternal.begin(), kExternal.end() - 1}, "Over")},
  };
}

void ExpectTable(const std::vector<Row>& rows, const std::vector<std::string>& columns, bool external) {
  for (const Row& row : rows) {
    for (auto [name, lease] : Columns()) {
      if (std::find(columns.begin(), columns.end(), name) == columns.end()) continue;
      lease.external = external;
      lease.heard = absl::ZeroDuration();
      lease.stop_by = row.stop_by;
      const LeaseStep step = Advance(lease, row.input, row.now, LeaseTimes());
      const auto expected = row.cells.find(name);
      EXPECT_EQ(Cell(name, step), expected == row.cells.end() ? "" : expected->second) << row.name << " in " << name;
      EXPECT_EQ(step.lease.external, external);
    }
  }
}

TEST(TrainerLease, EveryCellOfAHostedJob) { ExpectTable(HostedRows(), kAll, false); }
TEST(TrainerLease, EveryCellOfAnExternalJob) { ExpectTable(ExternalRows(), kExternal, true); }

// A lease on its way through several inputs, on a clock.
class Course {
 public:
  explicit Course(bool external = false) { lease_.external = external; }
  // What is to be done.
  std::vector<std::string> operator()(Input input, absl::Duration after = absl::ZeroDuration(),
                                      absl::Duration grace = absl::InfiniteDuration()) {
    now_ += after;
    const LeaseStep step = Advance(lease_, input, now_, times_, grace);
    lease_ = step.lease;
    std::vector<std::string> actions;
    for (const Action action : step.actions) actions.push_back(NameOf(action));
    return actions;
  }
  const Lease& lease() const { return lease_; }

 private:
  const LeaseTimes times_;
  Lease lease_;
  absl::Duration now_;
};

Course Held(bool external = false) {
  Course course(external);
  course(Input::kLaunched);
  course(Input::kKnockOfFirst);
  course(Input::kWelcomed);
  return course;
}

TEST(TrainerLease, ASilentTrainerIsLostAMinuteAfterThirtyFiveSeconds) {
  Course course = Held();
  EXPECT_THAT(course(Input::kTick, absl::Seconds(34.9)), ElementsAre("restore"));
  EXPECT_THAT(course(Input::kTick, absl::Seconds(0.1)), ElementsAre("recovering"));
  EXPECT_THAT(course(Input::kTick, absl::Seconds(59.9)), ElementsAre("recovering"));
  EXPECT_THAT(course(Input::kTick, absl::Seconds(0.1)), ElementsAre("kill"));
  EXPECT_THAT(course(Input::kProcessEnded), IsEmpty()) << "its stream may still bring something";
  EXPECT_THAT(course(Input::kTick, absl::Seconds(0.5)), ElementsAre("close", "hear"));
  EXPECT_THAT(course(Input::kWordsHeard), ElementsAre("absent"));
  EXPECT_THAT(course(Input::kTick), ElementsAre("absent")) << "it could not be stored";
  EXPECT_THAT(course(Input::kJobEnded), IsEmpty());
}

TEST(TrainerLease, ATrainerThatSpeaksAgainHasAllItsTimeAgain) {
  Course course = Held();
  course(Input::kTick, absl::Seconds(80));
  EXPECT_THAT(course(Input::kHeard, absl::Seconds(50)), ElementsAre("restore"));
  EXPECT_THAT(course(Input::kTick, absl::Seconds(34)), ElementsAre("restore"));
  course(Input::kTick, absl::Seconds(1));
  EXPECT_THAT(course(Input::kTick, absl::Seconds(59)), ElementsAre("recovering"));
}

TEST(TrainerLease, AStreamThatEndsInTheSilenceGivesNoMoreTime) {
  Course course = Held();
  course(Input::kTick, absl::Seconds(35));
  course(Input::kStreamLost, absl::Seconds(40));
  EXPECT_THAT(course(Input::kTick, absl::Seconds(1)), ElementsAre("recovering"));
  EXPECT_THAT(course(Input::kTick, absl::Seconds(19)), ElementsAre("kill"));
}

TEST(TrainerLease, WhoIsTurnedAwayCountsAsThere) {
  Course course = Held();
  course(Input::kStreamLost);
  course(Input::kTick, absl::Seconds(1));
  for (int i = 0; i < 10; ++i) {
    EXPECT_THAT(course(Input::kTurnedAway, absl::Seconds(59)), IsEmpty());
    EXPECT_THAT(course(Input::kTick), ElementsAre("recovering"));
  }
  EXPECT_THAT(course(Input::kTick, absl::Seconds(60)), ElementsAre("kill"));
}

TEST(TrainerLease, OneThatAttachedInVainIsWaitedForLikeOneThatWasThere) {
  Course course = Held();
  course(Input::kKnock);
  course(Input::kTurnedAway);
  EXPECT_THAT(course(Input::kTick, absl::Seconds(0.4)), IsEmpty());
  EXPECT_THAT(course(Input::kTick, absl::Seconds(0.1)), ElementsAre("recovering"));
  EXPECT_THAT(course(Input::kTick, absl::Seconds(59.5)), ElementsAre("kill"));
}

TEST(TrainerLease, WhileATrainerAttachesItIsNotLost) {
  Course course = Held();
  course(Input::kStreamLost);
  course(Input::kTick, absl::Seconds(1));
  course(Input::kKnock, absl::Seconds(59));
  EXPECT_THAT(course(Input::kTick, absl::Hours(1)), IsEmpty());
  course(Input::kWelcomed);
  EXPECT_THAT(course(Input::kTick, absl::Seconds(34)), ElementsAre("restore"));
}

TEST(TrainerLease, TheShortestGraceCounts) {
  for (const absl::Duration second : {absl::Seconds(5), absl::ZeroDuration(), absl::Hours(1)}) {
    Course course = Held();
    course(Input::kStop, absl::ZeroDuration(), absl::Seconds(20));
    course(Input::kStop, absl::ZeroDuration(), second);
    const absl::Duration left = std::min(second, absl::Seconds(20));
    if (left > absl::ZeroDuration()) {
      EXPECT_THAT(course(Input::kTick, left - absl::Milliseconds(1)), ElementsAre("restore"));
      EXPECT_THAT(course(Input::kTick, absl::Milliseconds(1)), ElementsAre("kill"));
    } else {
      EXPECT_THAT(course(Input::kTick), ElementsAre("kill"));
    }
    EXPECT_THAT(course(Input::kStreamLost), IsEmpty());
    EXPECT_THAT(course(Input::kProcessEnded), ElementsAre("hear"));
    EXPECT_THAT(course(Input::kWordsHeard), ElementsAre("stopped"));
  }
}

TEST(TrainerLease, AProcessThatEndsByItselfBeforeTheGraceIsLostAndNotStopped) {
  Course course = Held();
  course(Input::kStop, absl::ZeroDuration(), absl::Seconds(20));
  course(Input::kProcessEnded);
  EXPECT_THAT(course(Input::kTick, absl::Seconds(20)), ElementsAre("close", "hear"));
  EXPECT_THAT(course(Input::kWordsHeard), ElementsAre("lost"));
}

TEST(TrainerLease, AProcessThatCannotBeKilledIsNotWaitedForLong) {
  Course course = Held();
  course(Input::kStreamLost);
  course(Input::kTick, absl::Seconds(1));
  EXPECT_THAT(course(Input::kTick, absl::Seconds(60)), ElementsAre("kill"));
  EXPECT_THAT(course(Input::kTick, absl::Seconds(0.5)), ElementsAre("hear"));
  EXPECT_THAT(course(Input::kWordsHeard), ElementsAre("absent"));
}

TEST(TrainerLease, AnExternalTrainerHasADayAndIsNotKilled) {
  Course course = Held(/*external=*/true);
  course(Input::kTick, absl::Seconds(35));
  EXPECT_THAT(course(Input::kTick, absl::Hours(23.9)), ElementsAre("recovering"));
  EXPECT_THAT(course(Input::kTick, absl::Hours(0.1)), ElementsAre("close", "absent"));
}

TEST(TrainerLease, AfterARestartAnExternalTrainerHasTimeToComeBackBeforeAnotherMayTakeItsJob) {
  Course course(/*external=*/true);
  course(Input::kAdopted);
  EXPECT_THAT(course(Input::kTick, absl::Seconds(34)), IsEmpty());
  EXPECT_THAT(course(Input::kKnockOfOther), ElementsAre("later"));
  Course late = course;
  EXPECT_THAT(course(Input::kKnock), ElementsAre("admit"));
  late(Input::kTick, absl::Seconds(1));
  EXPECT_THAT(late(Input::kKnockOfOther), ElementsAre("admit"));
}

// One whose process has ended, and whose last words cannot be taken in.
Course Hearing() {
  Course course = Held();
  course(Input::kStreamLost);
  EXPECT_THAT(course(Input::kProcessEnded), ElementsAre("hear"));
  return course;
}

TEST(TrainerLease, LastWordsThatCannotBeTakenInAreTriedForADay) {
  Course course = Hearing();
  EXPECT_THAT(course(Input::kTick, absl::Hours(23.9)), ElementsAre("recovering"));
  EXPECT_THAT(course(Input::kTick, absl::Hours(0.1)), ElementsAre("lost"));
  EXPECT_THAT(course(Input::kTick), ElementsAre("lost")) << "it could not be stored";
}

TEST(TrainerLease, AStopEndsTheWaitForLastWords) {
  Course course = Hearing();
  course(Input::kStop, absl::Hours(1), absl::Minutes(5));
  EXPECT_THAT(course(Input::kTick, absl::Minutes(5) - absl::Milliseconds(1)), ElementsAre("recovering"));
  EXPECT_THAT(course(Input::kTick, absl::Milliseconds(1)), ElementsAre("lost"));
}

TEST(TrainerLease, LastWordsHaveTimeToBeReadHoweverShortTheGraceIs) {
  Course killed = Held();
  killed(Input::kStop, absl::ZeroDuration(), absl::ZeroDuration());
  EXPECT_THAT(killed(Input::kTick), ElementsAre("kill"));
  killed(Input::kStreamLost);
  EXPECT_THAT(killed(Input::kProcessEnded), ElementsAre("hear"));
  Course stopped = Hearing();
  stopped(Input::kStop, absl::Hours(1), absl::ZeroDuration());
  for (Course* course : {&killed, &stopped}) {
    EXPECT_THAT((*course)(Input::kTick, kReading - absl::Milliseconds(1)), ElementsAre("recovering"));
  }
  EXPECT_THAT(killed(Input::kTick, absl::Milliseconds(1)), ElementsAre("stopped"));
  EXPECT_THAT(stopped(Input::kTick, absl::Milliseconds(1)), ElementsAre("lost"));
}

TEST(TrainerLease, LastWordsThatGoOnAreNotCutShort) {
  Course course = Hearing();
  course(Input::kStop, absl::ZeroDuration(), absl::ZeroDuration());
  for (int message = 0; message < 10; ++message) {
    course(Input::kWordsGoOn, kReading - absl::Milliseconds(1));
    EXPECT_THAT(course(Input::kTick), ElementsAre("recovering"));
  }
  EXPECT_THAT(course(Input::kTick, kReading), ElementsAre("lost"));
  Course waits = Hearing();
  waits(Input::kWordsGoOn);
  EXPECT_THAT(waits(Input::kTick, absl::Hours(23)), ElementsAre("recovering")) << "never less time than before";
}

// However inputs follow each other: no state but the last is one that time does not lead out of.
TEST(TrainerLease, EveryLeaseEndsOnceItsTrainerIsStoppedOrGone) {
  for (const bool external : {false, true}) {
    for (auto [name, lease] : Columns()) {
      if (external && std::find(kExternal.begin(), kExternal.end(), name) == kExternal.end()) continue;
      lease.external = external;
      lease = Advance(lease, Input::kStop, kNow, LeaseTimes(), absl::Seconds(1)).lease;
      absl::Duration now = kNow;
      for (int tick = 0; tick < 300 && lease.state != State::kOver; ++tick) {
        now += absl::Seconds(1);
        const LeaseStep step = Advance(lease, Input::kTick, now, LeaseTimes());
        lease = step.lease;
        if (lease.state == State::kConcluding) lease = Advance(lease, Input::kJobEnded, now, LeaseTimes()).lease;
      }
      EXPECT_EQ(lease.state, State::kOver) << name;
    }
  }
}

}  // namespace
}  // namespace gradwatch::server
