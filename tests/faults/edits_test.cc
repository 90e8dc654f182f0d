// Sixteen people edit one job at once, for now and for later, while the server is killed and the worker is stopped:
// no edit is lost, each is applied once, in order, and holds from exactly its step.
#include <algorithm>
#include <csignal>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "absl/synchronization/notification.h"
#include "tests/faults/edit_history.h"
#include "tests/faults/edit_writer.h"
#include "tests/faults/fault_fixture.h"
#include "tests/faults/recording.h"

namespace gradwatch::testing {
namespace {

constexpr int64_t kNever = 900'000'000;  // a step that no job of these tests reaches

// A moment is random in time: there is nothing to wait for.
void Linger(absl::Duration duration) { absl::Notification().WaitForNotificationWithTimeout(duration); }

// A change of one thing or two, by a number that nobody else asks for.
v1::AdjustJobRequest SomeEdit(int writer, int index) {
  v1::AdjustJobRequest request;
  v1::Controls* controls = request.mutable_controls();
  const auto add = [&request](const char* path) { request.mutable_update_mask()->add_paths(path); };
  const int number = writer * 10'000 + index;
  switch (index % 4) {
    case 0:
      controls->mutable_clip()->set_threshold(1 + number * 1e-5);
      add("clip.threshold");
      break;
    case 1:
      controls->set_learning_rate_scale(0.5 + number * 1e-6);
      add("learning_rate_scale");
      break;
    case 2:
      controls->set_report_every(1 + number % 50);
      controls->set_gradient_cosine(number % 3 == 0);
      add("report_every");
      add("gradient_cosine");
      break;
    default:
      controls->mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
      controls->mutable_clip()->set_threshold(2 + number * 1e-5);
      controls->set_learning_rate_scale(0.8 + number * 1e-6);
      add("clip.mode");
      add("clip.threshold");
      add("learning_rate_scale");
  }
  return request;
}

bool IsForEver(const AcknowledgedEdit& edit) { return edit.request.has_at_step() && edit.request.at_step() >= kNever; }

// Stops and continues a process at random moments until it goes out of scope.
class Hiccups {
 public:
  Hiccups(pid_t pid, uint64_t seed) : thread_([this, pid, seed] { Run(pid, seed); }) {}
  ~Hiccups() {
    over_.Notify();
    thread_.join();
  }

 private:
  void Run(pid_t pid, uint64_t seed) {
    std::mt19937_64 random(seed);
    // Once for longer than a trainer may be silent, where there is time for it.
    bool is_silent_once = IsLong();
    while (!over_.WaitForNotificationWithTimeout(absl::Milliseconds(random() % 700))) {
      kill(pid, SIGSTOP);
      over_.WaitForNotificationWithTimeout(is_silent_once ? absl::Seconds(40) : absl::Milliseconds(random() % 400));
      is_silent_once = false;
      kill(pid, SIGCONT);
    }
  }

  absl::Notification over_;
  std::thread thread_;
};

class SlowEditsTest : public FaultTest {
 protected:
  void CreateJob(uint64_t seed) {
    random_.seed(seed);
    ASSERT_NO_FATAL_FAILURE(StartServer());
    ASSERT_NO_FATAL_FAILURE(
        Create("job", Spec(kForEver, 128, "controls: {report_every: 10, clip: {mode: global_norm, threshold: 1000}}")));
    ASSERT_TRUE(outside_->AwaitStep("job", 10));
  }

  // Kills the server at random moments, on its way up too, while `busy` says so.
  int KillWhile(const std::function<bool()>& busy, int most) {
    int kills = 0;
    while (busy() && kills < most) {
      const bool at_start = kills > 0 && random_() % 6 == 0;
      EXPECT_TRUE(at_start || server_->AwaitReady()) << "after " << kills << " kills: " << server_->Errors();
      Linger(absl::Milliseconds(random_() % (at_start ? 60 : most == 1 ? 300 : 900)));
      EXPECT_TRUE(server_->alive()) << "it ended by itself: " << server_->Errors();
      if (HasFailure()) return kills;
      server_->Kill();
      server_->Launch();
      ++kills;
    }
    EXPECT_TRUE(server_->AwaitReady()) << server_->Errors();
    EXPECT_TRUE(outside_->AwaitAnswer());
    return kills;
  }

