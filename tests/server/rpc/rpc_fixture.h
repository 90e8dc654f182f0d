// A server in this process on a free port, called through real stubs; trainers are played through their own stream.
#ifndef GRADWATCH_TESTS_SERVER_RPC_RPC_FIXTURE_H_
#define GRADWATCH_TESTS_SERVER_RPC_RPC_FIXTURE_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/rpc/grpc_server.h"
#include "tests/server/job/job_manager_fixture.h"

namespace gradwatch::server {

class RpcTest : public JobManagerTest {
 protected:
  void SetUp() override {
    JobManagerTest::SetUp();
    StartRpc();
  }
  void TearDown() override {
    StopRpc();
    JobManagerTest::TearDown();
  }

  void StartRpc() {
    v1::ServerInfo info;
    info.set_version("test");
    info.set_log_epoch(ledger_->log_epoch());
    api_ = std::make_unique<Api>(ApiDependencies{.jobs = jobs_.get(),
                                                 .reader = reader_.get(),
                                                 .statistics = statistics_.get(),
                                                 .hub = hub_.get(),
                                                 .events = events_.get(),
                                                 .requests = &pool_,
                                                 .questions = &pool_,
                                                 .clock = &clock_,
                                                 .info = info});
    auto listener = Listener::Open("127.0.0.1:0", /*beyond_this_machine=*/false);
    ASSERT_TRUE(listener.ok()) << listener.status();
    auto rpc = GrpcServer::Start(*std::move(listener),
                                 {.api = api_.get(), .jobs = jobs_.get(), .clock = &clock_, .streams = nullptr});
    ASSERT_TRUE(rpc.ok()) << rpc.status();
    rpc_ = *std::move(rpc);
    const auto channel = grpc::CreateChannel(rpc_->listener().address(), grpc::InsecureChannelCredentials());
    channel_ = channel;
    job_stub_ = v1::JobService::NewStub(channel);
    watch_stub_ = v1::WatchService::NewStub(channel);
    alert_stub_ = v1::AlertService::NewStub(channel);
    trainer_stub_ = v1::TrainerService::NewStub(channel);
  }

  void StopRpc() {
    rpc_.reset();
    api_.reset();
  }

  // A context whose call cannot hang a test for ever.
  static std::unique_ptr<grpc::ClientContext> NewContext() {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    return context;
  }

  // A stream of WatchJob.
  struct Watch {
    std::unique_ptr<grpc::ClientContext> context = NewContext();
    std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>> reader;

    v1::WatchJobResponse Next() {
      v1::WatchJobResponse response;
      EXPECT_TRUE(reader->Read(&response));
      EXPECT_FALSE(response.resume_token().empty());
      return response;
    }
    // All that comes until the end.
    std::vector<v1::WatchJobResponse> Rest() {
      std::vector<v1::WatchJobResponse> responses;
      v1::WatchJobResponse response;
      while (reader->Read(&response)) responses.push_back(response);
      return responses;
    }
  };
  Watch StartWatch(const v1::WatchJobRequest& request) {
    Watch watch;
    watch.reader = watch_stub_->WatchJob(watch.context.get(), request);
    return watch;
  }
  static v1::WatchJobRequest FromBeginning(const std::string& job_id) {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_from_beginning(true);
    return request;
  }
  grpc::Status StatusOf(const v1::WatchJobRequest& request) {
    Watch watch = StartWatch(request);
    watch.Rest();
    return watch.reader->Finish();
  }

  // What a stream said, each in short: events by their numbers, reports by their steps.
  static std::vector<std::string> Said(const std::vector<v1::WatchJobResponse>& responses) {
    std::vector<std::string> events, reports;
    for (const auto& response : responses) {
      for (const auto& event : response.events()) events.push_back(absl::StrCat(event.number(), " ", Short(event)));
      for (const auto& report : response.reports()) reports.push_back(absl::StrCat("step ", report.step()));
      for (const auto& lost : response.lost()) {
        reports.push_back(absl::StrCat("lost ", lost.first_step(), "-", lost.last_step(), ": ", lost.reason()));
      }
    }
    events.insert(events.end(), reports.begin(), reports.end());
    return events;
  }

  // A stream of AttachTrainer.
  struct Attached {
    std::unique_ptr<grpc::ClientContext> context = NewContext();
    std::unique_ptr<grpc::ClientReaderWriter<v1::TrainerMessage, v1::TrainerDirective>> stream;
    int64_t notices = 0;
    int64_t epoch = 0;    // of the welcome
    std::string uid;      // of the job
    int32_t attempt = 0;  // the same
    bool over = false;    // nothing more comes

