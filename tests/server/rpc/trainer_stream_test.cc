// Trainers' streams beside a manager that answers when the test says so, and gRPC's end of them.
#include "server/rpc/trainer_stream.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <sched.h>

#include <optional>

#include "absl/synchronization/mutex.h"
#include "gradwatch/v1/trainer_service.grpc.pb.h"
#include "server/rpc/trainer_rpc.h"
#include "tests/support/fake_clock.h"

namespace gradwatch::server {
namespace {

using ::testing::ElementsAre;

// Keeps the question of a trainer until the test answers it. Nothing else is asked of it.
class SlowJobManager final : public JobManager {
 public:
  void Attach(v1::TrainerHello, std::shared_ptr<TrainerLink> link, Done<Attachment> done) override {
    absl::MutexLock lock(&mutex_);
    link_ = std::move(link);
    done_ = std::move(done);
    asked_ = true;
  }
  void OnDetached(const Attachment& attachment, const std::shared_ptr<TrainerLink>& link, const std::string&) override {
    absl::MutexLock lock(&mutex_);
    if (link == link_) detached_.push_back(attachment.job_id);
  }

  void WaitUntilAsked() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&asked_));
  }
  std::shared_ptr<TrainerLink> link() {
    absl::MutexLock lock(&mutex_);
    return link_;
  }
  void Answer(absl::StatusOr<Attachment> attachment) {
    Done<Attachment> done;
    {
      absl::MutexLock lock(&mutex_);
      done = std::move(done_);
    }
    done(std::move(attachment));
  }
  // Waits for reports, which are accepted when it is called.
  absl::AnyInvocable<void()> AwaitReports() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&reported_));
    reported_ = false;
    return std::move(accepted_);
  }
  std::vector<std::string> detached() {
    absl::MutexLock lock(&mutex_);
    return detached_;
  }

  void Start() override {}
  void CreateJob(v1::CreateJobRequest, std::string, Done<v1::Job>) override {}
  absl::StatusOr<v1::Job> GetJob(absl::string_view) const override { return v1::Job(); }
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest&) const override {
    return v1::ListJobsResponse();
  }
  void DeleteJob(v1::DeleteJobRequest, std::string, Done<v1::DeleteJobResponse>) override {}
  void AdjustJob(v1::AdjustJobRequest, std::string, Done<v1::AdjustJobResponse>) override {}
  void PauseJob(v1::PauseJobRequest, std::string, Done<v1::Job>) override {}
  void ResumeJob(v1::ResumeJobRequest, std::string, Done<v1::Job>) override {}
  void StopJob(v1::StopJobRequest, std::string, Done<v1::Job>) override {}
  void UpdateJob(v1::UpdateJobRequest, std::string, Done<v1::Job>) override {}
  void AcknowledgeAlert(v1::AcknowledgeAlertRequest, std::string, Done<v1::Alert>) override {}
  void CreateSilence(v1::CreateSilenceRequest, std::string, Done<v1::Silence>) override {}
  void DeleteSilence(v1::DeleteSilenceRequest, std::string, Done<v1::DeleteSilenceResponse>) override {}
  absl::StatusOr<v1::ListSilencesResponse> ListSilences(const v1::ListSilencesRequest&) const override {
    return v1::ListSilencesResponse();
  }
  void ShowSilences(v1::Alert*) const override {}
  std::vector<v1::JobFigures> Figures() const override { return {}; }
  void TellDataLoss(absl::string_view, std::string) override {}
  absl::StatusOr<std::shared_ptr<JobChannel>> GetChannel(absl::string_view) const override {
    return absl::NotFoundError("");
  }
  void OnReports(const Attachment&, const std::shared_ptr<TrainerLink>&, v1::ReportBatch,
                 absl::AnyInvocable<void()> accepted) override {
    absl::MutexLock lock(&mutex_);
    accepted_ = std::move(accepted);
    reported_ = true;
  }
  void OnNotices(const Attachment&, const std::shared_ptr<TrainerLink>&, v1::NoticeBatch,
                 absl::AnyInvocable<void()>) override {}
  void Tick() override {}
  void Drain() override {}

 private:
  absl::Mutex mutex_;
  bool asked_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<TrainerLink> link_ ABSL_GUARDED_BY(mutex_);
  Done<Attachment> done_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> detached_ ABSL_GUARDED_BY(mutex_);
  bool reported_ ABSL_GUARDED_BY(mutex_) = false;
  absl::AnyInvocable<void()> accepted_ ABSL_GUARDED_BY(mutex_);
};

// All that a stream uses while its call lasts; gone with the server.
struct Surroundings {
  StreamRegistry streams;
  testing::FakeClock clock;
  Api api;
  RpcContext context;
  TrainerRpc service{&context};
  std::unique_ptr<grpc::Server> server;

