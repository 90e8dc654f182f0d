// What becomes of a submission.
#include <filesystem>

#include "core/base/error.h"
#include "server/base/unique_text.h"
#include "server/job/operations.h"
#include "tests/server/job/job_manager_fixture.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::SizeIs;

class CreateTest : public JobManagerTest {
 protected:
  static v1::CreateJobRequest Request(const std::string& job_id) {
    v1::CreateJobRequest request;
    *request.mutable_spec() = SmallSpec();
    request.set_job_id(job_id);
    return request;
  }
};

TEST_F(CreateTest, AJobIsDurableAndStarted) {
  const auto job = Create("first");
  ASSERT_THAT(job, IsOk());
  EXPECT_EQ(job->job_id(), "first");
  EXPECT_TRUE(IsUuid(job->uid()));
  EXPECT_EQ(job->state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job->control_revision(), 1);
  EXPECT_FALSE(job->etag().empty());
  EXPECT_GT(job->estimate().parameters(), 0);
  EXPECT_THAT(Log("first"), ElementsAre("PENDING"));
  ASSERT_THAT(launcher_->launches(), SizeIs(1));
  EXPECT_EQ(launcher_->launches()[0].attempt, 1);
  EXPECT_THAT(launcher_->launches()[0].attach_token, SizeIs(64));
  EXPECT_EQ(Get("first").attempt(), 1);
}

TEST_F(CreateTest, TheJobTellsWhatWasFoundInItsData) {
  v1::CreateJobRequest request = Request("finite");
  request.mutable_spec()->mutable_data()->mutable_gaussian_clusters()->set_examples(12);
  request.set_validate_only(true);
  EXPECT_EQ(Create(request)->data().examples(), 12);
  request.set_validate_only(false);
  EXPECT_EQ(Create(request)->data().examples(), 12);
  RestartServer();
  EXPECT_EQ(Get("finite").data().examples(), 12);
  const auto endless = Create("endless");
  EXPECT_TRUE(endless->has_data());
  EXPECT_FALSE(endless->data().has_examples());
}

TEST_F(CreateTest, IdsAreMadeFromNames) {
  EXPECT_THAT(MakeJobId("Big run #3!"), MatchesRegex("big-run-3-[a-z2-7]{4}"));
  EXPECT_THAT(MakeJobId(""), MatchesRegex("job-[a-z2-7]{4}"));
  EXPECT_THAT(MakeJobId("7 layers"), MatchesRegex("job-7-layers-[a-z2-7]{4}"));
  EXPECT_THAT(MakeJobId("\xC3\xA4\xC3\xB6"), MatchesRegex("job-[a-z2-7]{4}"));
  EXPECT_TRUE(IsJobId(MakeJobId(std::string(500, 'x'))));
  const auto job = Create("");
  ASSERT_THAT(job, IsOk());
  EXPECT_THAT(job->job_id(), MatchesRegex("job-[a-z2-7]{4}"));
}

TEST_F(CreateTest, WhatIsAnId) {
  for (const char* good : {"a", "a1", "a-b", "job-7"}) EXPECT_TRUE(IsJobId(good)) << good;
  EXPECT_TRUE(IsJobId(std::string(63, 'a')));
  for (const char* bad : {"", "1a", "-a", "a-", "A", "a_b", "a b", "\xC3\xA4"}) EXPECT_FALSE(IsJobId(bad)) << bad;
  EXPECT_FALSE(IsJobId(std::string(64, 'a')));
}

TEST_F(CreateTest, BadRequestsNameTheirFields) {
  v1::CreateJobRequest request = Request("Bad Id");
  EXPECT_THAT(Create(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("job_id: \"Bad Id\"")));
  request = Request("");
  request.set_request_id("no-uuid");
  EXPECT_THAT(Create(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("request_id")));
  EXPECT_THAT(Create(v1::CreateJobRequest()), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("spec")));
  request = Request("");
  request.mutable_spec()->mutable_optimizer()->set_learning_rate(-1);
  EXPECT_THAT(Create(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("spec.optimizer.learning_rate")));
  EXPECT_THAT(launcher_->launches(), IsEmpty());
  EXPECT_EQ(jobs_->ListJobs({})->jobs_size(), 0);
}

TEST_F(CreateTest, TheSameIdTwiceIsRefused) {
  ASSERT_THAT(Create("one"), IsOk());
  const auto again = Create("one");
  EXPECT_THAT(again, StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("\"one\"")));
  EXPECT_EQ(core::GetReason(again.status()), "JOB_EXISTS");
}

