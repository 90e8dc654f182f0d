// Deletions, attaches, changes and stops of the same few jobs, from many threads at once: whatever meets whatever in
// one commit, nothing is answered twice or never, and memory and ledger agree.
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/synchronization/blocking_counter.h"
#include "tests/server/job/job_manager_fixture.h"

namespace gradwatch::server {
namespace {

constexpr int kThreads = 4;
constexpr int kJobs = 3;
constexpr int kCallsTogether = 4;  // of one thread

int Rounds() {
  int rounds = 500;
  const char* const wanted = std::getenv("GRADWATCH_HAMMER_ROUNDS");
  if (wanted != nullptr && !absl::SimpleAtoi(wanted, &rounds)) std::abort();
  return rounds;
}

// Knows the last token of each job; whoever is killed ends a little later.
class HammerLauncher final : public Launcher {
 public:
  absl::StatusOr<std::string> Launch(const LaunchRequest& request,
                                     absl::AnyInvocable<void(const ProcessEnd&)> ended) override {
    absl::MutexLock lock(&mutex_);
    last_[request.job_id] = request;
    const std::string handle = absl::StrCat("trainer ", ++launches_);
    running_[handle] = std::move(ended);
    return handle;
  }
  void Adopt(const std::string&, const LaunchRequest&, absl::AnyInvocable<void(const ProcessEnd&)>) override {}
  void Kill(const std::string& handle) override {
    absl::MutexLock lock(&mutex_);
    const auto found = running_.find(handle);
    if (found == running_.end()) return;
    ends_.Run([ended = std::move(found->second)]() mutable {
      ended({.exit_code = 0, .signal = 9, .unknown = false, .last_output = {}});
    });
    running_.erase(found);
  }
  void RemoveOutput(const std::string&, int32_t) override {}
  LaunchRequest last(const std::string& job_id) {
    absl::MutexLock lock(&mutex_);
    return last_[job_id];
  }

 private:
  absl::Mutex mutex_;
  std::map<std::string, LaunchRequest> last_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, absl::AnyInvocable<void(const ProcessEnd&)>> running_ ABSL_GUARDED_BY(mutex_);
  int launches_ ABSL_GUARDED_BY(mutex_) = 0;
  ThreadPool ends_{"ends", 1};
};

class HammerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    ledger_ = *Ledger::Open(dir_.File("main.sqlite"), &core::RealClock());
    reader_ = *LedgerReader::Open(dir_.File("main.sqlite"));
    statistics_ = *StatisticsStore::Open(dir_.File("history"));
    executor_ = std::make_unique<ThreadPool>("slow", 2);
    launcher_ = std::make_unique<HammerLauncher>();
    jobs_ = *JobManager::Create({.ledger = ledger_.get(),
                                 .reader = reader_.get(),
                                 .statistics = statistics_.get(),
                                 .hub = &hub_,
                                 .events = &events_,
                                 .rings = &rings_,
                                 .launcher = launcher_.get(),
                                 .executor = executor_.get(),
                                 .checker = &checker_,
                                 .clock = &core::RealClock()},
                                {});
    jobs_->Start();
  }
  void TearDown() override {
    jobs_.reset();
    launcher_.reset();
    executor_.reset();
  }

  // Counts an answer, which must be the only one.
  template <typename T>
  JobManager::Done<T> Answer(absl::BlockingCounter* answers) {
    return [answers, once = std::make_unique<bool>(false)](const absl::StatusOr<T>&) {
      EXPECT_FALSE(std::exchange(*once, true)) << "answered twice";
      answers->DecrementCount();
    };
  }

  void Call(int which, const std::string& job_id, absl::BlockingCounter* answers) {
    switch (which) {
      case 0: {
        v1::DeleteJobRequest request;
        request.set_job_id(job_id);
        request.set_force(true);
        return jobs_->DeleteJob(request, "hammer", Answer<v1::DeleteJobResponse>(answers));
      }
      case 1: {
        v1::AdjustJobRequest request;
        request.set_job_id(job_id);
        request.mutable_controls()->set_learning_rate_scale(0.5);
        request.mutable_update_mask()->add_paths("learning_rate_scale");
        return jobs_->AdjustJob(request, "hammer", Answer<v1::AdjustJobResponse>(answers));
      }
      case 2: {
        v1::StopJobRequest request;
        request.set_job_id(job_id);
        return jobs_->StopJob(request, "hammer", Answer<v1::Job>(answers));
      }
      case 3:
      case 4: {
        v1::CreateJobRequest request;
        *request.mutable_spec() = SmallSpec();
        request.set_job_id(job_id);
        return jobs_->CreateJob(request, "hammer", Answer<v1::Job>(answers));
      }
      default:
        return Attach(job_id, which % 2 == 0, answers);
    }
  }

