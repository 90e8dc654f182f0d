// kill -9 of the server, again and again, under jobs, subscribers and a client that changes clips: afterwards nothing
// is lost, nothing is double, and every acknowledged change held from the step that was told.
#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <map>
#include <set>
#include <thread>

#include "absl/synchronization/notification.h"
#include "client/lib/uuid.h"
#include "tests/faults/edit_history.h"
#include "tests/faults/fault_fixture.h"
#include "tests/faults/recording.h"

namespace gradwatch::testing {
namespace {

// Changes the clips of jobs until it is stopped; asks again until it is answered, and once more after every kill what
// was answered before.
class Adjuster {
 public:
  Adjuster(const Outside& outside, std::vector<std::string> jobs, uint64_t seed)
      : outside_(outside), jobs_(std::move(jobs)), random_(seed), thread_([this] { Run(); }) {}
  ~Adjuster() { Stop(); }

  void OnRestart() { restarted_.store(true); }
  std::vector<AcknowledgedEdit> Stop() {
    if (!stop_.HasBeenNotified()) stop_.Notify();
    if (thread_.joinable()) thread_.join();
    return changes_;
  }
  int repeated() const { return repeated_; }

 private:
  void Run() {
    while (!stop_.HasBeenNotified()) {
      if (restarted_.exchange(false) && !changes_.empty()) {
        Repeat(changes_.back());
        Repeat(changes_[random_() % changes_.size()]);
      }
      AcknowledgedEdit change;
      change.request.set_job_id(jobs_[random_() % jobs_.size()]);
      change.request.set_request_id(client::RandomUuid());
      // Far below and far above all norms in turn, so that updates, and with them an alert, change with it.
      change.request.mutable_controls()->mutable_clip()->set_threshold((changes_.size() % 2 == 0 ? 1e-4 : 1e3) +
                                                                       static_cast<double>(changes_.size()) * 1e-6);
      change.request.mutable_update_mask()->add_paths("clip.threshold");
      if (Ask(change.request, &change.answer)) changes_.push_back(change);
      stop_.WaitForNotificationWithTimeout(absl::Milliseconds(random_() % 60));
    }
  }
  // Until the server answers. It may have done at the first time what it answers at the third.
  bool Ask(const v1::AdjustJobRequest& request, v1::AdjustJobResponse* answer) {
    const grpc::Status status = AskUntilAnswered(
        outside_, [&] { return outside_.jobs->AdjustJob(Outside::Context().get(), request, answer); }, give_up_);
    EXPECT_TRUE(status.ok()) << request.job_id() << ": " << status.error_code() << " " << status.error_message();
    return status.ok();
  }
  void Repeat(const AcknowledgedEdit& change) {
    v1::AdjustJobResponse answer;
    if (!Ask(change.request, &answer)) return;
    ++repeated_;
    EXPECT_EQ(answer.SerializeAsString(), change.answer.SerializeAsString())
        << answer.ShortDebugString() << "\nwas first " << change.answer.ShortDebugString();
  }

  const Outside& outside_;
  const std::vector<std::string> jobs_;
  const absl::Time give_up_ = absl::Now() + 2 * kLongWait;
  std::mt19937_64 random_;
  absl::Notification stop_;
  std::atomic<bool> restarted_{false};
  std::vector<AcknowledgedEdit> changes_;  // of the thread, until it is joined
  int repeated_ = 0;                       // also
  std::thread thread_;
};

class SlowKillTest : public FaultTest {
 protected:
  // A moment to kill is random in time: there is nothing to wait for.
  static void Linger(absl::Duration duration) { absl::Notification().WaitForNotificationWithTimeout(duration); }

  // Kills the server `kills` times, each time after a random while: on its way up, or when all is going on.
  void KillAgainAndAgain(int kills, std::mt19937_64* random, Adjuster* adjuster) {
    for (int kill = 0; kill < kills; ++kill) {
      const bool at_start = (*random)() % 5 == 0;
      if (!at_start) {
        ASSERT_TRUE(server_->AwaitReady()) << "after " << kill << " kills: " << server_->Errors();
        adjuster->OnRestart();
      }
      Linger(absl::Milliseconds((*random)() % (at_start ? 60 : 2500)));
      ASSERT_TRUE(server_->alive()) << "it ended by itself: " << server_->Errors();
      server_->Kill();
      server_->Launch();
    }
    ASSERT_TRUE(server_->AwaitReady()) << server_->Errors();
    ASSERT_TRUE(outside_->AwaitAnswer());
    adjuster->OnRestart();
  }