  // A third of the edits is for a step to come: mostly soon, some for one that never comes.
  MakeEdit EditsForNowAndLater(const Outside& outside) {
    return [&outside](int writer, int index, std::mt19937_64* random) {
      v1::AdjustJobRequest request = SomeEdit(writer, index);
      if (index % 3 != 0) return request;
      v1::Job job;
      const grpc::Status status = AskUntilAnswered(
          outside, [&] { return outside.Get("job", &job); }, absl::Now() + kLongWait);
      EXPECT_TRUE(status.ok()) << status.error_message();
      const bool never = (*random)() % 16 == 0;
      request.set_at_step(never ? kNever + static_cast<int64_t>((*random)() % 1000)
                                : job.steps_done() + 1 + static_cast<int64_t>((*random)() % 1500));
      return request;
    };
  }

  // What is left to wait is what waits for ever, in the order in which it would be applied.
  void CheckWaiting(const std::vector<AcknowledgedEdit>& edits) {
    std::set<std::pair<int64_t, int64_t>> expected;
    for (const AcknowledgedEdit& edit : edits) {
      if (IsForEver(edit)) expected.emplace(edit.request.at_step(), edit.id());
    }
    std::vector<v1::Adjustment> waiting;
    const grpc::Status status = ListEdits(*outside_, "job", &waiting);
    ASSERT_TRUE(status.ok()) << status.error_message();
    std::vector<std::pair<int64_t, int64_t>> told;
    for (const v1::Adjustment& edit : waiting) told.emplace_back(edit.at_step(), edit.edit());
    EXPECT_TRUE(told == std::vector(expected.begin(), expected.end())) << told.size() << " of " << expected.size();
    EXPECT_EQ(Get("job").waiting_edits(), static_cast<int32_t>(expected.size()));
  }

  // Ends the job, and checks its edits, events and statistics against each other.
  EditCounts StopAndCheck(const std::vector<AcknowledgedEdit>& edits) {
    EXPECT_TRUE(outside_->Stop("job").ok());
    EXPECT_TRUE(outside_->AwaitEnd("job"));
    const v1::Job job = Get("job");
    EXPECT_EQ(job.state(), v1::JOB_STATE_STOPPED) << job.failure();
    EXPECT_EQ(job.attempt(), 1);
    EXPECT_EQ(job.waiting_edits(), 0);
    std::vector<v1::Event> events;
    EXPECT_TRUE(outside_->Events("job", &events).ok());
    CheckEvents("the log", events, events);
    const EditCounts counts = CheckEdits("job", edits, job.spec().controls(), events);
    EXPECT_EQ(job.control_revision(), counts.applied + 1);

    auto late = Subscriber::OfJob(*outside_, "job", /*events_only=*/false, /*cut_after=*/0);
    EXPECT_TRUE(late->AwaitEnd());
    const Recording recording = late->Stop();
    EXPECT_EQ(recording.error, "");
    EXPECT_EQ(CheckStatistics("the statistics", recording.statistics, job.steps_done()), 0);
    CheckRevisions("the statistics", recording.statistics, events);
    return counts;
  }

