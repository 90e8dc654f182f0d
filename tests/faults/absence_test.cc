// Jobs that end while their server is away, killed, stopped or on a full disk: they have succeeded, with every alert,
// every edit from its step, and every step told.
#include <poll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <fstream>
#include <optional>
#include <set>

#include "absl/synchronization/notification.h"
#include "client/lib/uuid.h"
#include "tests/faults/alert_history.h"
#include "tests/faults/edit_history.h"
#include "tests/faults/fault_fixture.h"
#include "tests/faults/recording.h"

namespace gradwatch::testing {
namespace {

// So small that nothing is learnt, and norms stay what they are at the beginning.
constexpr double kLearningRate = 1e-7;

// Waits until a process has ended, also one that nobody reaps.
bool AwaitGone(pid_t pid, absl::Duration timeout) {
  const int descriptor = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (descriptor < 0) return true;
  pollfd entry = {descriptor, POLLIN, 0};
  const int ready = poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout)));
  close(descriptor);
  return ready == 1;
}

// A small disk of its own at a folder, until it goes out of scope. Statistics leave 96 MiB of it to the rest of the
// server: on a disk of that size alone they would wait for ever.
class SmallDisk {
 public:
  explicit SmallDisk(std::string folder) : folder_(std::move(folder)) {
    std::filesystem::create_directories(folder_);
    is_there_ = mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=384m") == 0;
  }
  ~SmallDisk() {
    if (is_there_) umount2(folder_.c_str(), MNT_DETACH);
  }
  bool is_there() const { return is_there_; }
  // Until nothing fits any more.
  void Fill() const {
    std::ofstream file(folder_ + "/balloon", std::ios::binary);
    const std::string block(4096, '\0');
    while (file.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) continue;
  }
  void Empty() const { std::filesystem::remove(folder_ + "/balloon"); }

 private:
  const std::string folder_;
  bool is_there_ = false;
};

// What a run of some steps tells of those to come.
struct Pace {
  double steps_per_second = 0;
  double log_norm = 0;  // mean of the logarithms of the gradients' norms
  double deviation = 0;

  // A norm that some `count` steps of `steps` exceed, as far as their logarithms are normal.
  double LimitFor(double count, int64_t steps) const {
    double low = 0, high = 6;  // in deviations
    for (int i = 0; i < 60; ++i) {
      const double middle = (low + high) / 2;
      (0.5 * std::erfc(middle / std::sqrt(2)) * static_cast<double>(steps) > count ? low : high) = middle;
    }
    return std::exp(log_norm + low * deviation);
  }
};

enum class Absence { kKilled, kStopped, kFullDisk };

// When the server comes back.
enum class Return {
  kAfterTheEnd,    // about a second after the end: the worker is still there, and tells it
  kAfterTheWorker  // when the worker has gone, too: it has left its last words
};

class SlowAbsenceTest : public FaultTest {
 protected:
  v1::JobSpec PacedSpec(int64_t steps, absl::string_view more = "") const {
    v1::JobSpec spec = Spec(steps, size_, more);
    spec.mutable_optimizer()->set_learning_rate(kLearningRate);
    return spec;
  }

  void Measure(const std::string& job_id) {
    ASSERT_NO_FATAL_FAILURE(Create(job_id, PacedSpec(1500)));
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_from_beginning(true);
    std::vector<v1::StepReport> reports;
    ASSERT_TRUE(outside_->Watch(request, [&reports](const v1::WatchJobResponse& response) {
      reports.insert(reports.end(), response.reports().begin(), response.reports().end());
      return response.has_ended();
    }));
    ASSERT_EQ(reports.size(), 1500u);
    // The first steps are slower than the rest.
    const absl::Duration took = ToTime(reports.back().time()) - ToTime(reports[300].time());
    pace_.steps_per_second = 1199 / absl::ToDoubleSeconds(took);
    double sum = 0, squares = 0;
    for (const v1::StepReport& report : reports) {
      sum += std::log(report.grad_norm());
      squares += std::log(report.grad_norm()) * std::log(report.grad_norm());
    }
    pace_.log_norm = sum / 1500;
    pace_.deviation = std::sqrt(squares / 1500 - pace_.log_norm * pace_.log_norm);
  }