TEST_F(CreateTest, ARepeatedRequestIsAnsweredAndNotDoneAgain) {
  v1::CreateJobRequest request = Request("");
  request.set_request_id(NewUuid());
  const auto first = Create(request);
  ASSERT_THAT(first, IsOk());
  const auto second = Create(request);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(first->SerializeAsString(), second->SerializeAsString());
  EXPECT_EQ(jobs_->ListJobs({})->jobs_size(), 1);
  RestartServer();
  EXPECT_EQ(Create(request)->uid(), first->uid());
  request.mutable_spec()->set_seed(7);
  const auto other = Create(request);
  EXPECT_THAT(other, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("used before")));
  EXPECT_EQ(core::GetReason(other.status()), "REQUEST_ID_REUSED");
}

TEST_F(CreateTest, ARepeatedRequestIsAnsweredBeforeItIsChecked) {
  v1::CreateJobRequest request = Request("");
  request.mutable_spec()->mutable_data()->clear_gaussian_clusters();
  request.mutable_spec()->mutable_data()->mutable_csv()->set_path(dir_.Write("table.csv", "1,0\n2,1\n3,0\n4,1\n5,0\n"));
  request.mutable_spec()->mutable_data()->mutable_csv()->add_inputs("0");
  request.mutable_spec()->mutable_data()->mutable_csv()->add_targets("1");
  request.mutable_spec()->mutable_data()->mutable_csv()->set_classes(2);
  request.set_request_id(NewUuid());
  checker_.roots = *core::DataRoots::Create({dir_.path()});
  const auto first = Create(request);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->spec().data().csv().header(), v1::CsvData::HEADER_NO) << "as it was found";
  EXPECT_THAT(first->data().note(), HasSubstr("read as data, since all its cells are numbers"));
  std::filesystem::remove(dir_.File("table.csv"));
  EXPECT_EQ(Create(request)->uid(), first->uid());
  jobs_->Drain();
  EXPECT_EQ(Create(request)->uid(), first->uid());
  request.set_request_id("7");
  EXPECT_THAT(Create(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("request_id")));
}

TEST_F(CreateTest, ARepeatedRequestIsAnsweredAlsoWhenItsJobIsGone) {
  v1::CreateJobRequest request = Request("");
  request.set_request_id(NewUuid());
  const auto first = Create(request);
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(Delete(first->job_id(), /*force=*/true), IsOk());
  EXPECT_EQ(Create(request)->uid(), first->uid());
  EXPECT_EQ(jobs_->ListJobs({})->jobs_size(), 0) << "a second job";
}

TEST_F(CreateTest, ValidateOnlyKeepsNothing) {
  v1::CreateJobRequest request = Request("");
  request.set_validate_only(true);
  const auto job = Create(request);
  ASSERT_THAT(job, IsOk());
  EXPECT_EQ(job->job_id(), "");
  EXPECT_GT(job->estimate().parameters(), 0);
  EXPECT_EQ(jobs_->ListJobs({})->jobs_size(), 0);
}

TEST_F(CreateTest, ATrainerThatCannotBeStartedFailsItsJob) {
  launcher_->FailWith(absl::NotFoundError("/x/worker: No such file"));
  ASSERT_THAT(Create("job"), IsOk());
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_THAT(Get("job").failure(), HasSubstr("/x/worker"));
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "FAILED"));
}

TEST_F(CreateTest, ListsNewestFirstByPages) {
  for (const char* id : {"a", "b", "c", "d", "e"}) ASSERT_THAT(Create(id), IsOk());
  v1::ListJobsRequest request;
  request.set_page_size(2);
  std::vector<std::string> ids;
  do {
    const auto page = jobs_->ListJobs(request);
    ASSERT_THAT(page, IsOk());
    EXPECT_LE(page->jobs_size(), 2);
    for (const v1::Job& job : page->jobs()) {
      ids.push_back(job.job_id());
      EXPECT_FALSE(job.spec().has_model());
    }
    request.set_page_token(page->next_page_token());
    if (ids.size() == 2) RestartServer();  // tokens hold over a restart
  } while (!request.page_token().empty());
  EXPECT_THAT(ids, ElementsAre("e", "d", "c", "b", "a"));
}

TEST_F(CreateTest, TheListTellsWhatItsViewSays) {
  v1::CreateJobRequest request = Request("a");
  request.mutable_spec()->set_display_name("name");
  (*request.mutable_spec()->mutable_labels())["k"] = "v";
  ASSERT_THAT(Create(request), IsOk());
  v1::Job job = jobs_->ListJobs({})->jobs(0);
  EXPECT_EQ(job.spec().display_name(), "name");
  EXPECT_EQ(job.spec().labels().at("k"), "v");
  EXPECT_FALSE(job.spec().has_model());
  EXPECT_FALSE(job.has_controls());
  EXPECT_THAT(job.tensors(), IsEmpty());
  v1::ListJobsRequest full;
  full.set_view(v1::JOB_VIEW_FULL);
  EXPECT_EQ(jobs_->ListJobs(full)->jobs(0).SerializeAsString(), Get("a").SerializeAsString());
}

