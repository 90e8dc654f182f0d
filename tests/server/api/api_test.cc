// Calls that are answered once.
#include "core/base/error.h"
#include "tests/server/api/api_fixture.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Code = absl::StatusCode;

class OperationTest : public ApiTest {};

TEST_F(OperationTest, TheViewSaysHowMuchOfAJobIsTold) {
  v1::CreateJobRequest create;
  *create.mutable_spec() = SmallSpec();
  create.mutable_spec()->set_display_name("A name");
  create.set_job_id("job");
  ASSERT_THAT(Create(create), IsOk());
  AttachReady("job");
  v1::GetJobRequest request;
  request.set_job_id("job");
  auto job = Ask(&Api::GetJob, request);
  ASSERT_THAT(job, IsOk());
  EXPECT_THAT(job->tensors(), SizeIs(1));
  EXPECT_TRUE(job->spec().has_model());
  request.set_view(v1::JOB_VIEW_BASIC);
  job = Ask(&Api::GetJob, request);
  ASSERT_THAT(job, IsOk());
  EXPECT_THAT(job->tensors(), IsEmpty());
  EXPECT_FALSE(job->spec().has_model() || job->has_controls());
  EXPECT_EQ(job->spec().display_name(), "A name");
  request.set_view(static_cast<v1::JobView>(9));
  EXPECT_THAT(Ask(&Api::GetJob, request), StatusIs(Code::kInvalidArgument, HasSubstr("view")));
}

TEST_F(OperationTest, WhatIsStoredIsToldOfAJobAndOfAll) {
  v1::CreateJobRequest create;
  *create.mutable_spec() = SmallSpec();
  create.mutable_spec()->mutable_retention()->set_max_bytes(7'000'000);
  create.set_job_id("job");
  ASSERT_THAT(Create(create), IsOk());
  v1::GetJobRequest request;
  request.set_job_id("job");
  auto job = Ask(&Api::GetJob, request);
  ASSERT_THAT(job, IsOk());
  EXPECT_EQ(job->statistics().retention().max_bytes(), 7'000'000);
  EXPECT_TRUE(job->statistics().retention().has_max_age());
  EXPECT_FALSE(job->statistics().has_first_step()) << "nothing is stored yet";
  request.set_view(v1::JOB_VIEW_BASIC);
  EXPECT_FALSE(Ask(&Api::GetJob, request)->has_statistics());
  v1::ListJobsRequest list;
  EXPECT_FALSE(Ask(&Api::ListJobs, list)->jobs(0).has_statistics());
  list.set_view(v1::JOB_VIEW_FULL);
  EXPECT_TRUE(Ask(&Api::ListJobs, list)->jobs(0).has_statistics());
  const auto info = Ask(&Api::GetServerInfo, v1::GetServerInfoRequest());
  ASSERT_THAT(info, IsOk());
  EXPECT_TRUE(info->statistics().job_retention().has_max_bytes());
  EXPECT_EQ(info->statistics().stopped(), "");
  EXPECT_FALSE(info->statistics().has_stopped_since());
}

TEST_F(OperationTest, EventsComeByPages) {
  RunJob("job", 2);
  v1::ListEventsRequest request;
  request.set_job_id("job");
  request.set_page_size(3);
  auto page = Ask(&Api::ListEvents, request);
  ASSERT_THAT(page, IsOk());
  ASSERT_THAT(page->events(), SizeIs(3));
  request.set_page_token(page->next_page_token());
  auto other = request;
  other.set_after_event(1);
  EXPECT_THAT(Ask(&Api::ListEvents, other), StatusIs(Code::kInvalidArgument, HasSubstr("page_token")));
  page = Ask(&Api::ListEvents, request);
  ASSERT_THAT(page, IsOk());
  ASSERT_THAT(page->events(), SizeIs(1));
  EXPECT_EQ(page->events(0).number(), 4);
  EXPECT_EQ(page->next_page_token(), "");
  request.set_job_id("nobody");
  EXPECT_THAT(Ask(&Api::ListEvents, request), StatusIs(Code::kNotFound, _));
}

