// The Api over a real job manager, without any transport: watches write into sinks that a test plays.
#ifndef GRADWATCH_TESTS_SERVER_API_API_FIXTURE_H_
#define GRADWATCH_TESTS_SERVER_API_API_FIXTURE_H_

#include <gmock/gmock.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "server/api/api.h"
#include "tests/server/job/job_manager_fixture.h"
#include "tests/support/long_wait.h"

namespace gradwatch::server {

// Keeps what a session writes, and holds it to the rules of WatchSink. Accepts each message at once unless it is slow.
class FakeSink final : public WatchSink {
 public:
  // Takes no message until Accept.
  void SetSlow() {
    absl::MutexLock lock(&mutex_);
    slow_ = true;
  }
  void StartSession(std::shared_ptr<WatchSession> session) {
    session_ = std::move(session);
    session_->Start(this);
  }
  const std::shared_ptr<WatchSession>& session() const { return session_; }

  void Write(EncodedMessage message) override {
    bool slow = false;
    {
      absl::MutexLock lock(&mutex_);
      EXPECT_FALSE(writing_) << "one write at a time";
      EXPECT_FALSE(end_.has_value()) << "nothing after the end";
      messages_.push_back(message.Flatten());
      writing_ = slow = slow_;
    }
    if (!slow) session_->OnWritten(true);
  }
  void Finish(std::optional<EncodedMessage> last, const absl::Status& status) override {
    absl::MutexLock lock(&mutex_);
    EXPECT_FALSE(writing_) << "one write at a time";
    EXPECT_FALSE(end_.has_value()) << "finished once";
    if (last.has_value()) messages_.push_back(last->Flatten());
    end_ = status;
  }
  void Cancel() override {
    absl::MutexLock lock(&mutex_);
    ++cancelled_;
  }

  // The peer takes the message (or does not: ok false).
  void Accept(bool ok = true) {
    {
      absl::MutexLock lock(&mutex_);
      EXPECT_TRUE(writing_);
      writing_ = false;
    }
    session_->OnWritten(ok);
  }
  // As a transport does when all is over.
  void Done() { session_->OnDone(); }

  int cancelled() const {
    absl::MutexLock lock(&mutex_);
    return cancelled_;
  }
  std::vector<std::string> messages() const {
    absl::MutexLock lock(&mutex_);
    return messages_;
  }
  void AwaitMessages(size_t count) const {
    const auto reached = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return messages_.size() >= count; };
    absl::MutexLock lock(&mutex_);
    ASSERT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&reached), gradwatch::testing::kLongWait))
        << "messages did not come";
  }
  absl::Status AwaitEnd() const {
    const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return end_.has_value(); };
    absl::MutexLock lock(&mutex_);
    if (!mutex_.AwaitWithTimeout(absl::Condition(&ended), gradwatch::testing::kLongWait))
      return absl::UnknownError("no end came");
    return *end_;
  }
  bool ended() const {
    absl::MutexLock lock(&mutex_);
    return end_.has_value();
  }

  // All that was written, as one message: fields of messages add up.
  template <typename Response>
  Response All() const {
    Response all;
    for (const std::string& message : messages()) EXPECT_TRUE(all.MergeFromString(message));
    return all;
  }
  template <typename Response>
  Response At(size_t index) const {
    AwaitMessages(index + 1);
    Response response;
    const auto all = messages();
    EXPECT_TRUE(index < all.size() && response.ParseFromString(all[index]));
    return response;
  }

 private:
  std::shared_ptr<WatchSession> session_;
  mutable absl::Mutex mutex_;
  bool slow_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::string> messages_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  int cancelled_ ABSL_GUARDED_BY(mutex_) = 0;
};

class ApiTest : public JobManagerTest {
 protected:
  void SetUp() override {
    JobManagerTest::SetUp();
    StartApi();
  }
  void TearDown() override {
    StopApi();
    JobManagerTest::TearDown();
  }
  void StartApi() {
    v1::ServerInfo info;
    info.set_version("test");
    info.set_log_epoch(ledger_->log_epoch());
    api_ = std::make_unique<Api>(ApiDependencies{.jobs = jobs_.get(),
                                                 .reader = reader_.get(),
                                                 .statistics = statistics_.get(),
                                                 .hub = hub_.get(),
                                                 .events = events_.get(),
                                                 .requests = &requests_,
                                                 .questions = &questions_,
                                                 .clock = &clock_,
                                                 .info = info});
  }
  void StopApi() {
    if (api_ == nullptr) return;
    for (const auto& sink : sinks_) {
      sink->session()->OnGone();
      sink->AwaitEnd().IgnoreError();
      sink->Done();
    }
    sinks_.clear();
    api_->ShutDown(absl::Seconds(10));
    api_.reset();
  }
  void RestartAll() {
    StopApi();
    RestartServer();
    StartApi();
  }

  // Calls an operation and waits for its answer.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Ask(void (Api::*operation)(Request, Caller, Api::Done<Response>), Request request,
                               Caller caller = {.name = "tester"}) {
    absl::StatusOr<Response> answer;
    absl::Notification answered;
    (api_.get()->*operation)(std::move(request), std::move(caller), [&](absl::StatusOr<Response> result) {
      answer = std::move(result);
      answered.Notify();
    });
    answered.WaitForNotification();
    return answer;
  }

  FakeSink* Start(absl::StatusOr<std::shared_ptr<WatchSession>> session, bool slow = false) {
    EXPECT_TRUE(session.ok()) << session.status();
    sinks_.push_back(std::make_unique<FakeSink>());
    if (slow) sinks_.back()->SetSlow();
    sinks_.back()->StartSession(*std::move(session));
    return sinks_.back().get();
  }
  FakeSink* Watch(const v1::WatchJobRequest& request) { return Start(api_->WatchJob(request, {})); }
  static v1::WatchJobRequest FromBeginning(const std::string& job_id) {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_from_beginning(true);
    return request;
  }
  // The log in short, then the steps.
  static std::vector<std::string> Said(const v1::WatchJobResponse& all) {
    std::vector<std::string> said;
    for (const auto& event : all.events()) said.push_back(absl::StrCat(event.number(), " ", Short(event)));
    for (const auto& report : all.reports()) said.push_back(absl::StrCat("step ", report.step()));
    return said;
  }

  // A job that ran `steps` steps and succeeded.
  void RunJob(const std::string& job_id, int64_t steps) {
    ASSERT_TRUE(Create(job_id).ok());
    Trainer trainer = AttachReady(job_id);
    Report(trainer, 0, steps - 1);
    SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  }
  void SayAlert(Trainer& trainer, const std::string& rule, v1::AlertState state,
                v1::Severity severity = v1::SEVERITY_WARNING) {
    v1::Notice notice = AlertNotice(trainer, rule, state);
    notice.mutable_alert()->set_severity(severity);
    Say(trainer, notice);
  }

  ThreadPool requests_{"requests", 2};
  ThreadPool questions_{"questions", 1};
  std::unique_ptr<Api> api_;
  std::vector<std::unique_ptr<FakeSink>> sinks_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_TESTS_SERVER_API_API_FIXTURE_H_
