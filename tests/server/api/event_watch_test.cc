// The watches of all jobs, over sinks that a test plays.
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

class EventWatchTest : public ApiTest {
 protected:
  FakeSink* WatchAlerts(const v1::WatchAlertsRequest& request) { return Start(api_->WatchAlerts(request, {})); }
  FakeSink* WatchJobs(const v1::WatchJobsRequest& request) { return Start(api_->WatchJobs(request, {})); }
  static v1::WatchAlertsRequest ResumeAlerts(const std::string& token) {
    v1::WatchAlertsRequest request;
    request.set_resume_token(token);
    return request;
  }
  // Each event in short, of any of these streams.
  template <typename Response>
  static std::vector<std::string> Shorts(const Response& response) {
    std::vector<std::string> shorts;
    for (const auto& event : response.events()) shorts.push_back(absl::StrCat(event.job_id(), " ", Short(event)));
    return shorts;
  }
  template <typename Response>
  static std::vector<std::string> Await(FakeSink* sink, size_t events) {
    for (size_t messages = 1;; ++messages) {
      sink->AwaitMessages(messages);
      const auto shorts = Shorts(sink->All<Response>());
      if (shorts.size() >= events || ::testing::Test::HasFatalFailure()) return shorts;
    }
  }
};

TEST_F(EventWatchTest, AlertsOfAllJobs) {
  ASSERT_THAT(Create("job"), IsOk());
  FakeSink* const live = WatchAlerts({});
  EXPECT_THAT(Shorts(live->At<v1::WatchAlertsResponse>(0)), IsEmpty()) << "at once";
  Trainer trainer = AttachReady("job");
  SayAlert(trainer, "a", v1::ALERT_STATE_FIRING, v1::SEVERITY_CRITICAL);
  SayAlert(trainer, "b", v1::ALERT_STATE_FIRING, v1::SEVERITY_INFO);
  EXPECT_THAT(Await<v1::WatchAlertsResponse>(live, 2), ElementsAre("job FIRING a", "job FIRING b"));
  v1::WatchAlertsRequest request;
  request.set_from_beginning(true);
  request.set_min_severity(v1::SEVERITY_WARNING);
  EXPECT_THAT(Await<v1::WatchAlertsResponse>(WatchAlerts(request), 1), ElementsAre("job FIRING a"));
  request.set_min_severity(static_cast<v1::Severity>(77));
  EXPECT_THAT(api_->WatchAlerts(request, {}), StatusIs(Code::kInvalidArgument, HasSubstr("min_severity")));
}

// It was HISTORY_REWOUND, and a live watch ended with an error at the next restart.
TEST_F(EventWatchTest, ATokenIsGoodAfterItsJobWasDeleted) {
  ASSERT_THAT(Create("old"), IsOk());
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  SayAlert(trainer, "a", v1::ALERT_STATE_FIRING);
  FakeSink* const sink = WatchAlerts({});
  const std::string token = sink->At<v1::WatchAlertsResponse>(0).resume_token();
  ASSERT_THAT(Delete("job", /*force=*/true), IsOk());
  EXPECT_THAT(api_->WatchAlerts(ResumeAlerts(token), {}), IsOk());
  RestartAll();
  FakeSink* const again = WatchAlerts(ResumeAlerts(token));
  EXPECT_THAT(Shorts(again->At<v1::WatchAlertsResponse>(0)), IsEmpty());
  Trainer other = AttachReady("old");
  SayAlert(other, "b", v1::ALERT_STATE_FIRING);
  EXPECT_THAT(Await<v1::WatchAlertsResponse>(again, 1), ElementsAre("old FIRING b"));
}

TEST_F(EventWatchTest, EventsOfJobsThatWereDeletedAreLeftOut) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  SayAlert(trainer, "old", v1::ALERT_STATE_FIRING);
  ASSERT_THAT(Delete("job", /*force=*/true), IsOk());
  ASSERT_THAT(Create("job"), IsOk());
  Trainer next = AttachReady("job");
  SayAlert(next, "new", v1::ALERT_STATE_FIRING);
  v1::WatchJobsRequest jobs;
  jobs.set_from_beginning(true);
  jobs.set_events_only(true);
  EXPECT_THAT(Await<v1::WatchJobsResponse>(WatchJobs(jobs), 4),
              ElementsAre("job PENDING", "job attached", "job RUNNING", "job FIRING new"));
  for (const bool after_restart : {false, true}) {
    if (after_restart) RestartAll();
    for (const char* job_id : {"", "job"}) {
      v1::WatchAlertsRequest request;
      request.set_from_beginning(true);
      request.set_job_id(job_id);
      EXPECT_THAT(Await<v1::WatchAlertsResponse>(WatchAlerts(request), 1), ElementsAre("job FIRING new"));
    }
  }
}

