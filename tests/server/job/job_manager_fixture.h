// A job manager with real stores in a folder of its own, a launcher and trainers that a test plays, and a clock that it
// moves.
#ifndef GRADWATCH_TESTS_SERVER_JOB_JOB_MANAGER_FIXTURE_H_
#define GRADWATCH_TESTS_SERVER_JOB_JOB_MANAGER_FIXTURE_H_

#include <gmock/gmock.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/notification.h"
#include "server/job/job_manager.h"
#include "server/job/job_state.h"
#include "tests/server/history/failing_disk.h"
#include "tests/support/fake_clock.h"
#include "tests/support/long_wait.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {

// Starts nothing; the test says how a process ends. Its handles are "trainer 1001" and so on; the test knows the
// number.
class FakeLauncher final : public Launcher {
 public:
  using Ended = absl::AnyInvocable<void(const ProcessEnd&)>;

  absl::StatusOr<std::string> Launch(const LaunchRequest& request, Ended ended) override {
    absl::MutexLock lock(&mutex_);
    if (!failure_.ok()) return failure_;
    launches_.push_back(request);
    const int32_t pid = 1000 + static_cast<int32_t>(launches_.size());
    running_[pid] = std::move(ended);
    return absl::StrCat("trainer ", pid);
  }
  void Adopt(const std::string& handle, const LaunchRequest&, Ended ended) override {
    if (gone) return ended({.unknown = true, .last_output = {}});
    absl::MutexLock lock(&mutex_);
    adopted_.push_back(NumberOf(handle));
    running_[NumberOf(handle)] = std::move(ended);
  }
  // Only what it has launched or adopted, as a real one does.
  void Kill(const std::string& handle) override {
    absl::MutexLock lock(&mutex_);
    if (running_.contains(NumberOf(handle))) killed_.push_back(NumberOf(handle));
  }
  void RemoveOutput(const std::string& uid, int32_t attempts) override {
    absl::MutexLock lock(&mutex_);
    removed_.push_back(absl::StrCat(uid, " ", attempts));
  }

  std::atomic<bool> gone = false;  // processes of an earlier life of the server have ended meanwhile

  void FailWith(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    failure_ = std::move(status);
  }
  // The process ends.
  void End(int32_t pid, const ProcessEnd& end) {
    Ended ended;
    {
      absl::MutexLock lock(&mutex_);
      ended = std::move(running_.at(pid));
      running_.erase(pid);
    }
    ended(end);
  }
  std::vector<LaunchRequest> launches() const {
    absl::MutexLock lock(&mutex_);
    return launches_;
  }
  std::vector<int32_t> adopted() const {
    absl::MutexLock lock(&mutex_);
    return adopted_;
  }
  std::vector<int32_t> killed() const {
    absl::MutexLock lock(&mutex_);
    return killed_;
  }
  // "UID 1" for each job whose output was removed, and the number of its attempts. Waits until there is one: the
  // statistics go before, on a thread of the store's that Settle does not wait for.
  std::vector<std::string> AwaitRemoved() const {
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(
                                +[](const std::vector<std::string>* removed) { return !removed->empty(); }, &removed_),
                            gradwatch::testing::kLongWait);
    return removed_;
  }

 private:
  static int32_t NumberOf(absl::string_view handle) {
    int32_t number = 0;
    EXPECT_TRUE(absl::ConsumePrefix(&handle, "trainer ") && absl::SimpleAtoi(handle, &number)) << handle;
    return number;
  }

  mutable absl::Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::vector<LaunchRequest> launches_ ABSL_GUARDED_BY(mutex_);
  std::map<int32_t, Ended> running_ ABSL_GUARDED_BY(mutex_);
  std::vector<int32_t> adopted_ ABSL_GUARDED_BY(mutex_);
  std::vector<int32_t> killed_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> removed_ ABSL_GUARDED_BY(mutex_);
};

// Keeps what was sent.
class RecordingLink final : public TrainerLink {
 public:
  // What the server hears of the trainer as time passes: its heartbeats, unless the test says otherwise.
  std::atomic<Heard> heard = Heard::kMessage;

