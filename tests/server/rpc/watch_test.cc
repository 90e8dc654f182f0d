// The streams of jobs as clients see them.
#include <grpcpp/generic/generic_stub.h>

#include "server/stream/resume_token.h"
#include "tests/server/rpc/rpc_fixture.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class WatchTest : public RpcTest {};

TEST_F(WatchTest, AWholeRunFromTheBeginning) {
  RunJob("job", 5);
  Watch watch = StartWatch(FromBeginning("job"));
  const v1::WatchJobResponse first = watch.Next();
  EXPECT_EQ(first.started().job().job_id(), "job");
  EXPECT_THAT(first.started().job().tensors(), SizeIs(2));
  EXPECT_EQ(first.started().first_event(), 1);
  EXPECT_EQ(first.started().last_event(), 4);
  const auto rest = watch.Rest();
  EXPECT_THAT(Said(rest), ElementsAre("1 PENDING", "2 attached", "3 RUNNING", "4 SUCCEEDED", "step 0", "step 1",
                                      "step 2", "step 3", "step 4"));
  EXPECT_EQ(rest.back().ended().reason(), v1::WatchEnded::REASON_TERMINAL);
  EXPECT_TRUE(watch.reader->Finish().ok());
}

TEST_F(WatchTest, ALiveRunFromNow) {
  ASSERT_THAT(Create("job"), IsOk());
  Attached trainer = AttachReady("job");
  trainer.Report(0, 3);
  v1::WatchJobRequest request;
  request.set_job_id("job");
  Watch watch = StartWatch(request);
  EXPECT_TRUE(watch.Next().has_started());
  trainer.Report(4, 6);
  trainer.Finish(v1::JOB_STATE_STOPPED);
  EXPECT_THAT(Said(watch.Rest()), ElementsAre("4 STOPPING", "5 STOPPED", "step 4", "step 5", "step 6"));
  EXPECT_TRUE(watch.reader->Finish().ok());
}

TEST_F(WatchTest, ResumingAnywhereIsTheSameAsNeverHavingStopped) {
  RunJob("job", 8000);
  Watch whole = StartWatch(FromBeginning("job"));
  const auto responses = whole.Rest();
  ASSERT_GT(responses.size(), 3u);
  const auto said = Said(responses);
  for (size_t cut = 0; cut + 1 < responses.size(); ++cut) {
    v1::WatchJobRequest request;
    request.set_job_id("job");
    request.set_resume_token(responses[cut].resume_token());
    Watch rest = StartWatch(request);
    std::vector<v1::WatchJobResponse> both(responses.begin(), responses.begin() + static_cast<long>(cut) + 1);
    for (auto& response : rest.Rest()) both.push_back(std::move(response));
    EXPECT_EQ(rest.reader->Finish().error_message(), "");
    const auto together = Said(both);
    const auto differ = std::mismatch(together.begin(), together.end(), said.begin(), said.end());
    EXPECT_EQ(together, said) << "cut after message " << cut << ": " << together.size() << " for " << said.size()
                              << ", from place " << differ.first - together.begin() << ", "
                              << (differ.first == together.end() ? "the end" : *differ.first);
  }
}

TEST_F(WatchTest, AStreamGoesOnAfterARestartOfTheServer) {
  ASSERT_THAT(Create("job"), IsOk());
  Attached trainer = AttachReady("job");
  trainer.Report(0, 3);
  Watch watch = StartWatch(FromBeginning("job"));
  std::vector<v1::WatchJobResponse> responses;
  while (Said(responses).size() < 3 + 4) responses.push_back(watch.Next());
  all_launches();
  StopRpc();
  RestartServer();
  StartRpc();
  v1::WatchJobRequest request;
  request.set_job_id("job");
  request.set_resume_token(responses.back().resume_token());
  Watch again = StartWatch(request);
  EXPECT_TRUE(again.Next().has_started());
  Attached back = OpenTrainer();
  v1::TrainerMessage hello;
  *hello.mutable_hello() = Hello("job");
  back.Say(hello);
  EXPECT_EQ(back.Next().welcome().acked_step(), 3);
  back.notices = 1;
  back.Report(4, 5);
  back.Finish(v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Said(again.Rest()), ElementsAre("4 detached: the server was away", "5 RECOVERING", "6 attached",
                                              "7 RUNNING", "8 SUCCEEDED", "step 4", "step 5"));
}