  explicit Surroundings(JobManager* jobs, int max_trainers = 1)
      : api({.jobs = jobs,
             .reader = nullptr,
             .statistics = nullptr,
             .hub = nullptr,
             .events = nullptr,
             .requests = nullptr,
             .clock = &clock,
             .info = {},
             .limits = {.max_trainers = max_trainers}}),
        context{.api = &api, .jobs = jobs, .clock = &clock, .streams = &streams} {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service);
    server = builder.BuildAndStart();
  }
  ~Surroundings() {
    streams.ShutDown(absl::Seconds(60));
    server->Shutdown();
  }
};

TEST(TrainerStreamTest, AnAnswerMayComeWhenTheServerIsGone) {
  SlowJobManager jobs;
  auto surroundings = std::make_unique<Surroundings>(&jobs);
  const auto stub = v1::TrainerService::NewStub(surroundings->server->InProcessChannel({}));
  grpc::ClientContext call;
  const auto stream = stub->AttachTrainer(&call);
  v1::TrainerMessage hello;
  hello.mutable_hello()->set_job_id("job");
  ASSERT_TRUE(stream->Write(hello));
  jobs.WaitUntilAsked();
  surroundings.reset();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);

  jobs.link()->Send(v1::TrainerDirective());
  jobs.Answer(JobManager::Attachment{.job_id = "job", .uid = "uid", .attempt = 1});
  EXPECT_THAT(jobs.detached(), ElementsAre("job")) << "the job goes back to nobody";
  jobs.link()->Close(absl::AbortedError("another stream"));
}

TEST(TrainerStreamTest, SaysWhetherTheTrainerWasHeardAndWhenNobodyListens) {
  SlowJobManager jobs;
  Surroundings surroundings(&jobs);
  const auto stub = v1::TrainerService::NewStub(surroundings.server->InProcessChannel({}));
  grpc::ClientContext call;
  const auto stream = stub->AttachTrainer(&call);
  v1::TrainerMessage message;
  message.mutable_hello()->set_job_id("job");
  ASSERT_TRUE(stream->Write(message));
  jobs.WaitUntilAsked();
  const auto link = jobs.link();
  EXPECT_EQ(link->TakeHeard(), TrainerLink::Heard::kBusy) << "nothing is read until it is attached";
  jobs.Answer(JobManager::Attachment{.job_id = "job", .uid = "uid", .attempt = 1});
  EXPECT_EQ(link->TakeHeard(), TrainerLink::Heard::kNothing) << "the hello was told";

  message.mutable_reports();
  ASSERT_TRUE(stream->Write(message));
  auto accept = jobs.AwaitReports();
  EXPECT_EQ(link->TakeHeard(), TrainerLink::Heard::kBusy);
  EXPECT_EQ(link->TakeHeard(), TrainerLink::Heard::kBusy) << "for as long as it lasts";
  accept();
  EXPECT_EQ(link->TakeHeard(), TrainerLink::Heard::kNothing);

  message.mutable_heartbeat();
  ASSERT_TRUE(stream->Write(message));
  while (link->TakeHeard() != TrainerLink::Heard::kMessage) sched_yield();
  EXPECT_EQ(link->TakeHeard(), TrainerLink::Heard::kNothing);
  call.TryCancel();
  stream->Finish();
}

TEST(TrainerStreamTest, NobodyAttachesWhoIsToldToGo) {
  SlowJobManager jobs;
  Surroundings surroundings(&jobs);
  const auto stub = v1::TrainerService::NewStub(surroundings.server->InProcessChannel({}));
  surroundings.streams.ShutDown(absl::ZeroDuration());
  grpc::ClientContext call;
  const auto stream = stub->AttachTrainer(&call);
  v1::TrainerMessage hello;
  hello.mutable_hello()->set_job_id("job");
  stream->Write(hello);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(jobs.link(), nullptr);
}

TEST(TrainerStreamTest, WhoIsOneTooManyIsToldSoAndIsNotAsked) {
  SlowJobManager jobs;
  Surroundings surroundings(&jobs, /*max_trainers=*/0);
  const auto stub = v1::TrainerService::NewStub(surroundings.server->InProcessChannel({}));
  grpc::ClientContext call;
  EXPECT_EQ(stub->AttachTrainer(&call)->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(jobs.link(), nullptr);
}

TEST(TrainerStreamTest, ARefusalMayComeWhenTheServerIsGone) {
  SlowJobManager jobs;
  auto surroundings = std::make_unique<Surroundings>(&jobs);
  const auto stub = v1::TrainerService::NewStub(surroundings->server->InProcessChannel({}));
  grpc::ClientContext call;
  const auto stream = stub->AttachTrainer(&call);
  v1::TrainerMessage hello;
  hello.mutable_hello();
  ASSERT_TRUE(stream->Write(hello));
  jobs.WaitUntilAsked();
  surroundings.reset();
  jobs.Answer(absl::UnavailableError("the server is shutting down"));
  EXPECT_THAT(jobs.detached(), ::testing::IsEmpty());
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace gradwatch::server
