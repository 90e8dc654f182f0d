// Sixteen writers edit the controls of one job, a trainer applies what is due, step by step, and server and stream go
// away and come back all the while: no edit is lost, none is applied twice, and the log tells what the trainer did.
#include <cstdlib>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/numbers.h"
#include "core/base/error.h"
#include "core/spec/controls.h"
#include "server/base/unique_text.h"
#include "tests/server/job/job_manager_fixture.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;

constexpr int kWriters = 16;
constexpr int64_t kSteps = 1'000'000'000;

int EditsOfAWriter() {
  int edits = 250;
  const char* const wanted = std::getenv("GRADWATCH_HAMMER_EDITS");
  if (wanted != nullptr && !absl::SimpleAtoi(wanted, &edits)) std::abort();
  return edits;
}

// The trainer's end of a stream.
class QueueLink final : public TrainerLink {
 public:
  void Send(v1::TrainerDirective directive) override {
    absl::MutexLock lock(&mutex_);
    queue_.push_back(std::move(directive));
  }
  Heard TakeHeard() override { return Heard::kMessage; }
  void Close(const absl::Status& status) override {
    absl::MutexLock lock(&mutex_);
    if (!closed_.has_value()) closed_ = status;
  }
  std::vector<v1::TrainerDirective> Take() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(queue_, {});
  }
  std::optional<absl::Status> closed() {
    absl::MutexLock lock(&mutex_);
    return closed_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<v1::TrainerDirective> queue_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> closed_ ABSL_GUARDED_BY(mutex_);
};

// Follows the comments of trainer_service.proto: applies edits in the order of (at_step, edit), each at its step, and
// keeps what it has to tell until that is acknowledged. Used by one thread.
class EditingTrainer {
 public:
  void Obey(const v1::TrainerDirective& directive) {
    if (directive.has_welcome()) Forget(directive.welcome().acked_notice());
    if (directive.has_ack()) Forget(directive.ack().notice());
    for (const v1::ControlEdit& edit : directive.edits().edits()) {
      if (known_.insert(edit.edit()).second) waiting_[edit.edit()] = edit;
    }
    for (const int64_t edit : directive.edits().withdrawn()) {
      if (waiting_.erase(edit) == 0) continue;
      v1::Notice notice;
      notice.mutable_edit_dropped()->set_edit(edit);
      Tell(notice, absl::StrCat("dropped ", edit));
    }
  }
  // The next step begins.
  void Step() {
    std::map<std::pair<int64_t, int64_t>, int64_t> due;
    for (const auto& [id, edit] : waiting_) {
      const int64_t at_step = edit.has_at_step() ? edit.at_step() : step_;
      if (at_step <= step_) due[{at_step, id}] = id;
    }
    for (const auto& [place, id] : due) {
      waiting_.erase(id);
      v1::Notice notice;
      notice.mutable_controls_applied()->set_edit(id);
      notice.mutable_controls_applied()->set_revision(++revision_);
      notice.mutable_controls_applied()->set_effective_step(step_);
      Tell(notice, absl::StrCat("adjusted ", id, " from ", step_));
    }
    ++step_;
  }
  // What is not acknowledged, from `first` on.
  v1::NoticeBatch Untold(int64_t first) const {
    v1::NoticeBatch batch;
    for (auto it = notices_.lower_bound(first); it != notices_.end() && batch.notices_size() < 256; ++it) {
      *batch.add_notices() = it->second;
    }
    return batch;
  }
  bool idle() const { return notices_.empty() && waiting_.empty(); }
  // All that it did, as Short says it.
  const std::vector<std::string>& done() const { return done_; }

 private:
  void Tell(v1::Notice notice, std::string what) {
    notice.set_number(++last_notice_);
    notice.set_steps_done(step_);
    notices_[last_notice_] = std::move(notice);
    done_.push_back(std::move(what));
  }
  void Forget(int64_t acked) { notices_.erase(notices_.begin(), notices_.upper_bound(acked)); }

  int64_t step_ = 0, revision_ = 1, last_notice_ = 0;
  std::set<int64_t> known_;
  std::map<int64_t, v1::ControlEdit> waiting_;
  std::map<int64_t, v1::Notice> notices_;
  std::vector<std::string> done_;
};