TEST_F(WatchTest, Filters) {
  RunJob("job", 10);
  v1::WatchJobRequest request = FromBeginning("job");
  request.set_events_only(true);
  Watch events = StartWatch(request);
  EXPECT_THAT(Said(events.Rest()), ElementsAre("1 PENDING", "2 attached", "3 RUNNING", "4 SUCCEEDED"));

  request = FromBeginning("job");
  request.set_every_steps(4);
  request.add_tensors("*.bias");
  Watch some = StartWatch(request);
  const auto responses = some.Rest();
  EXPECT_THAT(Said(responses),
              ElementsAre("1 PENDING", "2 attached", "3 RUNNING", "4 SUCCEEDED", "step 0", "step 4", "step 8"));
  for (const auto& response : responses) {
    for (const auto& report : response.reports()) {
      ASSERT_THAT(report.tensors(), SizeIs(1));
      EXPECT_EQ(report.tensors(0).tensor(), 1);
    }
  }

  request.clear_every_steps();
  request.set_from_step(7);
  Watch late = StartWatch(request);
  EXPECT_THAT(Said(late.Rest()),
              ElementsAre("1 PENDING", "2 attached", "3 RUNNING", "4 SUCCEEDED", "step 7", "step 8", "step 9"));
  request.set_after_event(3);
  Watch after = StartWatch(request);
  EXPECT_THAT(Said(after.Rest()), ElementsAre("4 SUCCEEDED"));
}

TEST_F(WatchTest, NamesOfTensorsMayComeAfterTheStreamHasBegun) {
  ASSERT_THAT(Create("job"), IsOk());
  v1::WatchJobRequest request = FromBeginning("job");
  request.add_tensors("*.weight");
  Watch watch = StartWatch(request);
  EXPECT_TRUE(watch.Next().has_started());
  Attached trainer = AttachReady("job");
  trainer.Report(0, 2);
  trainer.Finish(v1::JOB_STATE_SUCCEEDED);
  int reports = 0;
  for (const auto& response : watch.Rest()) {
    for (const auto& report : response.reports()) {
      ++reports;
      ASSERT_THAT(report.tensors(), SizeIs(1));
      EXPECT_EQ(report.tensors(0).tensor(), 0);
    }
  }
  EXPECT_EQ(reports, 3);
}

TEST_F(WatchTest, BadStartsAreRefused) {
  RunJob("job", 3);
  RunJob("other", 3);
  Watch watch = StartWatch(FromBeginning("job"));
  const std::string token = watch.Rest().back().resume_token();
  const auto refuses = [&](auto change, grpc::StatusCode code, const std::string& message) {
    v1::WatchJobRequest request;
    request.set_job_id("job");
    change(request);
    const grpc::Status status = StatusOf(request);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(message));
    EXPECT_FALSE(status.error_details().empty()) << "a reason";
  };
  refuses([](auto& r) { r.set_job_id("nobody"); }, grpc::StatusCode::NOT_FOUND, "nobody");
  refuses([](auto& r) { r.set_from_step(-1); }, grpc::StatusCode::INVALID_ARGUMENT, "from_step");
  refuses([](auto& r) { r.set_after_event(-1); }, grpc::StatusCode::INVALID_ARGUMENT, "after_event");
  refuses([](auto& r) { r.set_after_event(5); }, grpc::StatusCode::OUT_OF_RANGE, "last event is 4");
  refuses([](auto& r) { r.set_every_steps(-2); }, grpc::StatusCode::INVALID_ARGUMENT, "every_steps: -2");
  refuses([](auto& r) { r.add_tensors(""); }, grpc::StatusCode::INVALID_ARGUMENT, "tensors[0]");
  refuses([](auto& r) { r.set_resume_token("junk"); }, grpc::StatusCode::INVALID_ARGUMENT, "resume");
  refuses([&](auto& r) { r.set_job_id("other"), r.set_resume_token(token); }, grpc::StatusCode::INVALID_ARGUMENT,
          "another job");
  refuses([&](auto& r) { r.set_events_only(true), r.set_resume_token(token); }, grpc::StatusCode::INVALID_ARGUMENT,
          "other filters");
  refuses([](auto& r) { r.set_delivery(static_cast<v1::WatchJobRequest::Delivery>(9)); },
          grpc::StatusCode::INVALID_ARGUMENT, "delivery: 9");
  auto ahead = *ResumeToken::Decode(token);
  ahead.cursor.event = 99;
  refuses([&](auto& r) { r.set_resume_token(ahead.Encode()); }, grpc::StatusCode::OUT_OF_RANGE, "ahead");
  auto foreign = *ResumeToken::Decode(token);
  foreign.log_epoch = "elsewhere";
  refuses([&](auto& r) { r.set_resume_token(foreign.Encode()); }, grpc::StatusCode::OUT_OF_RANGE, "another data");
}