// Pages of a thousand large events were more than a client takes.
TEST_F(OperationTest, PagesStayBelowAMebibyte) {
  ASSERT_THAT(Create("job"), IsOk());
  Trainer trainer = AttachReady("job");
  constexpr int kAlerts = 100;
  for (int i = 0; i < kAlerts; ++i) {
    v1::Notice notice = AlertNotice(trainer, "rule", v1::ALERT_STATE_FIRING, /*episode=*/i + 1);
    for (int line = 0; line < 32; ++line) notice.mutable_alert()->add_diagnosis(std::string(1024, 'x'));
    Say(trainer, notice);
  }
  v1::ListEventsRequest events;
  events.set_job_id("job");
  events.set_page_size(1000);
  int64_t last = 0;
  for (;;) {
    const auto page = Ask(&Api::ListEvents, events);
    ASSERT_THAT(page, IsOk());
    EXPECT_LE(page->ByteSizeLong(), size_t{1} << 20);
    for (const auto& event : page->events()) EXPECT_EQ(event.number(), ++last);
    if (page->next_page_token().empty()) break;
    events.set_page_token(page->next_page_token());
  }
  EXPECT_EQ(last, Get("job").last_event());
  v1::ListAlertsRequest alerts;
  alerts.set_page_size(1000);
  int count = 0;
  for (;;) {
    const auto page = Ask(&Api::ListAlerts, alerts);
    ASSERT_THAT(page, IsOk());
    EXPECT_LE(page->ByteSizeLong(), size_t{5} << 18);
    count += page->alerts_size();
    if (page->next_page_token().empty()) break;
    alerts.set_page_token(page->next_page_token());
  }
  EXPECT_EQ(count, kAlerts);
}

TEST_F(OperationTest, TheCallersNameIsTheActor) {
  ASSERT_THAT(Create("job"), IsOk());
  const auto adjusted = Ask(&Api::AdjustJob, ScaleRequest("job", 0.5), {.name = "somebody"});
  ASSERT_THAT(adjusted, IsOk());
  EXPECT_EQ(adjusted->adjustment().actor(), "somebody");
  v1::CancelEditRequest cancel;
  cancel.set_job_id("job");
  cancel.set_edit(adjusted->adjustment().edit());
  const auto cancelled = Ask(&Api::CancelEdit, cancel, {.name = "another"});
  ASSERT_THAT(cancelled, IsOk());
  EXPECT_EQ(cancelled->adjustment().withdrawn_by(), "another");
  EXPECT_EQ(api_->metrics().Read(Operation::kCancelEdit).calls, 1);
}

TEST_F(OperationTest, ToApplyRulesIsAChangeOfTheCaller) {
  ASSERT_THAT(Create("job"), IsOk());
  v1::ApplyRulesRequest request;
  request.set_job_id("job");
  request.mutable_rules()->set_preset("none");
  const auto applied = Ask(&Api::ApplyRules, request, {.name = "somebody"});
  ASSERT_THAT(applied, IsOk());
  EXPECT_EQ(applied->adjustment().actor(), "somebody");
  EXPECT_EQ(api_->metrics().Read(Operation::kApplyRules).calls, 1);
  v1::GetRulesRequest get;
  get.set_job_id("job");
  const auto rules = Ask(&Api::GetRules, get);
  ASSERT_THAT(rules, IsOk());
  EXPECT_GT(rules->rules_size(), 0) << "the edit waits";
}

TEST_F(OperationTest, WhatIsNotServedYetSaysSo) {
  const auto answer = Ask(&Api::ForkJob, v1::ForkJobRequest());
  EXPECT_THAT(answer, StatusIs(Code::kUnimplemented, HasSubstr("ForkJob is not served yet")));
  EXPECT_EQ(core::GetReason(answer.status()), "FEATURE_DISABLED");
  EXPECT_EQ(api_->metrics().Read(Operation::kForkJob).errors.at(Code::kUnimplemented), 1);
}

TEST_F(OperationTest, AfterAShutdownNothingIsAnsweredAnyMore) {
  api_->ShutDown(absl::Seconds(10));
  const auto answer = Ask(&Api::GetServerInfo, v1::GetServerInfoRequest());
  EXPECT_THAT(answer, StatusIs(Code::kUnavailable, _));
  EXPECT_THAT(api_->WatchJobs({}, {}), StatusIs(Code::kUnavailable, _));
}

}  // namespace
}  // namespace gradwatch::server