  // Until the trainer uses the newest controls.
  void AwaitControls(const std::string& job_id, const std::vector<AcknowledgedEdit>& edits) {
    std::set<int64_t> ids;
    for (const AcknowledgedEdit& edit : edits) ids.insert(edit.id());
    EXPECT_TRUE(AwaitSettled(*outside_, job_id, std::move(ids))) << job_id;
    const int64_t revision = Get(job_id).control_revision();
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    EXPECT_TRUE(outside_->Watch(request, [&](const v1::WatchJobResponse& response) {
      return std::any_of(response.reports().begin(), response.reports().end(),
                         [&](const v1::StepReport& report) { return report.control_revision() >= revision; });
    })) << job_id;
  }
};

TEST_F(SlowKillTest, NothingIsLostAndNothingIsDouble) {
  std::mt19937_64 random(TestSeed());
  ASSERT_NO_FATAL_FAILURE(StartServer());
  const std::vector<std::string> jobs = {"alpha", "beta", "gamma"};
  for (const std::string& job : jobs) {
    Create(job, Spec(kForEver, 192, R"(
controls: {report_every: 10, clip: {mode: global_norm, threshold: 1000}}
rules: {preset: none, rules: [{name: large-update, update_ratio: {max_ratio: 0.0001}, resolve_after_steps: 1}]}
)"));
    ASSERT_TRUE(outside_->AwaitStep(job, 110)) << "an update is judged from step 100 on";
  }
  Outside watching(server_->address());
  auto alpha = Subscriber::OfJob(watching, "alpha", /*events_only=*/false, /*cut_after=*/0);
  auto beta = Subscriber::OfJob(watching, "beta", /*events_only=*/false, /*cut_after=*/17);
  auto gamma = Subscriber::OfJob(watching, "gamma", /*events_only=*/true, /*cut_after=*/0);
  auto alerts = Subscriber::OfAlerts(watching);
  Adjuster adjuster(*outside_, jobs, random());

  KillAgainAndAgain(IsLong() ? 60 : 5, &random, &adjuster);
  const std::vector<AcknowledgedEdit> changes = adjuster.Stop();
  std::map<std::string, std::vector<AcknowledgedEdit>> edits;
  for (const AcknowledgedEdit& change : changes) edits[change.request.job_id()].push_back(change);
  std::map<std::string, std::vector<v1::Event>> logs;
  std::map<std::string, int64_t> steps;
  for (const std::string& job : jobs) {
    AwaitControls(job, edits[job]);
    ASSERT_TRUE(outside_->Stop(job).ok());
    ASSERT_TRUE(outside_->AwaitEnd(job)) << job;
    ASSERT_TRUE(outside_->Events(job, &logs[job]).ok());
    steps[job] = Get(job).steps_done();
    EXPECT_EQ(Get(job).state(), v1::JOB_STATE_STOPPED) << Get(job).failure();
  }

  size_t alert_events = 0;
  for (const auto& [job, log] : logs) {
    alert_events += std::count_if(log.begin(), log.end(), [](const v1::Event& e) { return e.has_alert_changed(); });
    CheckEvents(job, log, log);
    EXPECT_EQ(CheckEdits(job, edits[job], Get(job).spec().controls(), log).dropped, 0) << job;
  }
  EXPECT_TRUE(alerts->AwaitEvents(alert_events));
  const Recording told_alerts = alerts->Stop();
  EXPECT_EQ(told_alerts.error, "");
  CheckAlerts(told_alerts.events, logs);

  int64_t lost = 0, told = 0, streams = told_alerts.streams;
  const auto check = [&](const std::string& who, const std::string& job, Subscriber* subscriber, bool statistics) {
    EXPECT_TRUE(subscriber->AwaitEnd()) << who;
    const Recording recording = subscriber->Stop();
    EXPECT_EQ(recording.error, "") << who;
    CheckEvents(who, recording.events, logs[job]);
    streams += recording.streams;
    if (!statistics) return;
    lost += CheckStatistics(who, recording.statistics, steps[job]);
    told += steps[job];
    CheckRevisions(who, recording.statistics, logs[job]);
  };
  check("alpha", "alpha", alpha.get(), true);
  check("beta, which cuts its streams", "beta", beta.get(), true);
  check("gamma, events only", "gamma", gamma.get(), false);
  for (const std::string& job : jobs) {  // and what is read of it afterwards
    auto late = Subscriber::OfJob(watching, job, /*events_only=*/false, /*cut_after=*/0);
    check(absl::StrCat(job, ", read afterwards"), job, late.get(), true);
  }
  std::cout << changes.size() << " changes, " << adjuster.repeated() << " repeated after a kill, " << streams
            << " streams, " << alert_events << " changes of alerts, " << told << " steps told" << std::endl;
  EXPECT_EQ(lost, 0) << "the trainers keep what is not acknowledged, and a commit outlives kill -9";
  EXPECT_GT(changes.size(), 0u);
  EXPECT_GT(alert_events, 0u);
}

// The kernel ends a stopped process whose group has lost its last parent.
TEST_F(SlowKillTest, AStoppedTrainerOutlivesItsServer) {
  ASSERT_NO_FATAL_FAILURE(StartServer());
  Create("job", Spec(kForEver, 64));
  ASSERT_TRUE(outside_->AwaitStep("job", 10));
  const std::vector<pid_t> workers = server_->Workers("job");
  ASSERT_EQ(workers.size(), 1u);
  kill(workers[0], SIGSTOP);
  server_->Kill();
  ASSERT_NO_FATAL_FAILURE(RestartServer());
  kill(workers[0], SIGCONT);
  EXPECT_GE(outside_->AwaitLiveStep("job"), 0);
  EXPECT_EQ(Get("job").attempt(), 1);
}

// A trainer that can keep little while the server is away: what it could not keep is told as lost, whatever is killed
// between the reports, the gaps in them, and their acknowledgement.
TEST_F(SlowKillTest, WhatATrainerCouldNotKeepIsToldAsLostOnce) {
  std::mt19937_64 random(TestSeed());
  ASSERT_NO_FATAL_FAILURE(StartServerWithForgetfulTrainers());
  Create("job", Spec(kForEver, 64));
  ASSERT_TRUE(outside_->AwaitStep("job", 100));
  Outside watching(server_->address());
  auto subscriber = Subscriber::OfJob(watching, "job", /*events_only=*/false, /*cut_after=*/0);
  for (int kill = 0; kill < (IsLong() ? 60 : 8); ++kill) {
    server_->Kill();
    Linger(absl::Milliseconds(random() % 300));
    ASSERT_NO_FATAL_FAILURE(RestartServer());
    // Mostly while the trainer attaches and sends what it has kept.
    Linger(absl::Milliseconds(random() % (kill % 4 == 0 ? 2500 : 400)));
    ASSERT_TRUE(server_->alive()) << "it ended by itself: " << server_->Errors();
  }
  ASSERT_GE(outside_->AwaitLiveStep("job"), 0);
  ASSERT_TRUE(outside_->Stop("job").ok());
  ASSERT_TRUE(outside_->AwaitEnd("job"));
  const int64_t steps = Get("job").steps_done();
  ASSERT_TRUE(subscriber->AwaitEnd());
  const Recording recording = subscriber->Stop();
  EXPECT_EQ(recording.error, "");
  CheckEvents("the subscriber", recording.events, recording.events);
  const int64_t lost = CheckStatistics("the subscriber", recording.statistics, steps);
  EXPECT_GT(lost, 0) << "of " << steps;
  auto late = Subscriber::OfJob(watching, "job", /*events_only=*/false, /*cut_after=*/0);
  ASSERT_TRUE(late->AwaitEnd());
  EXPECT_EQ(CheckStatistics("read afterwards", late->Stop().statistics, steps), lost);
  std::cout << lost << " of " << steps << " steps are told as lost" << std::endl;
}

// Both die: the job fails, and what was reported of it stays whole.
TEST_F(SlowKillTest, AWorkerThatDiesWithItsServerFailsItsJobAlone) {
  std::mt19937_64 random(TestSeed());
  ASSERT_NO_FATAL_FAILURE(StartServer());
  Create("bystander", Spec(kForEver, 192));
  for (int round = 0; round < (IsLong() ? 12 : 3); ++round) {
    const std::string job = absl::StrCat("casualty-", round);
    Create(job, Spec(kForEver, 192));
    ASSERT_TRUE(outside_->AwaitStep(job, static_cast<int64_t>(random() % 100)));
    const std::vector<pid_t> workers = server_->Workers(job);
    ASSERT_EQ(workers.size(), 1u);
    // Before the server, or while there is none, or when it is there again.
    if (round % 3 == 0) kill(workers[0], SIGKILL);
    server_->Kill();
    if (round % 3 == 1) kill(workers[0], SIGKILL);
    ASSERT_NO_FATAL_FAILURE(RestartServer());
    if (round % 3 == 2) kill(workers[0], SIGKILL);
    ASSERT_TRUE(outside_->AwaitEnd(job)) << job;
    const v1::Job ended = Get(job);
    EXPECT_EQ(ended.state(), v1::JOB_STATE_FAILED);
    auto late = Subscriber::OfJob(*outside_, job, /*events_only=*/false, /*cut_after=*/0);
    EXPECT_TRUE(late->AwaitEnd());
    const Recording recording = late->Stop();
    EXPECT_EQ(recording.error, "");
    CheckEvents(job, recording.events, recording.events);
    EXPECT_EQ(CheckStatistics(job, recording.statistics, ended.steps_done()), 0) << job;
    EXPECT_EQ(ended.last_event(), static_cast<int64_t>(recording.events.size()));
  }
  EXPECT_GE(outside_->AwaitLiveStep("bystander"), 0);
  EXPECT_EQ(Get("bystander").state(), v1::JOB_STATE_RUNNING);
}

}  // namespace
}  // namespace gradwatch::testing