TEST_F(WatchTest, BytesThatAreNoRequestAreRefused) {
  grpc::GenericStub stub(channel_);
  for (const char* method : {"/gradwatch.v1.WatchService/WatchJob", "/gradwatch.v1.AlertService/WatchAlerts"}) {
    const auto context = NewContext();
    grpc::CompletionQueue queue;
    const grpc::Slice junk("\xff\xff\xff");
    const auto call = stub.PrepareUnaryCall(context.get(), method, grpc::ByteBuffer(&junk, 1), &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method << ": " << status.error_message();
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
  }
}

TEST_F(WatchTest, WatchersOfADeletedJobAreTold) {
  ASSERT_THAT(Create("job"), IsOk());
  Watch watch = StartWatch(FromBeginning("job"));
  EXPECT_TRUE(watch.Next().has_started());
  ASSERT_THAT(Delete("job", /*force=*/true), IsOk());
  ASSERT_THAT(Create("job"), IsOk()) << "another one of the same id";
  EXPECT_EQ(watch.Rest().back().ended().reason(), v1::WatchEnded::REASON_DELETED);
  EXPECT_TRUE(watch.reader->Finish().ok());
}

TEST_F(WatchTest, AReaderThatCancelsLeavesNothingBehind) {
  ASSERT_THAT(Create("job"), IsOk());
  for (int i = 0; i < 10; ++i) {
    Watch watch = StartWatch(FromBeginning("job"));
    EXPECT_TRUE(watch.Next().has_started());
    watch.context->TryCancel();
    EXPECT_EQ(watch.reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  rpc_->ShutDown(absl::Seconds(10));
  EXPECT_EQ(hub_->subscribers(), 0);
}

TEST_F(WatchTest, AShutdownTellsEveryStream) {
  ASSERT_THAT(Create("job"), IsOk());
  Attached trainer = AttachReady("job");
  Watch watch = StartWatch(FromBeginning("job"));
  EXPECT_TRUE(watch.Next().has_started());
  const auto alerts_context = NewContext();
  const auto alerts = alert_stub_->WatchAlerts(alerts_context.get(), {});
  v1::WatchAlertsResponse response;
  ASSERT_TRUE(alerts->Read(&response));

  jobs_->Drain();
  rpc_->ShutDown(absl::Seconds(10));
  EXPECT_EQ(watch.Rest().back().ended().reason(), v1::WatchEnded::REASON_SHUTDOWN);
  EXPECT_EQ(watch.reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  ASSERT_TRUE(alerts->Read(&response));
  EXPECT_TRUE(response.shutting_down());
  EXPECT_FALSE(alerts->Read(&response));
  EXPECT_EQ(alerts->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(trainer.Close().error_code(), grpc::StatusCode::UNAVAILABLE);
  Settle();
  EXPECT_EQ(State("job"), "RUNNING") << "the trainer goes on without the server";
}

TEST_F(WatchTest, AReaderThatDoesNotReadHoldsNobodyUp) {
  ASSERT_THAT(CreateLong("job"), IsOk());
  Attached trainer = AttachReady("job");
  Watch stuck = StartWatch(FromBeginning("job"));
  EXPECT_TRUE(stuck.Next().has_started());
  Watch reading = StartWatch(FromBeginning("job"));
  // Far more than all buffers on the way hold.
  constexpr int64_t kSteps = 3000;
  for (int64_t step = 0; step < kSteps; step += 10) {
    v1::TrainerMessage message;
    for (int64_t i = step; i < step + 10; ++i) {
      v1::StepReport* report = message.mutable_reports()->add_reports();
      report->set_step(i);
      for (int32_t tensor = 0; tensor < 2; ++tensor) {
        report->add_tensors()->set_tensor(tensor);
        v1::Histogram* histogram = report->mutable_tensors(tensor)->mutable_histogram();
        histogram->set_positive_offset(-127);
        histogram->set_negative_offset(-127);
        for (int bucket = 0; bucket < 250; ++bucket) {
          histogram->add_positive_counts(int64_t{1} << 60);
          histogram->add_negative_counts(int64_t{1} << 60);
        }
      }
    }
    trainer.Say(message);
    while (trainer.Next().ack().step() < step + 9 && !trainer.over) {
    }
  }
  trainer.Finish(v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Said(reading.Rest()), SizeIs(4 + kSteps));
  // After 30 seconds without progress the server gives the stuck one up.
  clock_.Advance(absl::Seconds(31));
  rpc_->Tick();
  rpc_->ShutDown(absl::Seconds(10));
  EXPECT_EQ(hub_->subscribers(), 0);
}

TEST_F(WatchTest, AnIdleStreamSaysThatItIsAlive) {
  ASSERT_THAT(Create("job"), IsOk());
  Watch watch = StartWatch(FromBeginning("job"));
  EXPECT_TRUE(watch.Next().has_started());
  EXPECT_THAT(Said({watch.Next()}), ElementsAre("1 PENDING"));
  clock_.Advance(absl::Seconds(16));
  v1::WatchJobResponse bookmark;
  TickDuring([&] { bookmark = watch.Next(); });
  EXPECT_TRUE(bookmark.has_bookmark_time());
  EXPECT_THAT(bookmark.events(), IsEmpty());
}

}  // namespace
}  // namespace gradwatch::server
