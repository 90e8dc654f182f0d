// The watch of one job: its logic, over a sink that a test plays.
#include <filesystem>

#include "core/base/error.h"
#include "server/stream/resume_token.h"
#include "tests/server/api/api_fixture.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Code = absl::StatusCode;
using Response = v1::WatchJobResponse;

class JobWatchTest : public ApiTest {
 protected:
  absl::Status Refusal(const v1::WatchJobRequest& request) { return api_->WatchJob(request, {}).status(); }
  static v1::WatchJobRequest FromStep(const std::string& job_id, int64_t step) {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_from_step(step);
    return request;
  }
  static v1::WatchJobRequest Resume(const std::string& job_id, const std::string& token) {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_resume_token(token);
    return request;
  }
  // Everything that a watch says until it ends; "END" and its reason last.
  std::vector<std::string> Whole(const v1::WatchJobRequest& request) {
    FakeSink* const sink = Watch(request);
    EXPECT_THAT(sink->AwaitEnd(), IsOk());
    const auto all = sink->All<Response>();
    std::vector<std::string> said = Said(all);
    said.push_back(absl::StrCat("END ", v1::WatchEnded::Reason_Name(all.ended().reason())));
    return said;
  }
};

TEST_F(JobWatchTest, AWholeRunFromTheBeginning) {
  RunJob("job", 3);
  FakeSink* const sink = Watch(FromBeginning("job"));
  EXPECT_THAT(sink->AwaitEnd(), IsOk());
  const auto first = sink->At<Response>(0);
  EXPECT_EQ(first.started().job().job_id(), "job");
  EXPECT_EQ(first.started().last_event(), 4);
  EXPECT_FALSE(first.resume_token().empty());
  const auto all = sink->All<Response>();
  EXPECT_THAT(Said(all),
              ElementsAre("1 PENDING", "2 attached", "3 RUNNING", "4 SUCCEEDED", "step 0", "step 1", "step 2"));
  EXPECT_EQ(all.ended().reason(), v1::WatchEnded::REASON_TERMINAL);
  const auto figures = api_->metrics().Read(Operation::kWatchJob);
  EXPECT_EQ(figures.calls, 1);
  EXPECT_EQ(figures.open, 0);
}

TEST_F(JobWatchTest, NothingIsMadeForASlowReaderUntilItTakesWhatItHas) {
  ASSERT_THAT(Create("job"), IsOk());
  FakeSink* const sink = Start(api_->WatchJob(FromBeginning("job"), {}), /*slow=*/true);
  sink->AwaitMessages(1);
  Trainer trainer = AttachReady("job");
  for (int64_t step = 0; step < 20; ++step) Report(trainer, step, step);
  EXPECT_THAT(sink->messages(), SizeIs(1));
  sink->Accept();
  sink->AwaitMessages(2);
  EXPECT_THAT(Said(sink->At<Response>(1)), SizeIs(23)) << "all at once, from the ring";
  sink->Accept();
}

TEST_F(JobWatchTest, AReaderThatTakesNothingIsCancelledAndCanComeBack) {
  RunJob("job", 3);
  FakeSink* const sink = Start(api_->WatchJob(FromBeginning("job"), {}), /*slow=*/true);
  sink->AwaitMessages(1);
  sink->session()->Tick(clock_.Monotonic() + WatchSession::kStalled - absl::Milliseconds(1));
  EXPECT_EQ(sink->cancelled(), 0);
  sink->session()->Tick(clock_.Monotonic() + WatchSession::kStalled);
  EXPECT_EQ(sink->cancelled(), 1);
  sink->Accept(/*ok=*/false);
  EXPECT_THAT(sink->AwaitEnd(), StatusIs(Code::kCancelled, _));
  EXPECT_THAT(Whole(Resume("job", sink->At<Response>(0).resume_token())), SizeIs(4 + 3 + 1));
}

TEST_F(JobWatchTest, AReaderThatHasGoneIsFinishedOnce) {
  ASSERT_THAT(Create("job"), IsOk());
  FakeSink* const sink = Watch(FromBeginning("job"));
  sink->AwaitMessages(2);
  sink->session()->OnGone();
  EXPECT_THAT(sink->AwaitEnd(), StatusIs(Code::kCancelled, _));
  sink->Done();
  EXPECT_EQ(hub_->subscribers(), 0);
}