  // Sixteen writers at once, under kills; with `stop_worker` the worker stops now and then.
  void EditTogether(bool stop_worker) {
    ASSERT_NO_FATAL_FAILURE(CreateJob(TestSeed()));
    const std::vector<pid_t> workers = server_->Workers("job");
    ASSERT_EQ(workers.size(), 1u);
    Outside writing(server_->address());
    const int each = IsLong() ? 1000 : 100;
    std::vector<std::unique_ptr<Writer>> writers;
    for (int number = 0; number < 16; ++number) {
      writers.push_back(std::make_unique<Writer>(writing, "job", number, each, absl::Milliseconds(60), random_(),
                                                 EditsForNowAndLater(writing)));
    }
    int kills = 0;
    {
      std::optional<Hiccups> hiccups;
      if (stop_worker) hiccups.emplace(workers[0], random_());
      kills = KillWhile([&] { return !AreDone(writers); }, IsLong() ? 60 : 5);
      while (!AreDone(writers)) Linger(absl::Milliseconds(20));
    }
    const std::vector<AcknowledgedEdit> edits = JoinAll(&writers);
    ASSERT_EQ(edits.size(), size_t{16} * each);
    EXPECT_EQ(server_->Workers("job"), workers) << "the worker lives through it";
    std::set<int64_t> due;
    for (const AcknowledgedEdit& edit : edits) {
      if (!IsForEver(edit)) due.insert(edit.id());
    }
    ASSERT_TRUE(AwaitSettled(*outside_, "job", due, IsLong() ? 2 * kLongWait : kLongWait));
    CheckWaiting(edits);
    const EditCounts counts = StopAndCheck(edits);
    EXPECT_EQ(counts.applied, static_cast<int64_t>(due.size())) << "those that never come are dropped, no others";
    EXPECT_GT(counts.on_time, 0);
    EXPECT_GT(counts.together, 0);
    EXPECT_GT(kills, 0);
    std::cout << edits.size() << " edits, " << kills << " kills: " << counts.applied << " applied, " << counts.together
              << " of them together with another, " << counts.on_time << " of " << counts.at_steps
              << " with a step known before it and in time; " << counts.dropped << " dropped" << std::endl;
  }

  std::mt19937_64 random_;
};

TEST_F(SlowEditsTest, OfSixteenPeopleAreEachAppliedOnceWhileTheServerIsKilled) { EditTogether(/*stop_worker=*/false); }

TEST_F(SlowEditsTest, OfSixteenPeopleAreEachAppliedOnceWhileTheWorkerIsStoppedToo) {
  EditTogether(/*stop_worker=*/true);
}

class SlowWaitingEditsTest : public SlowEditsTest {
 protected:
  void PauseAndAwait() {
    v1::PauseJobRequest request;
    request.set_job_id("job");
    v1::Job job;
    ASSERT_TRUE(outside_->jobs->PauseJob(Outside::Context().get(), request, &job).ok());
    v1::WatchJobRequest watch;
    watch.set_job_id("job");
    watch.set_from_beginning(true);
    watch.set_events_only(true);
    ASSERT_TRUE(outside_->Watch(watch, [this](const v1::WatchJobResponse& response) {
      for (const v1::Event& event : response.events()) {
        if (event.state_changed().to() == v1::JOB_STATE_PAUSED) paused_at_ = event.steps_done();
      }
      return paused_at_ >= 0;
    }));
  }
  // Back in its pause after a restart, or on its way; then it goes on.
  void Resume() {
    v1::ResumeJobRequest request;
    request.set_job_id("job");
    v1::Job job;
    grpc::Status status;
    // Of a job that its trainer has not come back to it is refused: nothing else says when it has.
    for (const absl::Time deadline = absl::Now() + kLongWait; absl::Now() < deadline;) {
      status = outside_->jobs->ResumeJob(Outside::Context().get(), request, &job);
      if (status.error_code() != grpc::StatusCode::FAILED_PRECONDITION) break;
      Linger(absl::Milliseconds(20));
    }
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  // Until the log says of some edit that it holds.
  bool AwaitAdjusted(const std::string& job_id) {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_from_beginning(true);
    request.set_events_only(true);
    return outside_->Watch(request, [](const v1::WatchJobResponse& response) {
      return std::any_of(response.events().begin(), response.events().end(),
                         [](const v1::Event& event) { return event.has_adjusted(); });
    });
  }

  int64_t paused_at_ = -1;
};

// The job waits in a pause, so that its edits wait, too, however long it takes; some are withdrawn.
TEST_F(SlowWaitingEditsTest, OutliveEveryKillAndHoldFromExactlyTheirSteps) {
  ASSERT_NO_FATAL_FAILURE(CreateJob(TestSeed()));
  ASSERT_NO_FATAL_FAILURE(PauseAndAwait());
  const int64_t pause = paused_at_;
  Outside writing(server_->address());
  std::vector<AcknowledgedEdit> edits;
  Withdrawer withdrawer(writing, "job");
  const int rounds = IsLong() ? 60 : 6;
  int kills = 0;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    std::vector<std::unique_ptr<Writer>> writers;
    for (int number = 0; number < 4; ++number) {
      writers.push_back(std::make_unique<Writer>(
          writing, "job", round * 4 + number, 10, absl::Milliseconds(40), random_(),
          [pause](int writer, int index, std::mt19937_64* random) {
            v1::AdjustJobRequest request = SomeEdit(writer, index);
            request.set_at_step(index == 0 ? kNever + writer : pause + 5 + static_cast<int64_t>((*random)() % 400));
            return request;
          }));
    }
    // Some of what was there before, while others write and the server dies.
    std::vector<int64_t> unwanted;
    for (const AcknowledgedEdit& edit : edits) {
      if (withdrawer.withdrawn().count(edit.id()) == 0 && random_() % 4 == 0) unwanted.push_back(edit.id());
    }
    std::thread withdrawing([&] {
      for (const int64_t edit : unwanted) withdrawer.Withdraw(edit);
    });
    kills += KillWhile([&] { return !HasFailure(); }, 1);
    withdrawing.join();
    for (AcknowledgedEdit& edit : JoinAll(&writers)) edits.push_back(std::move(edit));
  }
  EXPECT_EQ(kills, rounds);
  EXPECT_GT(withdrawer.withdrawn().size(), 0u);