TEST_F(EventWatchTest, ForeignTokensAreRefused) {
  ASSERT_THAT(Create("job"), IsOk());
  const std::string token = WatchAlerts({})->At<v1::WatchAlertsResponse>(0).resume_token();
  v1::WatchAlertsRequest narrow = ResumeAlerts(token);
  narrow.set_job_id("job");
  EXPECT_THAT(api_->WatchAlerts(narrow, {}), StatusIs(Code::kInvalidArgument, HasSubstr("other filters")));
  v1::WatchJobsRequest jobs;
  jobs.set_resume_token(token);
  EXPECT_THAT(api_->WatchJobs(jobs, {}), StatusIs(Code::kInvalidArgument, _));
  jobs.set_resume_token("junk");
  EXPECT_THAT(api_->WatchJobs(jobs, {}), StatusIs(Code::kInvalidArgument, _));
  auto ahead = *ResumeToken::Decode(token);
  ahead.position += 1000;
  const absl::Status status = api_->WatchAlerts(ResumeAlerts(ahead.Encode()), {}).status();
  EXPECT_THAT(status, StatusIs(Code::kOutOfRange, _));
  EXPECT_EQ(core::GetReason(status), "HISTORY_REWOUND");
}

TEST_F(EventWatchTest, AllEventsOfAllJobsFromRingAndLedger) {
  RunJob("a", 2);
  ASSERT_THAT(Create("b"), IsOk());
  v1::WatchJobsRequest request;
  request.set_from_beginning(true);
  const auto from_ring = Await<v1::WatchJobsResponse>(WatchJobs(request), 5);
  EXPECT_THAT(from_ring, ElementsAre("a PENDING", "a attached", "a RUNNING", "a SUCCEEDED", "b PENDING"));
  RestartAll();
  EXPECT_EQ(Await<v1::WatchJobsResponse>(WatchJobs(request), 5), from_ring);
}

TEST_F(EventWatchTest, FiguresComeFirstOfAllJobsThenOfThoseThatChanged) {
  ASSERT_THAT(Create("a"), IsOk());
  ASSERT_THAT(Create("b"), IsOk());
  Trainer trainer = AttachReady("a");
  Report(trainer, 0, 3);
  FakeSink* const sink = WatchJobs({});
  v1::WatchJobsRequest request;
  request.set_events_only(true);
  FakeSink* const events_only = WatchJobs(request);
  EXPECT_THAT(sink->At<v1::WatchJobsResponse>(0).figures(), SizeIs(2));
  api_->Tick();  // nothing has changed
  Report(trainer, 4, 9);
  clock_.Advance(absl::Seconds(1));
  jobs_->Tick();
  Settle();
  EXPECT_THAT(sink->messages(), SizeIs(1)) << "at most once a second, when the time comes";
  api_->Tick();
  const auto second = sink->At<v1::WatchJobsResponse>(1);
  ASSERT_THAT(second.figures(), SizeIs(1));
  EXPECT_EQ(second.figures(0).job_id(), "a");
  EXPECT_EQ(second.figures(0).steps_done(), 10);
  EXPECT_FALSE(second.resume_token().empty());
  EXPECT_THAT(events_only->All<v1::WatchJobsResponse>().figures(), IsEmpty());
}

TEST_F(EventWatchTest, FiguresAreEncodedOnceForAll) {
  ASSERT_THAT(Create("a"), IsOk());
  FiguresBoard board(jobs_.get());
  board.Join();
  board.Join();
  int64_t first = 0, second = 0;
  const auto one = board.Changed(&first);
  const auto other = board.Changed(&second);
  ASSERT_THAT(one, SizeIs(1));
  EXPECT_EQ(one, other) << "the same bytes";
  EXPECT_FALSE(board.Refresh());
  EXPECT_THAT(board.Changed(&first), IsEmpty());
  board.Leave();
  board.Leave();
  EXPECT_FALSE(board.Refresh()) << "nobody watches";
}

TEST_F(EventWatchTest, AShutdownIsTold) {
  FakeSink* const sink = WatchJobs({});
  sink->AwaitMessages(1);
  sink->session()->BeginShutdown();
  EXPECT_THAT(sink->AwaitEnd(), StatusIs(Code::kUnavailable, _));
  EXPECT_TRUE(sink->All<v1::WatchJobsResponse>().shutting_down());
}

}  // namespace
}  // namespace gradwatch::server