TEST_F(CreateTest, APageOfLargeJobsEndsBeforeAClientsLimit) {
  options_.max_waiting_jobs = 1000;
  RestartServer();
  v1::CreateJobRequest request = Request("");
  auto* const layer = request.mutable_spec()->mutable_model()->mutable_layers(0);
  for (int i = 0; i < 400; ++i) *request.mutable_spec()->mutable_model()->add_layers() = *layer;
  for (int i = 0; i < 60; ++i) ASSERT_THAT(Create(request), IsOk());
  v1::ListJobsRequest full;
  full.set_view(v1::JOB_VIEW_FULL);
  full.set_page_size(1000);
  int jobs = 0;
  do {
    const auto page = jobs_->ListJobs(full);
    ASSERT_THAT(page, IsOk());
    EXPECT_LT(page->ByteSizeLong(), size_t{2} << 20);
    jobs += page->jobs_size();
    full.set_page_token(page->next_page_token());
  } while (!full.page_token().empty());
  EXPECT_EQ(jobs, 60);
}

TEST_F(CreateTest, ListRequestsAreChecked) {
  ASSERT_THAT(Create("a"), IsOk());
  ASSERT_THAT(Create("b"), IsOk());
  v1::ListJobsRequest request;
  request.set_page_size(-1);
  EXPECT_THAT(jobs_->ListJobs(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_size: -1")));
  request.set_page_size(1);
  request.set_page_token("x");
  EXPECT_EQ(core::GetReason(jobs_->ListJobs(request).status()), "BAD_PAGE_TOKEN");
  request.clear_page_token();
  request.set_page_token(jobs_->ListJobs(request)->next_page_token());
  request.add_states(v1::JOB_STATE_PENDING);
  EXPECT_EQ(core::GetReason(jobs_->ListJobs(request).status()), "BAD_PAGE_TOKEN") << "another list";
  request.clear_page_token();
  EXPECT_EQ(jobs_->ListJobs(request)->jobs_size(), 1);
  request.set_states(0, v1::JOB_STATE_FAILED);
  EXPECT_EQ(jobs_->ListJobs(request)->jobs_size(), 0);
  request.set_states(0, v1::JOB_STATE_UNSPECIFIED);
  EXPECT_THAT(jobs_->ListJobs(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("states[0]")));
}

class FewJobsTest : public CreateTest {
 protected:
  FewJobsTest() {
    options_.max_running_jobs = 1;
    options_.max_waiting_jobs = 2;
  }
};

TEST_F(FewJobsTest, JobsWaitForTheirTurn) {
  for (const char* id : {"a", "b", "c"}) ASSERT_THAT(Create(id), IsOk());
  const auto fourth = Create("d");
  EXPECT_THAT(fourth, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("2 jobs wait")));
  EXPECT_EQ(core::GetReason(fourth.status()), "QUOTA_JOBS");
  ASSERT_THAT(launcher_->launches(), SizeIs(1));
  EXPECT_EQ(Get("b").attempt(), 0);

  ASSERT_THAT(Stop("b"), IsOk());
  EXPECT_THAT(Log("b"), ElementsAre("PENDING", "STOPPING", "STOPPED")) << "it had not begun";
  Trainer trainer = AttachReady("a");
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  ASSERT_THAT(launcher_->launches(), SizeIs(2));
  EXPECT_EQ(launcher_->launches()[1].job_id, "c");
}

TEST_F(FewJobsTest, JobsThatWaitBeginAfterARestart) {
  for (const char* id : {"a", "b"}) ASSERT_THAT(Create(id), IsOk());
  RestartServer();
  EXPECT_THAT(launcher_->launches(), IsEmpty()) << "a may still run";
  Pass(absl::Seconds(62));
  ASSERT_THAT(launcher_->launches(), SizeIs(1));
  EXPECT_EQ(launcher_->launches()[0].job_id, "b");
  EXPECT_EQ(State("a"), "FAILED");
}

TEST_F(CreateTest, ADrainingServerTakesNoJobs) {
  jobs_->Drain();
  const auto job = Create("late");
  EXPECT_THAT(job, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("shutting down")));
  EXPECT_EQ(core::GetReason(job.status()), "SHUTTING_DOWN");
}

}  // namespace
}  // namespace gradwatch::server