  Heard TakeHeard() override { return heard; }
  void Send(v1::TrainerDirective directive) override {
    absl::MutexLock lock(&mutex_);
    sent_.push_back(std::move(directive));
  }
  void Close(const absl::Status& status) override {
    absl::MutexLock lock(&mutex_);
    if (!closed_.has_value()) closed_ = status;
  }
  std::vector<v1::TrainerDirective> sent() const {
    absl::MutexLock lock(&mutex_);
    return sent_;
  }
  std::optional<absl::Status> closed() const {
    absl::MutexLock lock(&mutex_);
    return closed_;
  }

 private:
  mutable absl::Mutex mutex_;
  std::vector<v1::TrainerDirective> sent_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> closed_ ABSL_GUARDED_BY(mutex_);
};

// A real store with a disk that may be full or away.
class TestStatistics final : public StatisticsStore {
 public:
  explicit TestStatistics(std::unique_ptr<StatisticsStore> real) : real_(std::move(real)) {}

  std::atomic<bool> full = false;
  std::atomic<bool> away = false;

  // Keeps what is appended for a job from now on, until Release writes it, or fails it, or LetThrough writes it and
  // goes on to keep what comes then.
  void Hold(std::string uid) {
    absl::MutexLock lock(&mutex_);
    held_uid_ = std::move(uid);
  }
  void Release(const absl::Status& status = absl::OkStatus()) { GiveBack(/*goes_on=*/false, status); }
  void LetThrough() { GiveBack(/*goes_on=*/true, absl::OkStatus()); }
  size_t kept() {
    absl::MutexLock lock(&mutex_);
    return kept_.size();
  }

  void Append(absl::string_view uid, std::vector<EncodedReport> reports, AppendDone done) override {
    {
      absl::MutexLock lock(&mutex_);
      if (uid == held_uid_) return kept_.push_back({std::move(reports), std::move(done)});
    }
    Write(uid, std::move(reports), std::move(done));
  }
  void Write(absl::string_view uid, std::vector<EncodedReport> reports, AppendDone done) {
    if (!full) return real_->Append(uid, std::move(reports), std::move(done));
    real_->Barrier([reports = std::move(reports), done = std::move(done)]() mutable {
      done(absl::ResourceExhaustedError("the disk is full"), std::move(reports));
    });
  }
  void Barrier(absl::AnyInvocable<void()> done) override { real_->Barrier(std::move(done)); }
  void Remove(absl::string_view uid, absl::AnyInvocable<void()> done) override {
    if (!away) real_->Remove(uid, std::move(done));
  }
  std::vector<std::string> Uids() const override { return real_->Uids(); }
  void Settle(absl::AnyInvocable<void(const absl::Status&)> done) override { real_->Settle(std::move(done)); }
  Found found() const override { return real_->found(); }
  void Protect(absl::string_view uid, int32_t attempt, int64_t first_step, int64_t last_step) override {
    absl::MutexLock lock(&mutex_);
    protected_.push_back(absl::StrCat(attempt, ": ", first_step, " to ", last_step));
    real_->Protect(uid, attempt, first_step, last_step);
  }
  // What was protected of all jobs.
  std::vector<std::string> protected_ranges() {
    absl::MutexLock lock(&mutex_);
    return protected_;
  }
  void SetBudget(absl::string_view uid, const RetentionBudget& budget) override { real_->SetBudget(uid, budget); }
  void KeepBudgets() override { real_->KeepBudgets(); }
  absl::StatusOr<std::unique_ptr<BlockSource>> Source(absl::string_view uid, int32_t attempt) override {
    return real_->Source(uid, attempt);
  }
  std::vector<std::string> LayerNames(absl::string_view uid) const override { return real_->LayerNames(uid); }
  StoreUsage Usage() const override { return real_->Usage(); }
  JobUsage UsageOf(absl::string_view uid) const override { return real_->UsageOf(uid); }
  absl::StatusOr<std::vector<EncodedReport>> ReadAfter(absl::string_view uid, int32_t attempt, int64_t step,
                                                       size_t max_bytes) override {
    if (away) return absl::UnavailableError("cannot be read now");
    return real_->ReadAfter(uid, attempt, step, max_bytes);
  }
  absl::StatusOr<int64_t> LastStep(absl::string_view uid, int32_t attempt) const override {
    if (away) return absl::UnavailableError("cannot be read now");
    return real_->LastStep(uid, attempt);
  }