  // Edits that do not change what is learnt, for steps all over the absence; the trainer is to know them when it
  // begins. False: the job has come too far for that.
  bool EditForLater(const std::string& job_id, int64_t first_step, int64_t steps) {
    edits_.clear();
    for (int i = 0; i < 12; ++i) {
      AcknowledgedEdit edit;
      edit.request.set_job_id(job_id);
      edit.request.set_request_id(client::RandomUuid());
      edit.request.mutable_controls()->set_report_every(5 + i);
      edit.request.mutable_update_mask()->add_paths("report_every");
      // From the last to the first; the very last is for now, and comes to the trainer behind the others.
      if (i < 11) edit.request.set_at_step(steps - 1 - (steps - first_step) * i / 11);
      const grpc::Status status = outside_->jobs->AdjustJob(Outside::Context().get(), edit.request, &edit.answer);
      // Their steps are over, or the job is.
      if (status.error_code() == grpc::StatusCode::OUT_OF_RANGE) return false;
      if (status.error_code() == grpc::StatusCode::FAILED_PRECONDITION) return false;
      EXPECT_TRUE(status.ok()) << status.error_message();
      if (!status.ok()) return false;
      edits_.push_back(std::move(edit));
    }
    EXPECT_TRUE(AwaitSettled(*outside_, job_id, {edits_.back().id()}));
    return true;
  }
  // Whether the last edit, behind which the trainer knew all others, held before the first of their steps.
  bool KnewInTime(int64_t first_step, const std::vector<v1::Event>& events) const {
    return std::any_of(events.begin(), events.end(), [&](const v1::Event& event) {
      const v1::Adjustment& applied = event.adjusted().adjustment();
      return applied.edit() == edits_.back().id() && applied.effective_step() <= first_step;
    });
  }

  void Leave(Absence how) {
    if (disk_ != nullptr) disk_->Fill();
    left_ = absl::Now();
    if (how == Absence::kStopped) {
      kill(server_->pid(), SIGSTOP);
    } else {
      server_->Kill();
    }
  }
  void ComeBack(Absence how) {
    if (how == Absence::kFullDisk) {
      server_->Launch();  // it may start or say why not
      server_->AwaitReady(absl::Seconds(3));
      disk_->Empty();
    }
    back_ = absl::Now();
    if (how == Absence::kStopped) kill(server_->pid(), SIGCONT);
    ASSERT_TRUE(server_->alive() || server_->Start()) << server_->Errors();
    ASSERT_TRUE(outside_->AwaitAnswer());
  }

  // One job that ends about `until_end` into an absence. False: it did not, since steps took longer or less long than
  // when they were measured, for they give way to all that runs on the machine; nothing is wrong.
  bool EndsMeanwhile(const std::string& job_id, Absence how, absl::Duration until_end, Return when) {
    const double seconds = absl::ToDoubleSeconds(until_end);
    const auto before = static_cast<int64_t>(2 * pace_.steps_per_second) + 100;  // steps with the server
    const int64_t steps = before + std::max<int64_t>(50, std::llround(pace_.steps_per_second * seconds));
    const v1::JobSpec spec = PacedSpec(
        steps, absl::StrCat("controls: {report_every: 4}\nrules:\n  preset: none\n  rules:\n",
                            "    - {name: flap, norm_limit: {max_norm: ", pace_.LimitFor(40, steps),
                            "}, resolve_after_steps: 1}\n    - {name: always, norm_limit: {max_norm: 1e-20}}\n"));
    Create(job_id, spec);
    EXPECT_TRUE(outside_->AwaitStep(job_id, 5));
    const bool is_in_time = EditForLater(job_id, before, steps) && outside_->AwaitStep(job_id, before);
    const std::vector<pid_t> workers = server_->Workers(job_id);
    if (!is_in_time || workers.size() != 1 || HasFailure()) {
      v1::Job job;
      EXPECT_TRUE(outside_->Get(job_id, &job).ok());
      EXPECT_NE(job.state(), v1::JOB_STATE_FAILED) << job.failure();
      EXPECT_TRUE(outside_->Delete(job_id).ok());  // it must not slow the next round down
      return HasFailure();
    }

    Leave(how);
    std::optional<LocalRun> alone;
    if (until_end > absl::Seconds(10)) alone.emplace(dir_.path(), spec);  // takes as long as the job
    absl::Notification().WaitForNotificationWithTimeout(until_end + absl::Seconds(1));
    const bool is_gone = when != Return::kAfterTheWorker || AwaitGone(workers[0], until_end * 3 + kLongWait);
    EXPECT_TRUE(is_gone) << "the worker stays for ever";
    ComeBack(how);
    if (HasFatalFailure()) return true;
    EXPECT_TRUE(outside_->AwaitEnd(job_id, until_end * 3 + kLongWait));
    if (!alone.has_value()) alone.emplace(dir_.path(), spec);
    return CheckEnd(job_id, before, steps, alone->AwaitAlerts(until_end * 3 + kLongWait));
  }

