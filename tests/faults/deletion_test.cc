// Jobs are deleted at the worst moments: while their trainer attaches, and under streams that stand at their events.
#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <thread>

#include "absl/strings/match.h"
#include "absl/synchronization/notification.h"
#include "tests/faults/fault_fixture.h"

namespace gradwatch::testing {
namespace {

namespace fs = std::filesystem;

// Alerts on every step from the first on, until an end.
constexpr char kAlertingRule[] =
    "rules: {preset: none, rules: [{name: low, norm_limit: {max_norm: 0.000001}, resolve_after_steps: 1}]}\n";

size_t FilesIn(const std::string& folder) {
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder)) ++files;
  return files;
}

class SlowDeleteRaceTest : public FaultTest {};

TEST_F(SlowDeleteRaceTest, TheServerOutlivesJobsThatAreDeletedWhileTheirTrainerAttaches) {
  std::mt19937_64 random(TestSeed());
  ASSERT_NO_FATAL_FAILURE(StartServer());
  Create("bystander", Spec(kForEver, 256));
  ASSERT_TRUE(outside_->AwaitStep("bystander", 1));
  // Other commits keep the ledger busy, so that an attach and a delete come into one.
  std::atomic<bool> stop{false};
  std::vector<std::thread> adjusters;
  for (int i = 0; i < 2; ++i) {
    adjusters.emplace_back([&] {
      while (!stop) {
        v1::AdjustJobResponse response;
        outside_->SetClip("bystander", 1, "", &response, absl::Seconds(10));
      }
    });
  }
  const v1::JobSpec spec = Spec(kForEver, 64);
  const int rounds = IsLong() ? 1000 : 120;
  for (int round = 0; round < rounds && server_->alive() && !HasFailure(); ++round) {
    Create("x", spec);
    absl::Notification().WaitForNotificationWithTimeout(absl::Milliseconds(5 + random() % 56));
    const grpc::Status deleted = outside_->Delete("x");
    EXPECT_TRUE(deleted.ok()) << "round " << round << ": " << deleted.error_code() << " " << deleted.error_message();
  }
  stop = true;
  for (std::thread& adjuster : adjusters) adjuster.join();
  ASSERT_TRUE(server_->alive()) << server_->Errors();
  EXPECT_GE(outside_->AwaitLiveStep("bystander"), 0);

  // Nothing of them is left but what is still on its way out.
  const auto left = [&] {
    return server_->Workers().size() + FilesIn(server_->data_file("logs"));
  };
  const size_t workers = 1, logs = 1;  // the bystander's
  const absl::Time deadline = absl::Now() + kLongWait;
  while (left() > workers + logs && absl::Now() < deadline) Get("bystander");
  EXPECT_LE(left(), workers + logs) << server_->Workers().size() << " workers";
}

class LeftBehindTest : public FaultTest {};

TEST_F(LeftBehindTest, AKillAfterADeletionLeavesNoFiles) {
  ASSERT_NO_FATAL_FAILURE(StartServer());
  std::vector<std::string> uids;
  for (int round = 0; round < 5; ++round) {
    Create("job", Spec(kForEver));
    ASSERT_TRUE(outside_->AwaitStep("job", 10));
    uids.push_back(Get("job").uid());
    ASSERT_TRUE(outside_->Delete("job").ok());
    server_->Kill();
    ASSERT_NO_FATAL_FAILURE(RestartServer());
  }
  const auto left = [&] {
    int files = 0;
    for (const auto& file : fs::directory_iterator(server_->data_file("logs"))) {
      const std::string name = file.path().filename().string();
      files += std::any_of(uids.begin(), uids.end(), [&](const auto& uid) { return absl::StartsWith(name, uid); });
    }
    return files;
  };
  for (const absl::Time deadline = absl::Now() + kLongWait; left() > 0 && absl::Now() < deadline;) {
    ASSERT_TRUE(outside_->AwaitAnswer());
  }
  EXPECT_EQ(left(), 0);
}