 private:
  struct Kept {
    std::vector<EncodedReport> reports;
    AppendDone done;
  };
  void GiveBack(bool goes_on, const absl::Status& status) {
    std::vector<Kept> kept;
    std::string uid;
    {
      absl::MutexLock lock(&mutex_);
      kept.swap(kept_);
      uid = held_uid_;
      if (!goes_on) held_uid_.clear();
    }
    for (Kept& append : kept) {
      if (status.ok()) {
        Write(uid, std::move(append.reports), std::move(append.done));
      } else {
        append.done(status, std::move(append.reports));
      }
    }
  }
  const std::unique_ptr<StatisticsStore> real_;
  absl::Mutex mutex_;
  std::string held_uid_ ABSL_GUARDED_BY(mutex_);
  std::vector<Kept> kept_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> protected_ ABSL_GUARDED_BY(mutex_);
};

// Runs tasks where they are handed in, or keeps them while it is held.
class TestExecutor final : public Executor {
 public:
  void Run(absl::AnyInvocable<void()> task) override {
    {
      absl::MutexLock lock(&mutex_);
      if (held_) return tasks_.push_back(std::move(task));
    }
    task();
  }
  void Hold() {
    absl::MutexLock lock(&mutex_);
    held_ = true;
  }
  // Runs the newest of what was kept, here: threads take their time.
  void RunLast() {
    absl::AnyInvocable<void()> task;
    {
      absl::MutexLock lock(&mutex_);
      task = std::move(tasks_.back());
      tasks_.pop_back();
    }
    task();
  }
  // Runs what was kept, here.
  void Release() {
    std::vector<absl::AnyInvocable<void()>> tasks;
    {
      absl::MutexLock lock(&mutex_);
      held_ = false;
      tasks.swap(tasks_);
    }
    for (auto& task : tasks) task();
  }

 private:
  absl::Mutex mutex_;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<absl::AnyInvocable<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
};

// Checks specs where it is asked.
class DirectChecker final : public SpecChecker {
 public:
  void Check(v1::JobSpec spec, Done done) override { done(core::ValidateJob(spec, roots, core::SpecLimits())); }

  core::DataRoots roots;
};

// A small hosted job.
inline v1::JobSpec SmallSpec() {
  v1::JobSpec spec;
  spec.set_steps(1000);
  v1::Dense* const dense = spec.mutable_model()->add_layers()->mutable_dense();
  dense->set_units(2);
  dense->set_bias(false);  // one tensor, dense0.weight
  spec.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY);
  spec.mutable_data()->set_batch_size(4);
  spec.mutable_data()->mutable_gaussian_clusters()->set_classes(2);
  spec.mutable_data()->mutable_gaussian_clusters()->set_features(3);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  return spec;
}

// The rule of an alert, and its episode if it is not the first.
inline std::string ShortAlert(const v1::Alert& alert) {
  return alert.episode() == 1 ? alert.rule() : absl::StrCat(alert.rule(), " ", alert.episode());
}

// What an event says, in short, to compare whole logs: "RUNNING", "attached", "requested 2", "adjusted 2 from 5".
inline std::string Short(const v1::Event& event) {
  switch (event.what_case()) {
    case v1::Event::kStateChanged:
      return StateName(event.state_changed().to());
    case v1::Event::kAdjustRequested:
      return absl::StrCat(
          event.adjust_requested().adjustment().withdrawn_by().empty() ? "requested " : "withdrawal of ",
          event.adjust_requested().adjustment().edit());
    case v1::Event::kAdjusted:
      return absl::StrCat("adjusted ", event.adjusted().adjustment().edit(), " from ",
                          event.adjusted().adjustment().effective_step());
    case v1::Event::kAdjustDropped:
      return absl::StrCat("dropped ", event.adjust_dropped().adjustment().edit());
    case v1::Event::kAlertChanged:
      return absl::StrCat(v1::AlertState_Name(event.alert_changed().alert().state()).substr(12), " ",
                          ShortAlert(event.alert_changed().alert()));
    case v1::Event::kTrainerAttached:
      return "attached";
    case v1::Event::kTrainerDetached:
      return absl::StrCat("detached: ", event.trainer_detached().reason());
    case v1::Event::kDataLoss:
      return event.data_loss().description();
    case v1::Event::kJobUpdated:
      return absl::StrCat("updated ", event.job_updated().display_name());
    default:
      return "?";
  }
}

