// Trainers' streams beside a manager that answers when the test says so, and gRPC's end of them.
#include "server/rpc/trainer_stream.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <sched.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "gradwatch/v1/trainer_service.grpc.pb.h"
#include "server/rpc/trainer_rpc.h"
#include "tests/support/fake_clock.h"

namespace gradwatch::server {
namespace {

using ::testing::ElementsAre;

// Keeps the question of a trainer until the test answers it, and what it says until the test accepts it.
class SlowJobManager final : public JobManager {
 public:
  // Something that arrived.
  struct Said {
    std::string what;     // "reports 3" by the first step, "notices 1" by the first number
    size_t bytes = 0;     // serialised
    size_t waiting = 0;   // bytes of what was not accepted before it
    size_t messages = 0;  // number of them
    absl::AnyInvocable<void()> accepted = nullptr;
  };

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

  void OnReports(const Attachment&, const std::shared_ptr<TrainerLink>&, v1::ReportBatch batch,
                 absl::AnyInvocable<void()> accepted) override {
    Keep(absl::StrCat("reports ", batch.reports(0).step()), batch.ByteSizeLong(), std::move(accepted));
  }
  void OnNotices(const Attachment&, const std::shared_ptr<TrainerLink>&, v1::NoticeBatch batch,
                 absl::AnyInvocable<void()> accepted) override {
    Keep(absl::StrCat("notices ", batch.notices(0).number()), batch.ByteSizeLong(), std::move(accepted));
  }

  // Waits until the `count`th message has arrived; what all of them were.
  std::vector<std::string> AwaitSaid(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return said_.size() >= count; };
    mutex_.Await(absl::Condition(&enough));
    std::vector<std::string> all;
    for (const Said& said : said_) all.push_back(said.what);
    return all;
  }
  // The most that was waiting when something arrived.
  size_t MostWaiting() {
    absl::MutexLock lock(&mutex_);
    size_t most = 0;
    for (const Said& said : said_) most = std::max(most, said.waiting);
    return most;
  }
  size_t MostMessagesWaiting() {
    absl::MutexLock lock(&mutex_);
    size_t most = 0;
    for (const Said& said : said_) most = std::max(most, said.messages);
    return most;
  }
  // Accepts the message at `index` of what was said.
  void Accept(size_t index) {
    absl::AnyInvocable<void()> accepted;
    {
      absl::MutexLock lock(&mutex_);
      accepted = std::exchange(said_[index].accepted, nullptr);
      waiting_ -= said_[index].bytes;
      --messages_;
    }
    accepted();
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
  void CancelEdit(v1::CancelEditRequest, std::string, Done<v1::CancelEditResponse>) override {}
  absl::StatusOr<v1::ListEditsResponse> ListEdits(const v1::ListEditsRequest&) const override {
    return v1::ListEditsResponse();
  }
  void PauseJob(v1::PauseJobRequest, std::string, Done<v1::Job>) override {}
  void ResumeJob(v1::ResumeJobRequest, std::string, Done<v1::Job>) override {}
  void StopJob(v1::StopJobRequest, std::string, Done<v1::Job>) override {}
  void UpdateJob(v1::UpdateJobRequest, std::string, Done<v1::Job>) override {}
  absl::StatusOr<v1::RuleSet> GetRules(absl::string_view) const override { return v1::RuleSet(); }
  void ApplyRules(v1::ApplyRulesRequest, std::string, Done<v1::ApplyRulesResponse>) override {}
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
  void Tick() override {}
  void Drain() override {}

 private:
  void Keep(std::string what, size_t bytes, absl::AnyInvocable<void()> accepted) {
    absl::MutexLock lock(&mutex_);
    said_.push_back({std::move(what), bytes, waiting_, messages_, std::move(accepted)});
    waiting_ += bytes;
    ++messages_;
  }

  absl::Mutex mutex_;
  std::vector<Said> said_ ABSL_GUARDED_BY(mutex_);
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t messages_ ABSL_GUARDED_BY(mutex_) = 0;
  bool asked_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<TrainerLink> link_ ABSL_GUARDED_BY(mutex_);
  Done<Attachment> done_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> detached_ ABSL_GUARDED_BY(mutex_);
};

// All that a stream uses while its call lasts; gone with the server.
struct Surroundings {
  StreamRegistry streams;
  testing::FakeClock clock;
  Api api;
  RpcContext context;
  TrainerRpc service;
  std::unique_ptr<grpc::Server> server;