  // False: it did not end in the absence, or had come too far when it was edited.
  bool CheckEnd(const std::string& job_id, int64_t first_edited, int64_t steps,
                const std::map<std::string, int64_t>& expected_alerts) {
    const v1::Job job = Get(job_id);
    EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.failure();
    EXPECT_EQ(job.steps_done(), steps);
    EXPECT_EQ(job.attempt(), 1);
    EXPECT_EQ(job.firing_alerts(), 0);
    std::vector<v1::Event> events;
    EXPECT_TRUE(outside_->Events(job_id, &events).ok());
    CheckEvents(job_id, events, events);

    std::map<std::string, int64_t> alerts;
    const std::map<std::string, Episodes> told = ReadAlerts(events);
    for (const auto& [rule, episodes] : told) alerts[rule] = episodes.fired;
    EXPECT_EQ(alerts, expected_alerts) << "as without a server";
    const EditCounts counts = CheckEdits(job_id, edits_, job.spec().controls(), events);
    if (!KnewInTime(first_edited, events)) return false;
    EXPECT_EQ(counts.applied, 12);
    EXPECT_EQ(counts.on_time, 11);

    auto late = Subscriber::OfJob(*outside_, job_id, /*events_only=*/false, /*cut_after=*/0);
    EXPECT_TRUE(late->AwaitEnd());
    const Recording recording = late->Stop();
    CheckEvents("the subscriber", recording.events, events);
    const int64_t lost = CheckStatistics(job_id, recording.statistics, steps);
    CheckRevisions(job_id, recording.statistics, events, kLearningRate);

    const auto always = told.find("always");
    if (always == told.end() || always->second.changes.begin()->second.size() != 2) return true;  // told above
    const absl::Time end = ToTime(always->second.changes.begin()->second[1].time());
    std::cout << job_id << ": ended " << end - left_ << " into an absence of " << back_ - left_ << "; "
              << alerts["flap"] << " episodes, " << lost << " of " << steps << " steps told as lost" << std::endl;
    return end > left_ && end < back_;
  }

  void EndJobsMeanwhile(Absence how, const std::vector<absl::Duration>& until_end, Return when) {
    ASSERT_NO_FATAL_FAILURE(StartServer());
    size_ = until_end.back() > absl::Seconds(10) ? 384 : 96;
    for (const absl::Duration duration : until_end) {
      bool is_done = false;
      for (int round = 0; round < 10 && !is_done && !HasFailure(); ++round) {
        const std::string job_id = absl::StrCat("ends-after-", absl::ToInt64Seconds(duration), "-", round);
        ASSERT_NO_FATAL_FAILURE(Measure(job_id + "-pace"));
        is_done = EndsMeanwhile(job_id, how, duration, when);
      }
      EXPECT_TRUE(is_done) << "no job ended in the absence of its server";
    }
  }
  static std::vector<absl::Duration> Durations() {
    if (IsLong()) return {absl::Seconds(1), absl::Seconds(36), absl::Seconds(600)};
    return {absl::Seconds(1)};
  }

  std::unique_ptr<SmallDisk> disk_;
  int size_ = 96;
  Pace pace_;
  std::vector<AcknowledgedEdit> edits_;
  absl::Time left_, back_;
};

TEST_F(SlowAbsenceTest, OfAServerThatWasKilled) {
  EndJobsMeanwhile(Absence::kKilled, Durations(), Return::kAfterTheEnd);
}

TEST_F(SlowAbsenceTest, OfAServerThatWasKilledIsOutlivedByLastWords) {
  EndJobsMeanwhile(Absence::kKilled, Durations(), Return::kAfterTheWorker);
}

TEST_F(SlowAbsenceTest, OfAServerThatWasStopped) {
  EndJobsMeanwhile(Absence::kStopped, Durations(), IsLong() ? Return::kAfterTheWorker : Return::kAfterTheEnd);
}

TEST_F(SlowAbsenceTest, OfAServerThatWasKilledOnAFullDisk) {
  disk_ = std::make_unique<SmallDisk>(dir_.File("data"));
  if (!disk_->is_there()) GTEST_SKIP() << "no disk of its own can be mounted: that needs root";
  EndJobsMeanwhile(Absence::kFullDisk, Durations(), Return::kAfterTheEnd);
}

}  // namespace
}  // namespace gradwatch::testing
