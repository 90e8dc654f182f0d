// A server's end of attach streams that follows a script: what it says, when it breaks off, when it does not read.
#ifndef GRADWATCH_TESTS_CLIENT_WORKER_FAKE_TRAINER_SERVICE_H_
#define GRADWATCH_TESTS_CLIENT_WORKER_FAKE_TRAINER_SERVICE_H_

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "gradwatch/v1/trainer_service.grpc.pb.h"
#include "tests/support/long_wait.h"

namespace gradwatch::testing {

// What happens on one stream. By default it goes on until the trainer ends it.
struct StreamPlan {
  grpc::Status refusal{};                           // not OK: the answer to hello
  std::function<void()> before_welcome{};           // what happens meanwhile
  std::vector<v1::TrainerDirective> directives{};   // said after the welcome
  std::vector<v1::TrainerDirective> when_paused{};  // said after a notice of a pause
  // The stream breaks with `end` when this many messages after hello were taken; the next one is lost on the way.
  int messages = std::numeric_limits<int>::max();
  grpc::Status end = grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken by the test");
  bool acknowledges = true;
  bool reads = true;  // false: reads nothing after hello until Release() is called
};

// What arrived, as a real server would keep it over broken streams.
struct Arrived {
  std::vector<int64_t> steps;                     // in the order of arrival
  std::vector<std::pair<int64_t, int64_t>> lost;  // closed ranges
  std::vector<v1::Notice> notices;                // in the order of arrival
  std::vector<int64_t> end_steps;                 // for each notice: the step after the last one told before it
  std::set<int32_t> attempts;                     // of reports
  std::vector<v1::TrainerHello> hellos;
  int heartbeats = 0;
  bool finished = false;  // a notice said so
};

// Listens for as long as it lives, on a free port unless told otherwise. Streams take plans in order; the last one is
// used for all further.
class FakeTrainerService final : public v1::TrainerService::Service {
 public:
  FakeTrainerService(v1::TrainerWelcome welcome, std::vector<StreamPlan> plans,
                     const std::string& address = "127.0.0.1:0")
      : welcome_(std::move(welcome)), plans_(std::move(plans)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeTrainerService() override {
    Release();
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  // Lets streams that do not read go on.
  void Release() {
    absl::MutexLock lock(&mutex_);
    released_ = true;
  }
  // Waits until `holds` says so of what arrived; false if that does not come.
  template <typename Predicate>
  bool Await(Predicate holds, absl::Duration timeout = kLongWait) {
    absl::MutexLock lock(&mutex_);
    const auto condition = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return static_cast<bool>(holds(arrived_)); };
    return mutex_.AwaitWithTimeout(absl::Condition(&condition), timeout);
  }
  Arrived arrived() const {
    absl::MutexLock lock(&mutex_);
    return arrived_;
  }

 private:
  using Stream = grpc::ServerReaderWriter<v1::TrainerDirective, v1::TrainerMessage>;

  grpc::Status AttachTrainer(grpc::ServerContext*, Stream* stream) override {
    v1::TrainerMessage message;
    if (!stream->Read(&message) || !message.has_hello()) return {grpc::StatusCode::INVALID_ARGUMENT, "no hello"};
    const StreamPlan plan = Greet(message.hello());
    if (!plan.refusal.ok()) return plan.refusal;
    if (plan.before_welcome) plan.before_welcome();
    stream->Write(Welcome());
    for (const v1::TrainerDirective& directive : plan.directives) stream->Write(directive);
    if (!plan.reads) AwaitRelease();
    for (int taken = 0; stream->Read(&message); ++taken) {
      if (taken == plan.messages) return plan.end;
      const v1::TrainerDirective ack = Take(message);
      if (plan.acknowledges) stream->Write(ack);
      const auto tells_pause = [](const v1::Notice& notice) { return notice.has_paused(); };
      const auto& notices = message.notices().notices();
      if (std::none_of(notices.begin(), notices.end(), tells_pause)) continue;
      for (const v1::TrainerDirective& directive : plan.when_paused) stream->Write(directive);
    }
    return grpc::Status::OK;
  }

  StreamPlan Greet(const v1::TrainerHello& hello) {
    absl::MutexLock lock(&mutex_);
    arrived_.hellos.push_back(hello);
    return plans_[std::min(arrived_.hellos.size(), plans_.size()) - 1];
  }

  v1::TrainerDirective Welcome() {
    absl::MutexLock lock(&mutex_);
    v1::TrainerDirective directive;
    *directive.mutable_welcome() = welcome_;
    directive.mutable_welcome()->set_acked_notice(static_cast<int64_t>(arrived_.notices.size()));
    if (end_step_ > 0) directive.mutable_welcome()->set_acked_step(end_step_ - 1);
    return directive;
  }

  void AwaitRelease() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&released_));
  }

  v1::TrainerDirective Take(const v1::TrainerMessage& message) {
    absl::MutexLock lock(&mutex_);
    for (const v1::StepRange& lost : message.reports().lost()) {
      arrived_.lost.emplace_back(lost.first_step(), lost.last_step());
      end_step_ = std::max(end_step_, lost.last_step() + 1);
    }
    for (const v1::StepReport& report : message.reports().reports()) {
      arrived_.steps.push_back(report.step());
      arrived_.attempts.insert(report.attempt());
      end_step_ = std::max(end_step_, report.step() + 1);
    }
    for (const v1::Notice& notice : message.notices().notices()) {
      arrived_.notices.push_back(notice);
      arrived_.end_steps.push_back(end_step_);
      if (notice.has_finished()) arrived_.finished = true;
    }
    if (message.has_heartbeat()) ++arrived_.heartbeats;
    v1::TrainerDirective directive;
    directive.mutable_ack()->set_notice(static_cast<int64_t>(arrived_.notices.size()));
    if (end_step_ > 0) directive.mutable_ack()->set_step(end_step_ - 1);
    return directive;
  }

  const v1::TrainerWelcome welcome_;
  const std::vector<StreamPlan> plans_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  mutable absl::Mutex mutex_;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t end_step_ ABSL_GUARDED_BY(mutex_) = 0;
  Arrived arrived_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_CLIENT_WORKER_FAKE_TRAINER_SERVICE_H_