class JobManagerTest : public ::testing::Test {
 protected:
  static constexpr char kTrainerId[] = "11111111-2222-4333-8444-555555555555";

  void SetUp() override { StartServer(); }
  void TearDown() override { StopServer(); }

  void StartServer() {
    OpenStores();
    MakeManager();
    jobs_->Start();
    Settle();
  }
  void OpenStores() {
    spdlog::set_level(spdlog::level::off);
    auto ledger = Ledger::Open(dir_.File("main.sqlite"), &clock_);
    ASSERT_TRUE(ledger.ok()) << ledger.status();
    ledger_ = *std::move(ledger);
    auto reader = LedgerReader::Open(dir_.File("main.sqlite"));
    ASSERT_TRUE(reader.ok()) << reader.status();
    reader_ = *std::move(reader);
    StoreOptions store;
    store.clock = &clock_;
    store.env = QuickDisk();
    auto statistics = StatisticsStore::Open(dir_.File("history"), std::move(store));
    ASSERT_TRUE(statistics.ok()) << statistics.status();
    statistics_ = std::make_unique<TestStatistics>(*std::move(statistics));
    hub_ = std::make_unique<Hub>(1, 1);
    events_ = std::make_unique<EventChannel>(*reader_->LastPosition(), size_t{1} << 20);
    rings_ = std::make_unique<RingBudget>(size_t{64} << 20, size_t{8} << 20);
    launcher_ = std::make_unique<FakeLauncher>();
  }
  void MakeManager() {
    auto jobs = JobManager::Create({.ledger = ledger_.get(),
                                    .reader = reader_.get(),
                                    .statistics = statistics_.get(),
                                    .hub = hub_.get(),
                                    .events = events_.get(),
                                    .rings = rings_.get(),
                                    .launcher = launcher_.get(),
                                    .executor = &executor_,
                                    .checker = &checker_,
                                    .clock = &clock_},
                                   options_);
    ASSERT_TRUE(jobs.ok()) << jobs.status();
    jobs_ = *std::move(jobs);
  }
  // As a crash would leave it: nothing is told to anybody.
  void StopServer() {
    jobs_.reset();
    launcher_.reset();
    hub_.reset();  // may hold watches, and they the rings
    rings_.reset();
    events_.reset();
    statistics_.reset();
    reader_.reset();
    ledger_.reset();
  }
  void RestartServer() {
    StopServer();
    StartServer();
  }

  // Waits until nothing is on its way. Work goes between the two stores' threads in a few hops; each round waits for
  // one hop on either.
  void Settle() {
    for (int round = 0; round < 12; ++round) {
      absl::Notification stored;
      statistics_->Barrier([&] { stored.Notify(); });
      stored.WaitForNotification();
      Commit();
    }
  }
  // Waits for the operations that are submitted now.
  void Commit() {
    absl::Notification committed;
    ledger_->Submit([&](LedgerTransaction& transaction) {
      transaction.OnCommit([&](const absl::Status&) { committed.Notify(); });
      return absl::OkStatus();
    });
    committed.WaitForNotification();
  }