TEST_F(JobWatchTest, AShutdownIsToldToWhoReadsAndCancelsWhoDoesNot) {
  ASSERT_THAT(Create("job"), IsOk());
  FakeSink* const reads = Watch(FromBeginning("job"));
  FakeSink* const stopped = Start(api_->WatchJob(FromBeginning("job"), {}), /*slow=*/true);
  reads->AwaitMessages(2);
  stopped->AwaitMessages(1);
  for (FakeSink* const sink : {reads, stopped}) sink->session()->BeginShutdown();
  const absl::Status status = reads->AwaitEnd();
  EXPECT_THAT(status, StatusIs(Code::kUnavailable, _));
  EXPECT_EQ(core::GetReason(status), "SHUTTING_DOWN");
  EXPECT_EQ(reads->All<Response>().ended().reason(), v1::WatchEnded::REASON_SHUTDOWN);
  stopped->session()->Abandon();
  EXPECT_EQ(stopped->cancelled(), 1);
  EXPECT_FALSE(stopped->ended()) << "a write is under way";
  stopped->Accept(/*ok=*/false);
  EXPECT_THAT(stopped->AwaitEnd(), StatusIs(Code::kCancelled, _));
}

TEST_F(JobWatchTest, AnIdleStreamSaysThatItIsAlive) {
  ASSERT_THAT(Create("job"), IsOk());
  FakeSink* const sink = Watch(FromBeginning("job"));
  sink->AwaitMessages(2);
  while (sink->messages().size() < 3) sink->session()->Tick(clock_.Monotonic() + WatchSession::kBookmarkEvery);
  const auto bookmark = sink->At<Response>(2);
  EXPECT_TRUE(bookmark.has_bookmark_time());
  EXPECT_FALSE(bookmark.resume_token().empty());
  EXPECT_THAT(Said(bookmark), IsEmpty());
}

// Who puts events in the order of steps holds one back until the steps before it are told, or nothing is to come.
TEST_F(JobWatchTest, SoonAfterEventsAStreamSaysThatItIsComplete) {
  ASSERT_THAT(Create("job"), IsOk());
  FakeSink* const sink = Watch(FromBeginning("job"));
  sink->AwaitMessages(2);
  Trainer trainer = AttachReady("job");
  SayAlert(trainer, "norm", v1::ALERT_STATE_FIRING);
  while (sink->All<Response>().events_size() < 4) {
  }
  Settle();
  const size_t told = sink->messages().size();
  for (int i = 0; i < 100'000 && sink->messages().size() == told; ++i) {  // a write may be about to end
    sink->session()->Tick(clock_.Monotonic() + WatchSession::kBookmarkAfterEvents);
  }
  EXPECT_TRUE(sink->At<Response>(told).has_bookmark_time());
}

// What the stream of a queued job said first could not be brought back, and the step was not heeded.
TEST_F(JobWatchTest, FromStepOfAJobThatHasNotBegun) {
  ASSERT_THAT(Create("job"), IsOk());
  FakeSink* const sink = Watch(FromStep("job", 2));
  const std::string token = sink->At<Response>(0).resume_token();
  FakeSink* const again = Watch(Resume("job", token));
  Trainer trainer = AttachReady("job");
  Report(trainer, 0, 4);
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  for (FakeSink* const watch : {sink, again}) {
    EXPECT_THAT(watch->AwaitEnd(), IsOk());
    EXPECT_THAT(Said(watch->All<Response>()),
                ElementsAre("1 PENDING", "2 attached", "3 RUNNING", "4 SUCCEEDED", "step 2", "step 3", "step 4"));
  }
}

TEST_F(JobWatchTest, FromStepBeforeTheFirstReport) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  FakeSink* const sink = Watch(FromStep("job", 1));
  FakeSink* const again = Watch(Resume("job", sink->At<Response>(0).resume_token()));
  Report(trainer, 0, 1);
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(again->AwaitEnd(), IsOk());
  EXPECT_THAT(Said(again->All<Response>()), ElementsAre(_, _, _, _, "step 1"));
  EXPECT_THAT(sink->AwaitEnd(), IsOk());
}

TEST_F(JobWatchTest, AStepThatTheJobDoesNotHaveIsAnError) {
  ASSERT_THAT(Create("job"), IsOk());
  EXPECT_THAT(Refusal(FromStep("job", -1)), StatusIs(Code::kInvalidArgument, HasSubstr("from_step")));
  EXPECT_THAT(Refusal(FromStep("job", 1000)), StatusIs(Code::kOutOfRange, HasSubstr("the job has 1000 steps")));
  EXPECT_EQ(core::GetErrorMetadata(Refusal(FromStep("job", 1000)), "steps"), "1000");
  EXPECT_THAT(Refusal(FromStep("job", 999)), IsOk());
  RunJob("ended", 5);
  EXPECT_THAT(Whole(FromStep("ended", 4)), ElementsAre(_, _, _, _, "step 4", "END REASON_TERMINAL"));
  EXPECT_THAT(Refusal(FromStep("ended", 5)), StatusIs(Code::kOutOfRange, HasSubstr("ended after 5 steps")));
}