  explicit Surroundings(JobManager* jobs, int max_trainers = 1, size_t read_ahead = ReadBudget::kBytes)
      : api({.jobs = jobs,
             .reader = nullptr,
             .statistics = nullptr,
             .hub = nullptr,
             .events = nullptr,
             .requests = nullptr,
             .questions = nullptr,
             .clock = &clock,
             .info = {},
             .limits = {.max_trainers = max_trainers}}),
        context{.api = &api, .jobs = jobs, .clock = &clock, .streams = &streams},
        service(&context, read_ahead) {
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

  message.mutable_notices()->add_notices()->mutable_model_ready();  // nothing is read behind it
  ASSERT_TRUE(stream->Write(message));
  jobs.AwaitSaid(1);
  while (link->TakeHeard() != TrainerLink::Heard::kBusy) sched_yield();
  EXPECT_EQ(link->TakeHeard(), TrainerLink::Heard::kBusy) << "for as long as it lasts";
  jobs.Accept(0);
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

// A trainer that is attached and says what the test wants.
class AttachedTrainerTest : public ::testing::Test {
 protected:
  explicit AttachedTrainerTest(size_t read_ahead = ReadBudget::kBytes)
      : surroundings_(&jobs_, /*max_trainers=*/1, read_ahead) {
    v1::TrainerMessage hello;
    hello.mutable_hello()->set_job_id("job");
    stream_->Write(hello);
    jobs_.WaitUntilAsked();
    jobs_.Answer(JobManager::Attachment{.job_id = "job", .uid = "uid", .attempt = 1});
  }
  // One report; `bytes`: about how large.
  void Report(int64_t step, size_t bytes = 0) {
    v1::TrainerMessage message;
    message.mutable_reports()->set_epoch(1);
    message.mutable_reports()->add_reports()->set_step(step);
    message.mutable_reports()->mutable_reports(0)->add_layers()->set_name(std::string(bytes, 'x'));
    EXPECT_TRUE(stream_->Write(message));
  }
  void Notify(v1::Notice notice) {
    v1::TrainerMessage message;
    message.mutable_notices()->set_epoch(1);
    *message.mutable_notices()->add_notices() = std::move(notice);
    EXPECT_TRUE(stream_->Write(message));
  }
  void NotifyAlert(int64_t number) {
    v1::Notice notice;
    notice.set_number(number);
    notice.mutable_alert();
    Notify(std::move(notice));
  }

  SlowJobManager jobs_;
  Surroundings surroundings_;
  const std::unique_ptr<v1::TrainerService::Stub> stub_ =
      v1::TrainerService::NewStub(surroundings_.server->InProcessChannel({}));
  grpc::ClientContext call_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1::TrainerMessage, v1::TrainerDirective>> stream_ =
      stub_->AttachTrainer(&call_);
};

TEST_F(AttachedTrainerTest, ANoticeDoesNotWaitUntilReportsAreStored) {
  Report(0);
  Report(1);
  NotifyAlert(1);
  Report(2);
  EXPECT_THAT(jobs_.AwaitSaid(4), ElementsAre("reports 0", "reports 1", "notices 1", "reports 2"));
}

TEST_F(AttachedTrainerTest, OnlySoMuchIsReadAhead) {
  constexpr size_t kReport = size_t{3} << 20, kRoom = size_t{6} << 20;
  constexpr int64_t kReports = 20;
  std::thread trainer([this] {
    for (int64_t step = 0; step < kReports; ++step) Report(step, kReport);
  });
  jobs_.AwaitSaid(2);  // as many as there is room for
  for (size_t i = 0; i < kReports; ++i) {
    jobs_.AwaitSaid(i + 1);
    jobs_.Accept(i);
  }
  trainer.join();
  EXPECT_LT(jobs_.MostWaiting(), kRoom);
}

// However small they are: each takes the ledger's time.
TEST_F(AttachedTrainerTest, OnlySoManyMessagesOfNoticesAreReadAhead) {
  constexpr size_t kNotices = 40, kAtOnce = 8;
  std::thread trainer([this] {
    for (size_t number = 1; number <= kNotices; ++number) NotifyAlert(static_cast<int64_t>(number));
  });
  for (size_t i = 0; i < kNotices; ++i) {
    jobs_.AwaitSaid(std::min(kNotices, i + kAtOnce));
    jobs_.Accept(i);
  }
  trainer.join();
  EXPECT_LE(jobs_.MostMessagesWaiting(), kAtOnce - 1);
}

TEST_F(AttachedTrainerTest, ReportsComeWhenTheTensorsAreKnown) {
  v1::Notice ready;
  ready.set_number(1);
  ready.mutable_model_ready();
  Notify(ready);
  std::thread reporting([this] { Report(0); });  // ends when it is read: nothing lies between in-process peers
  jobs_.AwaitSaid(1);
  jobs_.Accept(0);
  jobs_.AwaitSaid(2);
  reporting.join();
  EXPECT_EQ(jobs_.MostWaiting(), 0u);
}

TEST_F(AttachedTrainerTest, WhoHasSaidAllStillGetsItsAcknowledgement) {
  NotifyAlert(1);
  stream_->WritesDone();
  jobs_.AwaitSaid(1);
  v1::TrainerDirective ack;
  ack.mutable_ack()->set_notice(1);
  jobs_.link()->Send(ack);
  jobs_.Accept(0);
  v1::TrainerDirective read;
  ASSERT_TRUE(stream_->Read(&read));
  EXPECT_EQ(read.ack().notice(), 1);
  EXPECT_FALSE(stream_->Read(&read));
  EXPECT_TRUE(stream_->Finish().ok());
  EXPECT_THAT(jobs_.detached(), ElementsAre("job"));
}

// All trainers together have had their fill.
class CrowdedTrainerTest : public AttachedTrainerTest {
 protected:
  CrowdedTrainerTest() : AttachedTrainerTest(/*read_ahead=*/1) {}
};

TEST_F(CrowdedTrainerTest, ThenEachReadsOneMessageAfterTheOther) {
  std::thread reporting([this] {  // waits for its reader: nothing lies between in-process peers
    for (int64_t step = 0; step < 5; ++step) Report(step);
  });
  for (size_t i = 0; i < 5; ++i) {
    jobs_.AwaitSaid(i + 1);
    jobs_.Accept(i);
  }
  reporting.join();
  EXPECT_EQ(jobs_.MostMessagesWaiting(), 0u);
}

TEST(ReadBudgetTest, WhatIsNeverAcceptedIsGivenBackToo) {
  const auto budget = std::make_shared<ReadBudget>(/*bytes=*/100);
  EXPECT_TRUE(budget->HasRoom());
  auto first = std::make_unique<ReadBudget::Share>(budget, 60);
  EXPECT_TRUE(budget->HasRoom());
  {
    const ReadBudget::Share second(budget, 60);
    EXPECT_FALSE(budget->HasRoom());
  }
  EXPECT_TRUE(budget->HasRoom());
  first.reset();
  EXPECT_TRUE(budget->HasRoom());
}

TEST_F(AttachedTrainerTest, WhatThisServerDoesNotKnowIsNotHandedOn) {
  v1::Notice notice;
  notice.set_number(1);
  v1::Alert* const alert = notice.mutable_alert();
  alert->GetReflection()->MutableUnknownFields(alert)->AddLengthDelimited(1000, std::string(1 << 20, 'x'));
  Notify(std::move(notice));
  jobs_.AwaitSaid(1);
  NotifyAlert(2);
  jobs_.AwaitSaid(2);
  EXPECT_LT(jobs_.MostWaiting(), 1000u);
}

}  // namespace
}  // namespace gradwatch::server