  // A trainer comes, says something, and is gone again or stays.
  void Attach(const std::string& job_id, bool goes, absl::BlockingCounter* answers) {
    const LaunchRequest launch = launcher_->last(job_id);
    v1::TrainerHello hello;
    hello.set_job_id(job_id);
    hello.set_attempt(std::max(launch.attempt, 1));
    hello.set_attach_token(launch.attach_token);
    hello.set_trainer_id(kTrainerId);
    auto link = std::make_shared<RecordingLink>();
    jobs_->Attach(hello, link,
                  [this, link, goes, answer = Answer<JobManager::Attachment>(answers)](
                      absl::StatusOr<JobManager::Attachment> attachment) mutable {
                    if (attachment.ok()) Talk(*attachment, link, goes);
                    answer(std::move(attachment));
                  });
  }
  void Talk(const JobManager::Attachment& attachment, const std::shared_ptr<RecordingLink>& link, bool goes) {
    v1::ReportBatch reports;
    reports.set_epoch(attachment.epoch);
    for (int step = 0; step < 5; ++step) reports.add_reports()->set_step(step);
    jobs_->OnReports(attachment, link, reports, [] {});
    v1::NoticeBatch notices;
    notices.set_epoch(attachment.epoch);
    notices.add_notices()->set_number(1);
    notices.mutable_notices(0)->mutable_model_ready();
    jobs_->OnNotices(attachment, link, notices, [] {});
    if (goes) jobs_->OnDetached(attachment, link, "gone");
  }

  void Hammer(int seed, int rounds) {
    std::minstd_rand random(seed);
    for (int round = 0; round < rounds; ++round) {
      const std::string job_id = absl::StrCat("job-", random() % kJobs);
      absl::BlockingCounter answers(kCallsTogether);
      for (int call = 0; call < kCallsTogether; ++call) Call(static_cast<int>(random() % 9), job_id, &answers);
      answers.Wait();
      if (random() % 8 == 0) jobs_->Tick();
    }
  }

  // Waits for what nobody waits for: the clean-up after deletions, ends of trainers.
  void Settle() {
    for (int round = 0; round < 30; ++round) {
      absl::Notification slow, stored, committed;
      executor_->Run([&] { slow.Notify(); });
      slow.WaitForNotification();
      statistics_->Barrier([&] { stored.Notify(); });
      stored.WaitForNotification();
      ledger_->Submit([&](LedgerTransaction& transaction) {
        transaction.OnCommit([&](const absl::Status&) { committed.Notify(); });
        return absl::OkStatus();
      });
      committed.WaitForNotification();
    }
  }

  static constexpr char kTrainerId[] = "11111111-2222-4333-8444-555555555555";

  testing::TempDir dir_;
  Hub hub_{1, 1};
  EventChannel events_{0, size_t{1} << 20};
  RingBudget rings_{size_t{8} << 20, size_t{1} << 20};
  DirectChecker checker_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<LedgerReader> reader_;
  std::unique_ptr<StatisticsStore> statistics_;
  std::unique_ptr<ThreadPool> executor_;
  std::unique_ptr<HammerLauncher> launcher_;
  std::unique_ptr<JobManager> jobs_;
};

TEST_F(HammerTest, DeletionsAttachesChangesAndStopsTogether) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back([this, i] { Hammer(i + 1, Rounds() / kThreads); });
  for (std::thread& thread : threads) thread.join();
  Settle();

  const std::vector<JobRow> rows = *ledger_->LoadJobs();
  std::map<std::string, v1::Job> table;
  for (const JobRow& row : rows) {
    const auto job = jobs_->GetJob(row.job.job_id());
    ASSERT_TRUE(job.ok()) << job.status();
    EXPECT_EQ(job->uid(), row.job.uid());
    EXPECT_EQ(job->state(), row.job.state());
    EXPECT_EQ(job->control_revision(), row.job.control_revision());
    const auto events = reader_->ReadEvents(job->uid(), 0, 1'000'000, size_t{1} << 30);
    EXPECT_EQ(static_cast<int64_t>(events->size()), job->last_event());
    table[job->uid()] = *job;
  }
  EXPECT_EQ(static_cast<size_t>(jobs_->ListJobs({})->jobs_size()), rows.size());
  for (const std::string& uid : statistics_->Uids()) {
    EXPECT_TRUE(table.contains(uid)) << uid << " belongs to a job that was deleted";
  }
}

}  // namespace
}  // namespace gradwatch::server