TEST_F(JobWatchTest, AFilterThatMatchesNoTensorIsRefused) {
  ASSERT_THAT(Create("job"), IsOk());
  v1::WatchJobRequest request = FromBeginning("job");
  request.add_tensors("dense0.*");
  request.add_tensors("nosuch*");
  const absl::Status status = Refusal(request);
  EXPECT_THAT(status, StatusIs(Code::kInvalidArgument, HasSubstr("tensors[1]: \"nosuch*\" matches no tensor; there are "
                                                                 "dense0.weight")));
  request.mutable_tensors()->RemoveLast();
  EXPECT_THAT(Refusal(request), IsOk());
}

TEST_F(JobWatchTest, EventsAfterTheEndAreDeliveredAndTheEndIsToldNevertheless) {
  RunJob("job", 2);
  jobs_->TellDataLoss(Get("job").uid(), "statistics: some are gone");
  Settle();
  ASSERT_EQ(Get("job").last_event(), 5);
  EXPECT_THAT(Whole(FromBeginning("job")),
              ElementsAre(_, _, _, "4 SUCCEEDED", HasSubstr("5 "), "step 0", "step 1", "END REASON_TERMINAL"));
}

// Nothing was shown, and the end with it.
TEST_F(JobWatchTest, StatisticsThatAreGoneAreToldAsLost) {
  RunJob("job", 4);
  StopApi();
  StopServer();
  std::filesystem::remove_all(dir_.File("history"));
  StartServer();
  StartApi();
  FakeSink* const sink = Watch(FromBeginning("job"));
  EXPECT_THAT(sink->AwaitEnd(), IsOk());
  const auto all = sink->All<Response>();
  ASSERT_EQ(all.lost_size(), 1);
  EXPECT_EQ(all.lost(0).first_step(), 0);
  EXPECT_EQ(all.lost(0).last_step(), 3);
  EXPECT_EQ(all.ended().reason(), v1::WatchEnded::REASON_TERMINAL);
  Settle();
  EXPECT_TRUE(EventAt("job", 5).has_data_loss());
  EXPECT_THAT(Whole(FromBeginning("job")), SizeIs(5 + 1));
  Settle();
  EXPECT_EQ(Get("job").last_event(), 5) << "told once";
}

// A reader that took nothing for a while gets what came as ranges, and every event.
TEST_F(JobWatchTest, AConflatedWatchOfASlowReader) {
  v1::CreateJobRequest create;
  *create.mutable_spec() = SmallSpec();
  create.mutable_spec()->set_steps(2'000);  // reports of more would be refused
  create.set_job_id("job");
  ASSERT_THAT(Create(create), IsOk());
  v1::WatchJobRequest request = FromBeginning("job");
  request.set_delivery(v1::WatchJobRequest::DELIVERY_CONFLATED);
  FakeSink* const sink = Start(api_->WatchJob(request, {}), /*slow=*/true);
  sink->AwaitMessages(1);
  Trainer trainer = AttachReady("job");
  for (int64_t step = 0; step < 2'000; step += 100) Report(trainer, step, step + 99);
  ASSERT_FALSE(trainer.link->closed().has_value()) << "all were taken";
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  while (!sink->ended()) {
    const size_t messages = sink->messages().size();
    sink->Accept();
    if (!sink->ended()) sink->AwaitMessages(messages + 1);
  }
  const auto all = sink->All<Response>();
  EXPECT_EQ(all.events_size(), 4);
  EXPECT_EQ(all.reports_size(), 0);
  EXPECT_LE(all.points_size(), 64);
  int64_t step = 0;
  for (const v1::ConflatedPoint& point : all.points()) {
    EXPECT_EQ(point.first_step(), step);
    EXPECT_EQ(point.grad_norm_max(), static_cast<double>(point.last_step()));
    EXPECT_EQ(point.last().step(), point.last_step());
    step = point.last_step() + 1;
  }
  EXPECT_EQ(step, 2'000);
}

TEST_F(JobWatchTest, ADeletedJobEndsItsWatches) {
  ASSERT_THAT(Create("job"), IsOk());
  FakeSink* const sink = Watch(FromBeginning("job"));
  sink->AwaitMessages(2);
  ASSERT_THAT(Delete("job", /*force=*/true), IsOk());
  EXPECT_THAT(sink->AwaitEnd(), IsOk());
  EXPECT_EQ(sink->All<Response>().ended().reason(), v1::WatchEnded::REASON_DELETED);
}

}  // namespace
}  // namespace gradwatch::server