class AlertsAfterDeletionTest : public FaultTest {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(StartServer()); }

  // A job that raises alerts and ends.
  void RunJob(const std::string& job_id, int64_t steps = 300) {
    Create(job_id, Spec(steps, 16, kAlertingRule));
    ASSERT_TRUE(outside_->AwaitEnd(job_id));
  }
  size_t AlertEventsInLog(const std::string& job_id) {
    std::vector<v1::Event> events;
    EXPECT_TRUE(outside_->Events(job_id, &events).ok());
    return std::count_if(events.begin(), events.end(), [](const v1::Event& e) { return e.has_alert_changed(); });
  }

  // A stream of alerts that is read until its events are enough.
  struct AlertWatch {
    std::unique_ptr<grpc::ClientContext> context = Outside::Context();
    std::unique_ptr<grpc::ClientReader<v1::WatchAlertsResponse>> reader;
    std::string token;
    std::vector<v1::Event> events;

    size_t Count(const std::string& job_id) const {
      return std::count_if(events.begin(), events.end(), [&](const v1::Event& e) { return e.job_id() == job_id; });
    }
    // False: the stream ended before.
    bool ReadUntil(const std::string& job_id, size_t count) {
      while (Count(job_id) < count) {
        if (!ReadOne()) return false;
      }
      return true;
    }
    bool ReadOne() {
      v1::WatchAlertsResponse response;
      if (!reader->Read(&response)) return false;
      token = response.resume_token();
      events.insert(events.end(), response.events().begin(), response.events().end());
      return true;
    }
    grpc::Status End() {
      context->TryCancel();
      for (v1::WatchAlertsResponse rest; reader->Read(&rest);) {
      }
      return reader->Finish();
    }
  };
  AlertWatch Watch(const v1::WatchAlertsRequest& request) {
    AlertWatch watch;
    watch.reader = outside_->alerts->WatchAlerts(watch.context.get(), request);
    return watch;
  }
  AlertWatch Resume(const std::string& token) {
    v1::WatchAlertsRequest request;
    request.set_resume_token(token);
    return Watch(request);
  }
};

TEST_F(AlertsAfterDeletionTest, ATokenHoldsWhenTheNewestJobIsGone) {
  RunJob("old");
  RunJob("new");
  const size_t old_events = AlertEventsInLog("old"), new_events = AlertEventsInLog("new");
  ASSERT_GT(new_events, 0u);
  v1::WatchAlertsRequest from_beginning;
  from_beginning.set_from_beginning(true);
  AlertWatch first = Watch(from_beginning);
  ASSERT_TRUE(first.ReadUntil("old", old_events));
  ASSERT_TRUE(first.ReadUntil("new", new_events));
  first.End();
  ASSERT_TRUE(outside_->Delete("new").ok());

  AlertWatch resumed = Resume(first.token);
  ASSERT_TRUE(resumed.ReadOne()) << resumed.End().error_message();
  RunJob("next");
  EXPECT_TRUE(resumed.ReadUntil("next", AlertEventsInLog("next"))) << resumed.End().error_message();
  EXPECT_EQ(resumed.Count("old") + resumed.Count("new"), 0u) << "it had them";
  resumed.End();

  // And the same once more, by somebody who was away while the next job ran.
  AlertWatch late = Resume(first.token);
  EXPECT_TRUE(late.ReadUntil("next", AlertEventsInLog("next"))) << late.End().error_message();
  late.End();
}

TEST_F(AlertsAfterDeletionTest, ALiveStreamMissesNoAlertOfTheJobThatComesNext) {
  AlertWatch live = Watch({});
  ASSERT_TRUE(live.ReadOne());
  RunJob("first");
  ASSERT_TRUE(live.ReadUntil("first", AlertEventsInLog("first")));
  ASSERT_TRUE(outside_->Delete("first").ok());
  RunJob("second");
  const size_t expected = AlertEventsInLog("second");
  ASSERT_GT(expected, 0u);
  EXPECT_TRUE(live.ReadUntil("second", expected)) << live.End().error_message();
  EXPECT_EQ(live.Count("second"), expected);
  live.End();
}

TEST_F(AlertsAfterDeletionTest, TheProgramComesBackAfterARestart) {
  Process watch({"gradwatch", "--server", server_->address(), "alerts", "watch", "-o", "json"});
  // Its first words would come with the first alert: jobs follow one another until it has seen one.
  int jobs = 0;
  do {
    RunJob(absl::StrCat("n", jobs));
  } while (!watch.ReadLine(absl::Seconds(1)).has_value() && ++jobs < 30);
  for (int job = 0; job <= jobs; ++job) ASSERT_TRUE(outside_->Delete(absl::StrCat("n", job)).ok());
  ASSERT_EQ(server_->Terminate(), 0);
  ASSERT_NO_FATAL_FAILURE(RestartServer());
  RunJob("after");
  EXPECT_TRUE(watch.ReadUntil("\"after\"").has_value()) << watch.Errors();
  watch.Signal(SIGINT);
  while (watch.ReadLine().has_value()) continue;
  EXPECT_EQ(watch.Wait(), 130) << watch.Errors();
}

}  // namespace
}  // namespace gradwatch::testing