class EditHammerTest : public JobManagerTest {
 protected:
  void SetUp() override {
    JobManagerTest::SetUp();
    v1::CreateJobRequest request;
    *request.mutable_spec() = SmallSpec();
    request.mutable_spec()->set_steps(kSteps);
    request.set_job_id("job");
    ASSERT_THAT(Create(request), IsOk());
    hello_ = Hello("job");
  }

  // Calls the server that is there now, which stays while the call lasts.
  template <typename Response, typename Request>
  absl::StatusOr<Response> Ask(void (JobManager::*method)(Request, std::string, JobManager::Done<Response>),
                               const Request& request) {
    absl::StatusOr<Response> answer;
    absl::Notification answered;
    absl::ReaderMutexLock lock(&server_);
    (jobs_.get()->*method)(request, "writer", [&](absl::StatusOr<Response> result) {
      answer = std::move(result);
      answered.Notify();
    });
    answered.WaitForNotification();
    return answer;
  }

  void Write(int seed) {
    std::minstd_rand random(seed);
    for (int i = 0; i < EditsOfAWriter(); ++i) {
      v1::AdjustJobRequest request = ScaleRequest("job", 0.001 * static_cast<double>(1 + random() % 1000));
      if (i % 2 == 0) {
        request.mutable_controls()->set_report_every(static_cast<int32_t>(1 + random() % 100));
        request.mutable_update_mask()->set_paths(0, "report_every");
      }
      request.set_request_id(NewUuid());
      const bool scheduled = i % 3 == 0;
      absl::StatusOr<v1::AdjustJobResponse> response;
      do {
        if (scheduled) request.set_at_step(step_ + static_cast<int64_t>(random() % 500));
        if (scheduled) request.set_request_id(NewUuid());
        response = Ask(&JobManager::AdjustJob, request);
      } while (!response.ok() && absl::IsOutOfRange(response.status()));  // the step was over
      ASSERT_THAT(response, IsOk());
      const int64_t edit = response->adjustment().edit();
      // Once more, as if the answer had been lost.
      if (i % 10 == 0) {
        EXPECT_EQ(Ask(&JobManager::AdjustJob, request)->adjustment().edit(), edit);
      }
      const bool withdrawn = i % 15 == 0 && Cancelled(edit);
      absl::MutexLock lock(&accepted_mutex_);
      accepted_[edit] = response->adjustment();
      if (withdrawn) withdrawn_.insert(edit);
    }
  }
  bool Cancelled(int64_t edit) {
    v1::CancelEditRequest request;
    request.set_job_id("job");
    request.set_edit(edit);
    const auto response = Ask(&JobManager::CancelEdit, request);
    if (response.ok()) return true;
    EXPECT_EQ(core::GetReason(response.status()), "EDIT_DONE") << response.status();
    return false;
  }

  // Attaches and takes steps until the writers have ended and all that waited then is told.
  void Train() {
    std::minstd_rand random(99);
    for (bool is_last = false; !is_last || !trainer_.idle();) {
      is_last = written_;
      absl::ReaderMutexLock lock(&server_);
      auto link = std::make_shared<QueueLink>();
      absl::Notification answered;
      absl::StatusOr<JobManager::Attachment> attachment;
      jobs_->Attach(hello_, link, [&](absl::StatusOr<JobManager::Attachment> result) {
        attachment = std::move(result);
        answered.Notify();
      });
      answered.WaitForNotification();
      ASSERT_THAT(attachment, IsOk());
      Talk(*attachment, link, static_cast<int>(1 + random() % 200));
      const auto closed = link->closed();
      ASSERT_FALSE(closed.has_value()) << *closed;
      if (random() % 3 == 0) jobs_->OnDetached(*attachment, link, "lost");
    }
  }
  // Some steps on one stream. What is sent last may be acknowledged to nobody.
  void Talk(const JobManager::Attachment& attachment, const std::shared_ptr<QueueLink>& link, int steps) {
    int64_t first = 1;
    for (int i = 0; i < steps; ++i) {
      for (const v1::TrainerDirective& directive : link->Take()) trainer_.Obey(directive);
      trainer_.Step();
      ++step_;
      v1::NoticeBatch batch = trainer_.Untold(first);
      if (batch.notices().empty()) continue;
      first = batch.notices().rbegin()->number() + 1;
      batch.set_epoch(attachment.epoch);
      absl::Notification accepted;
      jobs_->OnNotices(attachment, link, batch, [&] { accepted.Notify(); });
      while (!accepted.WaitForNotificationWithTimeout(absl::Milliseconds(100))) {
        if (link->closed().has_value()) return;  // refused: it is not accepted
      }
    }
  }