  // A withdrawn one may still be listed until the trainer has said so, the others all are.
  std::vector<v1::Adjustment> waiting;
  ASSERT_TRUE(ListEdits(*outside_, "job", &waiting).ok());
  std::set<int64_t> wanted, listed;
  for (const v1::Adjustment& edit : waiting) {
    EXPECT_EQ(edit.withdrawn_by() != "", withdrawer.withdrawn().count(edit.edit()) == 1) << edit.ShortDebugString();
    if (edit.withdrawn_by().empty()) listed.insert(edit.edit());
  }
  std::set<int64_t> due = withdrawer.withdrawn();
  for (const AcknowledgedEdit& edit : edits) {
    if (withdrawer.withdrawn().count(edit.id()) == 0) wanted.insert(edit.id());
    if (!IsForEver(edit)) due.insert(edit.id());
  }
  EXPECT_TRUE(listed == wanted) << listed.size() << " wait, of " << wanted.size();

  ASSERT_NO_FATAL_FAILURE(Resume());
  ASSERT_TRUE(AwaitSettled(*outside_, "job", due));
  const EditCounts counts = StopAndCheck(edits);
  std::vector<v1::Event> events;
  ASSERT_TRUE(outside_->Events("job", &events).ok());
  for (const v1::Event& event : events) {
    if (!event.has_adjusted()) continue;
    const v1::Adjustment& applied = event.adjusted().adjustment();
    EXPECT_EQ(applied.effective_step(), applied.at_step()) << "the trainer knew it long before";
    EXPECT_EQ(withdrawer.withdrawn().count(applied.edit()), 0u) << "it was withdrawn in time";
  }
  std::cout << edits.size() << " edits, " << kills << " kills, " << withdrawer.withdrawn().size() << " withdrawn, "
            << counts.applied << " applied, " << counts.dropped << " dropped" << std::endl;
  EXPECT_GT(counts.applied, 0);
}

// How many edits a log says were dropped although they may have held, and that no edit of which it says that it never
// held made the controls of any report: revisions beyond those that the log tells are of edits that may have held,
// since edits are applied in order.
int64_t CheckDropped(const std::vector<StatisticsRange>& statistics, const std::vector<v1::Event>& events,
                     int64_t control_revision) {
  int64_t last_revision = control_revision, doubtful = 0;
  for (const StatisticsRange& range : statistics) last_revision = std::max(last_revision, range.revision);
  std::map<int64_t, bool> may_have_held;  // of dropped edits that were due, by id, which is their order
  for (const v1::Event& event : events) {
    if (!event.has_adjust_dropped()) continue;
    const v1::AdjustDropped& dropped = event.adjust_dropped();
    doubtful += dropped.may_have_held() ? 1 : 0;
    if (!dropped.adjustment().has_at_step()) may_have_held[dropped.adjustment().edit()] = dropped.may_have_held();
  }
  const int64_t untold = last_revision - control_revision;
  EXPECT_LE(untold, static_cast<int64_t>(may_have_held.size())) << "revisions of no edit";
  int64_t place = 0;
  for (const auto& [edit, doubt] : may_have_held) {
    if (place++ < untold) {
      EXPECT_TRUE(doubt) << "edit " << edit << " never held, but reports have revision " << control_revision + place;
    }
  }
  return doubtful;
}

// The worker dies while people write, alone or with its server: nobody will apply what waits, and of what it was given
// last nobody knows whether it held.
TEST_F(SlowWaitingEditsTest, AreDroppedOnceWithTheirWorker) {
  std::mt19937_64 random(TestSeed());
  ASSERT_NO_FATAL_FAILURE(StartServer());
  const int rounds = IsLong() ? 20 : 3;
  for (int round = 0; round < 2 * rounds && !HasFailure(); ++round) {
    const bool server_too = round % 2 == 1;
    const std::string job = absl::StrCat(server_too ? "both-" : "worker-", round);
    Create(job, Spec(kForEver, 128, "controls: {clip: {mode: global_norm, threshold: 1000}}"));
    ASSERT_TRUE(outside_->AwaitStep(job, 10));
    const std::vector<pid_t> workers = server_->Workers(job);
    ASSERT_EQ(workers.size(), 1u);
    std::vector<std::unique_ptr<Writer>> writers;
    for (int number = 0; number < 4; ++number) {
      writers.push_back(std::make_unique<Writer>(*outside_, job, number, 100'000, absl::Milliseconds(1), random(),
                                                 [](int writer, int index, std::mt19937_64*) {
                                                   v1::AdjustJobRequest request = SomeEdit(writer, index);
                                                   if (index % 3 == 0) request.set_at_step(kNever - index);
                                                   return request;
                                                 }));
    }
    EXPECT_TRUE(AwaitAdjusted(job)) << job;
    Linger(absl::Milliseconds(random() % 500));
    if (server_too) server_->Kill();
    kill(workers[0], SIGKILL);
    if (server_too) {
      ASSERT_NO_FATAL_FAILURE(RestartServer());
    }
    ASSERT_TRUE(outside_->AwaitEnd(job)) << job;
    const std::vector<AcknowledgedEdit> edits = JoinAll(&writers);
    const v1::Job ended = Get(job);
    EXPECT_EQ(ended.state(), v1::JOB_STATE_FAILED);
    EXPECT_EQ(ended.waiting_edits(), 0);
    std::vector<v1::Event> events;
    ASSERT_TRUE(outside_->Events(job, &events).ok());
    const EditCounts counts = CheckEdits(job, edits, ended.spec().controls(), events);
    EXPECT_GT(counts.applied, 0) << job;
    EXPECT_GT(counts.dropped, 0) << job;
    EXPECT_EQ(ended.control_revision(), counts.applied + 1);
    std::vector<v1::Adjustment> waiting;
    EXPECT_TRUE(ListEdits(*outside_, job, &waiting).ok());
    EXPECT_TRUE(waiting.empty());
    auto late = Subscriber::OfJob(*outside_, job, /*events_only=*/false, /*cut_after=*/0);
    EXPECT_TRUE(late->AwaitEnd());
    const int64_t doubtful = CheckDropped(late->Stop().statistics, events, ended.control_revision());
    std::cout << job << ": " << edits.size() << " edits, " << counts.applied << " applied, " << counts.dropped
              << " dropped, of which " << doubtful << " may have held" << std::endl;
  }
}

}  // namespace
}  // namespace gradwatch::testing