    v1::TrainerDirective Next() {
      v1::TrainerDirective directive;
      over = !stream->Read(&directive);
      EXPECT_FALSE(over) << "the stream has ended";
      if (directive.has_welcome()) {
        epoch = directive.welcome().epoch();
        uid = directive.welcome().job_uid();
        attempt = directive.welcome().attempt();
      }
      return directive;
    }
    void Say(v1::TrainerMessage message) {
      if (message.has_reports()) message.mutable_reports()->set_epoch(epoch);
      if (message.has_notices()) message.mutable_notices()->set_epoch(epoch);
      EXPECT_TRUE(stream->Write(message));
    }
    // Sends a notice and waits until it is durable.
    void Notify(v1::Notice notice) {
      notice.set_number(++notices);
      v1::TrainerMessage message;
      *message.mutable_notices()->add_notices() = std::move(notice);
      Say(message);
      while (Next().ack().notice() < notices && !over) {
      }
    }
    // Sends reports and waits until they are stored.
    void Report(int64_t first, int64_t last, int tensors = 2) {
      v1::TrainerMessage message;
      for (int64_t step = first; step <= last; ++step) {
        v1::StepReport* report = message.mutable_reports()->add_reports();
        report->set_step(step);
        report->set_loss(1);
        report->set_control_revision(1);
        for (int i = 0; i < tensors; ++i) report->add_tensors()->set_tensor(i);
      }
      Say(message);
      for (;;) {
        const v1::TrainerDirective directive = Next();
        if (over || (directive.ack().has_step() && directive.ack().step() >= last)) return;
      }
    }
    void Finish(v1::JobState state) {
      v1::Notice notice;
      notice.mutable_finished()->set_state(state);
      Notify(notice);
    }
    grpc::Status Close() {
      stream->WritesDone();
      v1::TrainerDirective directive;
      while (stream->Read(&directive)) {
      }
      return stream->Finish();
    }
  };
  Attached OpenTrainer() {
    Attached trainer;
    trainer.stream = trainer_stub_->AttachTrainer(trainer.context.get());
    return trainer;
  }
  // Attaches and says that a model with two tensors is ready.
  Attached AttachReady(const std::string& job_id) {
    Attached trainer = OpenTrainer();
    v1::TrainerMessage hello;
    *hello.mutable_hello() = Hello(job_id);
    trainer.Say(hello);
    EXPECT_TRUE(trainer.Next().has_welcome());
    v1::Notice notice;
    notice.mutable_model_ready()->add_tensors()->set_name("dense0.weight");
    notice.mutable_model_ready()->add_tensors()->set_name("dense0.bias");
    trainer.Notify(notice);
    return trainer;
  }
  // A job of many steps.
  absl::StatusOr<v1::Job> CreateLong(const std::string& job_id) {
    v1::CreateJobRequest request;
    *request.mutable_spec() = SmallSpec();
    request.mutable_spec()->set_steps(1'000'000);
    request.set_job_id(job_id);
    return Create(request);
  }
  // A job that ran `steps` steps and succeeded.
  void RunJob(const std::string& job_id, int64_t steps) {
    ASSERT_TRUE(CreateLong(job_id).ok());
    Attached trainer = AttachReady(job_id);
    for (int64_t step = 0; step < steps; step += 100) {
      trainer.Report(step, std::min(step + 99, steps - 1), /*tensors=*/2);
    }
    trainer.Finish(v1::JOB_STATE_SUCCEEDED);
    trainer.Close();
  }
  // The first episode of `rule`.
  static v1::Notice AlertNotice(const Attached& trainer, const std::string& rule, v1::AlertState state,
                                v1::Severity severity) {
    v1::Notice notice;
    notice.mutable_alert()->set_alert_id(absl::StrCat(trainer.uid, "/", trainer.attempt, "/", rule, "/1"));
    notice.mutable_alert()->set_rule(rule);
    notice.mutable_alert()->set_episode(1);
    notice.mutable_alert()->set_state(state);
    notice.mutable_alert()->set_severity(severity);
    return notice;
  }

  // Lets time be told to the streams again and again while `wait` waits for what comes of it: a stream may still be on
  // its way to notice that its last write is done.
  template <typename Wait>
  void TickDuring(Wait wait) {
    std::atomic<bool> done = false;
    std::thread ticker([&] {
      while (!done) rpc_->Tick();
    });
    wait();
    done = true;
    ticker.join();
  }

  ThreadPool pool_{"answers", 2};
  std::unique_ptr<Api> api_;
  std::unique_ptr<GrpcServer> rpc_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> job_stub_;
  std::unique_ptr<v1::WatchService::Stub> watch_stub_;
  std::unique_ptr<v1::AlertService::Stub> alert_stub_;
  std::unique_ptr<v1::TrainerService::Stub> trainer_stub_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_TESTS_SERVER_RPC_RPC_FIXTURE_H_