  absl::Mutex server_;  // held shared while it is called, alone while it is replaced
  v1::TrainerHello hello_;
  std::atomic<int64_t> step_ = 0;  // that the trainer takes next
  std::atomic<bool> written_ = false;
  EditingTrainer trainer_;                      // of the trainer's thread
  absl::Mutex accepted_mutex_;                  // of these two, while the writers are at work
  std::map<int64_t, v1::Adjustment> accepted_;  // by edit
  std::set<int64_t> withdrawn_;                 // in time, as far as the server knew
};

TEST_F(EditHammerTest, EachEditIsAppliedOnceAndToldAsItWas) {
  std::vector<std::thread> writers;
  for (int i = 0; i < kWriters; ++i) writers.emplace_back([this, i] { Write(i + 1); });
  std::thread trainer([this] { Train(); });
  std::thread killer([this] {
    for (size_t killed_at = 0; !written_;) {
      {
        absl::MutexLock lock(&accepted_mutex_);
        const auto more = [&] { return written_ || accepted_.size() >= killed_at + 100; };
        accepted_mutex_.Await(absl::Condition(&more));
        killed_at = accepted_.size();
      }
      absl::MutexLock lock(&server_);
      RestartServer();
    }
  });
  for (std::thread& writer : writers) writer.join();
  {
    absl::MutexLock lock(&accepted_mutex_);
    written_ = true;
  }
  killer.join();
  trainer.join();
  Settle();

  // The log has what the trainer did, in its order, and nothing else.
  std::vector<std::string> told;
  std::map<int64_t, v1::Adjustment> applied;
  v1::Controls controls = core::ResolveControls(SmallSpec().controls());
  int64_t revision = 1;
  const auto events = reader_->ReadEvents(Get("job").uid(), 0, 1'000'000, size_t{1} << 30);
  ASSERT_THAT(events, IsOk());
  for (const auto& [position, event] : *events) {
    if (event.has_adjusted() || event.has_adjust_dropped()) told.push_back(Short(event));
    if (!event.has_adjusted()) continue;
    const v1::Adjustment& now = event.adjusted().adjustment();
    EXPECT_EQ(now.revision(), ++revision);
    EXPECT_EQ(now.old_controls().SerializeAsString(), controls.SerializeAsString());
    controls = now.new_controls();
    EXPECT_TRUE(applied.emplace(now.edit(), now).second) << now.edit();
  }
  const std::vector<std::string>& done = trainer_.done();
  const std::set<std::string> known(done.begin(), done.end());
  ASSERT_EQ(told.size(), accepted_.size());
  // What was withdrawn before the first trainer came is dropped by the server.
  std::erase_if(told, [&](const std::string& what) { return !known.contains(what); });
  EXPECT_EQ(told, done);
  for (const auto& [id, edit] : accepted_) {
    const auto found = applied.find(id);
    if (found == applied.end()) {
      EXPECT_TRUE(withdrawn_.contains(id)) << id << " is lost";
    } else if (edit.has_at_step()) {
      EXPECT_GE(found->second.effective_step(), edit.at_step()) << id;
    }
  }
  const v1::Job job = Get("job");
  EXPECT_EQ(job.controls().SerializeAsString(), controls.SerializeAsString());
  EXPECT_EQ(job.control_revision(), revision);
  EXPECT_EQ(job.waiting_edits(), 0);
}

}  // namespace
}  // namespace gradwatch::server