  // Calls `method` of the manager and waits for its answer and all that follows from it.
  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(void (JobManager::*method)(Request, std::string, JobManager::Done<Response>),
                                Request request) {
    absl::StatusOr<Response> answer;
    absl::Notification answered;
    (jobs_.get()->*method)(std::move(request), "tester", [&](absl::StatusOr<Response> result) {
      answer = std::move(result);
      answered.Notify();
    });
    answered.WaitForNotification();
    Settle();
    return answer;
  }
  absl::StatusOr<v1::Job> Create(v1::CreateJobRequest request) { return Call(&JobManager::CreateJob, request); }
  absl::StatusOr<v1::Job> Create(const std::string& job_id) {
    v1::CreateJobRequest request;
    *request.mutable_spec() = SmallSpec();
    request.set_job_id(job_id);
    return Create(request);
  }
  absl::StatusOr<v1::Job> Pause(const std::string& job_id) {
    v1::PauseJobRequest request;
    request.set_job_id(job_id);
    return Call(&JobManager::PauseJob, request);
  }
  absl::StatusOr<v1::Job> Resume(const std::string& job_id) {
    v1::ResumeJobRequest request;
    request.set_job_id(job_id);
    return Call(&JobManager::ResumeJob, request);
  }
  absl::StatusOr<v1::Job> Stop(const std::string& job_id, std::optional<double> grace_seconds = std::nullopt) {
    v1::StopJobRequest request;
    request.set_job_id(job_id);
    if (grace_seconds.has_value()) request.set_grace_seconds(*grace_seconds);
    return Call(&JobManager::StopJob, request);
  }
  absl::StatusOr<v1::DeleteJobResponse> Delete(const std::string& job_id, bool force = false) {
    v1::DeleteJobRequest request;
    request.set_job_id(job_id);
    request.set_force(force);
    return Call(&JobManager::DeleteJob, request);
  }
  static v1::AdjustJobRequest ScaleRequest(const std::string& job_id, double scale) {
    v1::AdjustJobRequest request;
    request.set_job_id(job_id);
    request.mutable_controls()->set_learning_rate_scale(scale);
    request.mutable_update_mask()->add_paths("learning_rate_scale");
    return request;
  }
  absl::StatusOr<v1::AdjustJobResponse> Adjust(v1::AdjustJobRequest request) {
    return Call(&JobManager::AdjustJob, std::move(request));
  }
  absl::StatusOr<v1::CancelEditResponse> Cancel(const std::string& job_id, int64_t edit) {
    v1::CancelEditRequest request;
    request.set_job_id(job_id);
    request.set_edit(edit);
    return Call(&JobManager::CancelEdit, request);
  }
  // The edits that wait, in their order: "3" or "3@100" for each.
  std::vector<std::string> Waiting(const std::string& job_id) {
    v1::ListEditsRequest request;
    request.set_job_id(job_id);
    request.set_page_size(1000);
    const auto page = jobs_->ListEdits(request);
    EXPECT_TRUE(page.ok()) << page.status();
    std::vector<std::string> edits;
    if (!page.ok()) return edits;
    for (const v1::Adjustment& edit : page->edits()) {
      edits.push_back(absl::StrCat(edit.edit(), edit.has_at_step() ? absl::StrCat("@", edit.at_step()) : ""));
    }
    return edits;
  }

  v1::Job Get(const std::string& job_id) {
    auto job = jobs_->GetJob(job_id);
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? *job : v1::Job();
  }
  std::string State(const std::string& job_id) { return StateName(Get(job_id).state()); }
  // The log of a job in short.
  std::vector<std::string> Log(const std::string& job_id) {
    std::vector<std::string> log;
    auto events = reader_->ReadEvents(Get(job_id).uid(), 0, 10'000, size_t{1} << 30);
    EXPECT_TRUE(events.ok()) << events.status();
    for (const auto& stored : *events) {
      log.push_back(Short(stored.event));
      EXPECT_EQ(stored.event.number(), static_cast<int64_t>(log.size()));
    }
    return log;
  }
  v1::Event EventAt(const std::string& job_id, int64_t number) {
    auto events = reader_->ReadEvents(Get(job_id).uid(), number - 1, 1, 1);
    return events.ok() && !events->empty() ? (*events)[0].event : v1::Event();
  }

  // One attached trainer.
  struct Trainer {
    std::shared_ptr<RecordingLink> link = std::make_shared<RecordingLink>();
    absl::StatusOr<JobManager::Attachment> attachment;
    int64_t notices = 0;
    int accepted = 0;
  };
  v1::TrainerHello Hello(const std::string& job_id) {
    v1::TrainerHello hello;
    hello.set_job_id(job_id);
    hello.set_trainer_id(kTrainerId);
    hello.set_trainer("test");
    for (const LaunchRequest& launch : all_launches()) {
      if (launch.job_id != job_id) continue;
      hello.set_attempt(launch.attempt);
      hello.set_attach_token(launch.attach_token);
    }
    return hello;
  }
  // Launches of this and earlier lives of the server.
  std::vector<LaunchRequest> all_launches() {
    for (const LaunchRequest& launch : launcher_->launches()) {
      if (std::none_of(launches_.begin(), launches_.end(),
                       [&](const auto& known) { return known.attach_token == launch.attach_token; })) {
        launches_.push_back(launch);
      }
    }
    return launches_;
  }
  Trainer Attach(const v1::TrainerHello& hello) {
    Trainer trainer;
    absl::Notification answered;
    jobs_->Attach(hello, trainer.link, [&](absl::StatusOr<JobManager::Attachment> attachment) {
      trainer.attachment = std::move(attachment);
      answered.Notify();
    });
    answered.WaitForNotification();
    Settle();
    return trainer;
  }
  // Attaches and says that the model is ready.
  Trainer AttachReady(const std::string& job_id) {
    Trainer trainer = Attach(Hello(job_id));
    EXPECT_TRUE(trainer.attachment.ok()) << trainer.attachment.status();
    v1::Notice notice;
    notice.mutable_model_ready()->add_tensors()->set_name("dense0.weight");
    Say(trainer, notice);
    return trainer;
  }
  void Say(Trainer& trainer, v1::Notice notice) {
    if (notice.number() == 0) notice.set_number(++trainer.notices);
    v1::NoticeBatch batch;
    batch.set_epoch(trainer.attachment->epoch);
    *batch.add_notices() = notice;
    jobs_->OnNotices(*trainer.attachment, trainer.link, batch, [&] { ++trainer.accepted; });
    Settle();
  }
  static v1::Notice Applied(int64_t edit, int64_t revision, int64_t step) {
    v1::Notice notice;
    notice.mutable_controls_applied()->set_edit(edit);
    notice.mutable_controls_applied()->set_revision(revision);
    notice.mutable_controls_applied()->set_effective_step(step);
    return notice;
  }
  static v1::Notice Dropped(int64_t edit, const std::string& reason = "") {
    v1::Notice notice;
    notice.mutable_edit_dropped()->set_edit(edit);
    notice.mutable_edit_dropped()->set_reason(reason);
    return notice;
  }
  // The trainer has applied `edit`, which made the next revision.
  void SayApplied(Trainer& trainer, int64_t edit, int64_t step) {
    Say(trainer, Applied(edit, Get(trainer.attachment->job_id).control_revision() + 1, step));
  }
  // The edits and withdrawals that the trainer was sent: "3", "3@100", "not 3".
  static std::vector<std::string> SentEdits(const Trainer& trainer) {
    std::vector<std::string> sent;
    for (const v1::TrainerDirective& directive : trainer.link->sent()) {
      for (const v1::ControlEdit& edit : directive.edits().edits()) {
        sent.push_back(absl::StrCat(edit.edit(), edit.has_at_step() ? absl::StrCat("@", edit.at_step()) : ""));
      }
      for (const int64_t edit : directive.edits().withdrawn()) sent.push_back(absl::StrCat("not ", edit));
    }
    return sent;
  }
  void SayPaused(Trainer& trainer) {
    v1::Notice notice;
    notice.mutable_paused();
    Say(trainer, notice);
  }
  void SayResumed(Trainer& trainer) {
    v1::Notice notice;
    notice.mutable_resumed();
    Say(trainer, notice);
  }
  void SayFinished(Trainer& trainer, v1::JobState state, const std::string& failure = "") {
    v1::Notice notice;
    notice.mutable_finished()->set_state(state);
    notice.mutable_finished()->set_failure(failure);
    Say(trainer, notice);
  }
  static v1::ReportBatch Reports(int64_t first, int64_t last) {
    v1::ReportBatch batch;
    for (int64_t step = first; step <= last; ++step) {
      v1::StepReport* report = batch.add_reports();
      report->set_step(step);
      report->set_loss(1.0 / (1.0 + static_cast<double>(step)));
      report->set_grad_norm(static_cast<double>(step));
      report->set_control_revision(1);
      report->add_tensors()->set_tensor(0);
    }
    return batch;
  }
  void Report(Trainer& trainer, v1::ReportBatch batch) {
    batch.set_epoch(trainer.attachment->epoch);
    jobs_->OnReports(*trainer.attachment, trainer.link, batch, [&] { ++trainer.accepted; });
    Settle();
  }
  void Report(Trainer& trainer, int64_t first, int64_t last) { Report(trainer, Reports(first, last)); }
  // An episode of `rule` as the trainer tells it.
  static v1::Notice AlertNotice(const Trainer& trainer, const std::string& rule, v1::AlertState state,
                                int32_t episode = 1) {
    v1::Notice notice;
    v1::Alert* alert = notice.mutable_alert();
    alert->set_alert_id(
        absl::StrCat(trainer.attachment->uid, "/", trainer.attachment->attempt, "/", rule, "/", episode));
    alert->set_rule(rule);
    alert->set_episode(episode);
    alert->set_severity(v1::SEVERITY_WARNING);
    alert->set_state(state);
    return notice;
  }
  void SayAlert(Trainer& trainer, const std::string& rule, v1::AlertState state, int32_t episode = 1) {
    Say(trainer, AlertNotice(trainer, rule, state, episode));
  }
  // The id of the first episode of a rule in the job's present attempt.
  std::string AlertId(const std::string& job_id, const std::string& rule) {
    const v1::Job job = Get(job_id);
    return absl::StrCat(job.uid(), "/", job.attempt(), "/", rule, "/1");
  }
  void Detach(Trainer& trainer, const std::string& reason = "lost") {
    jobs_->OnDetached(*trainer.attachment, trainer.link, reason);
    Settle();
  }
  // As the server's main thread: a tick a second.
  void Pass(absl::Duration time) {
    while (time > absl::ZeroDuration()) {
      const absl::Duration tick = std::min(time, absl::Seconds(1));
      clock_.Advance(tick);
      jobs_->Tick();
      for (int hop = 0; hop < 2; ++hop) Commit();  // the tick, and what it asks for
      time -= tick;
    }
    Settle();
  }
  // Everything that is stored for the job's present attempt.
  std::vector<EncodedReport> Stored(const std::string& job_id) {
    const v1::Job job = Get(job_id);
    const auto reports = statistics_->ReadAfter(job.uid(), job.attempt(), -1, 1 << 30);
    EXPECT_TRUE(reports.ok()) << reports.status();
    return reports.ok() ? *reports : std::vector<EncodedReport>();
  }
  // The steps of its reports.
  std::vector<int64_t> StoredSteps(const std::string& job_id) {
    std::vector<int64_t> steps;
    for (const EncodedReport& report : Stored(job_id)) {
      if (!report.lost) steps.push_back(report.step);
    }
    return steps;
  }
  // "0 to 8" for each range that is lost.
  std::vector<std::string> StoredGaps(const std::string& job_id) {
    std::vector<std::string> gaps;
    for (const EncodedReport& report : Stored(job_id)) {
      if (report.lost) gaps.push_back(absl::StrCat(report.first_step, " to ", report.step));
    }
    return gaps;
  }
  // The steps that watchers of this life of the server have got.
  std::vector<int64_t> PublishedSteps(const std::string& job_id) {
    std::vector<int64_t> steps;
    const auto channel = *jobs_->GetChannel(job_id);
    for (const EncodedReport& report : channel->Read(WatchCursor(), 1 << 30).reports) steps.push_back(report.step);
    return steps;
  }

  // Runs `submit` while the ledger's thread waits, so that the operations that it submits share one commit.
  void InOneCommit(absl::FunctionRef<void()> submit) {
    absl::Notification begun, submitted;
    ledger_->Submit([&](LedgerTransaction&) {
      begun.Notify();
      submitted.WaitForNotification();
      return absl::OkStatus();
    });
    begun.WaitForNotification();  // what is submitted now is not of that commit
    submit();
    submitted.Notify();
    Settle();
  }

  testing::TempDir dir_;
  testing::FakeClock clock_;
  TestExecutor executor_;
  DirectChecker checker_;
  JobManagerOptions options_;
  std::vector<LaunchRequest> launches_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<LedgerReader> reader_;
  std::unique_ptr<TestStatistics> statistics_;
  std::unique_ptr<Hub> hub_;
  std::unique_ptr<EventChannel> events_;
  std::unique_ptr<RingBudget> rings_;
  std::unique_ptr<FakeLauncher> launcher_;
  std::unique_ptr<JobManager> jobs_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_TESTS_SERVER_JOB_JOB_MANAGER_FIXTURE_H_
