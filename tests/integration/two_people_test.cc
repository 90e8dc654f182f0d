// Two people change one job: each gets what was asked for, from the step that was asked for, and is told so.
#include <gmock/gmock.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <map>

#include "tests/integration/server_fixture.h"
#include "tests/support/outside.h"

namespace gradwatch::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class TwoPeopleTest : public ServerTest {
 protected:
  void SetUp() override {
    StartServer();
    outside_ = std::make_unique<Outside>(address_);
    Submit(kLongJob, "job");
    ASSERT_TRUE(outside_->AwaitStep("job", 10));
  }

  // Reads the job's events from the first on until `enough` says so.
  void AwaitEvent(const std::function<bool(const v1::Event&)>& enough) {
    v1::WatchJobRequest request;
    request.set_job_id("job");
    request.set_from_beginning(true);
    request.set_events_only(true);
    ASSERT_TRUE(outside_->Watch(request, [&](const v1::WatchJobResponse& response) {
      return std::any_of(response.events().begin(), response.events().end(), enough);
    }));
  }
  void AwaitSettled(int64_t edit) {
    AwaitEvent([edit](const v1::Event& event) {
      return event.adjusted().adjustment().edit() == edit || event.adjust_dropped().adjustment().edit() == edit;
    });
  }
  // The first step after the pause.
  int64_t Pause() {
    EXPECT_EQ(Gradwatch({"job", "pause", "job"}).exit_code, 0);
    int64_t step = -1;
    AwaitEvent([&step](const v1::Event& event) {
      if (event.state_changed().to() == v1::JOB_STATE_PAUSED) step = event.steps_done();
      return step >= 0;
    });
    return step;
  }
  void Resume() { ASSERT_EQ(Gradwatch({"job", "resume", "job"}).exit_code, 0); }

  // The answer to a change that is made as JSON; the test fails if it is not made.
  Struct Change(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"-o", "json"});
    const RunResult result = Gradwatch(std::move(arguments));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Json(result.out);
  }
  // Changes the maximal norm from a step on, and returns the edit.
  int64_t Schedule(const std::string& norm, int64_t step) {
    return static_cast<int64_t>(
        Number(Change({"clip", "set", "job", "--max-norm", norm, "--at-step", absl::StrCat(step)}), "edit"));
  }
  v1::Job GetByRpc() const {
    v1::Job job;
    EXPECT_TRUE(outside_->Get("job", &job).ok());
    return job;
  }
  grpc::Status Adjust(const v1::AdjustJobRequest& request, v1::AdjustJobResponse* response) const {
    return outside_->jobs->AdjustJob(Outside::Context().get(), request, response);
  }
  // The steps that `clip get` says are waited for, in its order.
  std::vector<int64_t> PendingSteps() const {
    const Struct clip = Json(Gradwatch({"clip", "get", "job", "-o", "json"}).out);
    std::vector<int64_t> steps;
    if (!Has(clip, "pending")) return steps;
    for (const auto& edit : clip.fields().at("pending").list_value().values()) {
      EXPECT_GT(Number(edit.struct_value(), "edit"), 0);
      steps.push_back(static_cast<int64_t>(Number(edit.struct_value(), "at_step")));
    }
    return steps;
  }
  // The reports of steps from 0 to `last`.
  std::vector<v1::StepReport> ReportsUntil(int64_t last) {
    v1::WatchJobRequest request;
    request.set_job_id("job");
    request.set_from_beginning(true);
    std::vector<v1::StepReport> reports;
    EXPECT_TRUE(outside_->Watch(request, [&](const v1::WatchJobResponse& response) {
      reports.insert(reports.end(), response.reports().begin(), response.reports().end());
      return !reports.empty() && reports.back().step() >= last;
    }));
    return reports;
  }
  // The step from which each edit holds, by its id; -1: it was dropped.
  std::map<int64_t, int64_t> Outcomes() {
    std::vector<v1::Event> events;
    EXPECT_TRUE(outside_->Events("job", &events).ok());
    std::map<int64_t, int64_t> outcomes;
    for (const v1::Event& event : events) {
      if (event.has_adjust_dropped()) outcomes[event.adjust_dropped().adjustment().edit()] = -1;
      if (!event.has_adjusted()) continue;
      const v1::Adjustment& applied = event.adjusted().adjustment();
      EXPECT_TRUE(outcomes.emplace(applied.edit(), applied.effective_step()).second) << "applied twice";
    }
    return outcomes;
  }

  std::unique_ptr<Outside> outside_;
};

TEST_F(TwoPeopleTest, OnAPausedJobBothAreAnsweredAtOnce) {
  const int64_t step = Pause();
  ASSERT_GT(step, 0);
  const Struct clip = Change({"clip", "set", "job", "--max-norm", "0.5"});
  const Struct rate = Change({"adjust", "job", "--lr-scale", "0.5"});
  EXPECT_EQ(Number(clip, "effective_step"), step);
  EXPECT_EQ(Number(rate, "effective_step"), step);
  const RunResult text = Gradwatch({"clip", "set", "job", "--max-norm", "0.25"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr(absl::StrCat("holds from step ", step)));
  EXPECT_EQ(StateOf("job"), "paused") << "nobody had to wait for the end of the pause";
  EXPECT_THAT(PendingSteps(), IsEmpty());

  Resume();
  for (const v1::StepReport& report : ReportsUntil(step + 20)) {
    const bool after = report.step() >= step;
    EXPECT_EQ(report.control_revision(), after ? 4 : 1) << report.step();
    EXPECT_DOUBLE_EQ(report.learning_rate(), after ? 0.005 : 0.01) << report.step();
    EXPECT_EQ(report.clip().threshold(), after ? 0.25 : 0) << report.step();
  }
}

TEST_F(TwoPeopleTest, StepsThatAreAskedForInFallingOrderAreKept) {
  const int64_t step = Pause();
  const int64_t third = Schedule("3", step + 300), second = Schedule("2", step + 200);
  const RunResult text = Gradwatch({"clip", "set", "job", "--max-norm", "1", "--at-step", absl::StrCat(step + 100)});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out,
              AllOf(HasSubstr("waits"), HasSubstr(absl::StrCat("from step ", step + 100)), HasSubstr("edit ")));
  EXPECT_THAT(PendingSteps(), ElementsAre(step + 100, step + 200, step + 300)) << "in the order of application";
  EXPECT_EQ(GetByRpc().waiting_edits(), 3);

  // Somebody waits for it, and is told the same.
  auto waiting =
      Start({"clip", "set", "job", "--max-norm", "4", "--at-step", absl::StrCat(step + 50), "--wait", "-o", "json"});
  AwaitEvent([step](const v1::Event& event) { return event.adjust_requested().adjustment().at_step() == step + 50; });
  Resume();
  const auto line = waiting->ReadLine();
  ASSERT_TRUE(line.has_value()) << waiting->Errors();
  EXPECT_EQ(Number(Json(*line), "effective_step"), step + 50);
  EXPECT_EQ(waiting->Wait(), 0);

  AwaitSettled(third);
  const std::map<int64_t, int64_t> outcomes = Outcomes();
  EXPECT_EQ(outcomes.size(), 4u);
  EXPECT_EQ(outcomes.at(second), step + 200);
  EXPECT_EQ(outcomes.at(third), step + 300);
  for (const v1::StepReport& report : ReportsUntil(step + 310)) {
    const int64_t after = report.step() - step;
    const double limit = after >= 300 ? 3 : after >= 200 ? 2 : after >= 100 ? 1 : after >= 50 ? 4 : 0;
    EXPECT_EQ(report.clip().threshold(), limit) << after << " steps after the pause";
  }
  EXPECT_THAT(PendingSteps(), IsEmpty());
}

TEST_F(TwoPeopleTest, AScheduledClipStaysWhereItIsAndCanBeWithdrawn) {
  const int64_t edit = Schedule("0.5", 900'000'000);
  const Struct rate = Change({"adjust", "job", "--lr-scale", "0.5"});
  EXPECT_LT(Number(rate, "effective_step"), 900'000'000);
  EXPECT_THAT(PendingSteps(), ElementsAre(900'000'000)) << "somebody else's rate does not move it";
  EXPECT_EQ(GetByRpc().controls().clip().mode(), v1::CLIP_MODE_NONE) << "nor bring it forward";
  EXPECT_THAT(Gradwatch({"clip", "get", "job"}).out, HasSubstr("900000000")) << "people see it, too";

  server_->Signal(SIGKILL);
  ASSERT_EQ(server_->Wait(), -SIGKILL);
  StartServer();
  ASSERT_TRUE(outside_->AwaitAnswer());
  EXPECT_THAT(PendingSteps(), ElementsAre(900'000'000));
  EXPECT_EQ(GetByRpc().controls().learning_rate_scale(), 0.5);
  ASSERT_GE(outside_->AwaitLiveStep("job"), 0);

  EXPECT_EQ(Gradwatch({"clip", "cancel", "job", "999999"}).exit_code, 5) << "there is no such edit";
  const RunResult cancel = Gradwatch({"clip", "cancel", "job", absl::StrCat(edit)});
  EXPECT_EQ(cancel.exit_code, 0) << cancel.err;
  AwaitSettled(edit);
  EXPECT_THAT(PendingSteps(), IsEmpty());
  EXPECT_EQ(Gradwatch({"clip", "cancel", "job", absl::StrCat(edit)}).exit_code, 6) << "it is gone already";
  const std::map<int64_t, int64_t> outcomes = Outcomes();
  EXPECT_EQ(outcomes.size(), 2u);
  EXPECT_EQ(outcomes.at(edit), -1);
}

TEST_F(TwoPeopleTest, TheEtagChangesWithWhatIsAskedForNotWithItsApplication) {
  const int64_t step = Pause();
  const std::string before = GetByRpc().etag();
  v1::AdjustJobRequest request;
  request.set_job_id("job");
  request.mutable_controls()->set_report_every(7);
  request.mutable_update_mask()->add_paths("report_every");
  request.set_at_step(step + 50);
  v1::AdjustJobResponse response;
  ASSERT_TRUE(Adjust(request, &response).ok());
  EXPECT_NE(response.etag(), before);
  EXPECT_EQ(GetByRpc().etag(), response.etag());
  Resume();
  AwaitSettled(response.adjustment().edit());
  EXPECT_EQ(GetByRpc().controls().report_every(), 7);
  EXPECT_EQ(GetByRpc().etag(), response.etag()) << "it was applied, and that is all";

  request.clear_at_step();
  request.set_etag(before);
  v1::AdjustJobResponse late;
  EXPECT_EQ(Adjust(request, &late).error_code(), grpc::StatusCode::ABORTED) << "somebody else was faster";
  request.set_etag(response.etag());
  EXPECT_TRUE(Adjust(request, &late).ok());
  EXPECT_NE(late.etag(), response.etag());
}

TEST_F(TwoPeopleTest, WithdrawalByRpcIsToldWithWhoAsked) {
  v1::AdjustJobRequest request;
  request.set_job_id("job");
  request.mutable_controls()->set_learning_rate_scale(2);
  request.mutable_update_mask()->add_paths("learning_rate_scale");
  request.set_at_step(900'000'000);
  v1::AdjustJobResponse response;
  ASSERT_TRUE(Adjust(request, &response).ok());
  v1::CancelEditRequest cancel;
  cancel.set_job_id("job");
  cancel.set_edit(response.adjustment().edit());
  cancel.set_etag("stale");
  v1::CancelEditResponse canceled;
  EXPECT_EQ(outside_->jobs->CancelEdit(Outside::Context().get(), cancel, &canceled).error_code(),
            grpc::StatusCode::ABORTED);
  cancel.set_etag(response.etag());
  ASSERT_TRUE(outside_->jobs->CancelEdit(Outside::Context().get(), cancel, &canceled).ok());
  EXPECT_NE(canceled.adjustment().withdrawn_by(), "");
  EXPECT_NE(canceled.etag(), response.etag());
  EXPECT_GT(canceled.event_number(), response.event_number());
  AwaitSettled(response.adjustment().edit());
  EXPECT_EQ(Outcomes().at(response.adjustment().edit()), -1);
  EXPECT_EQ(GetByRpc().waiting_edits(), 0);
  EXPECT_EQ(GetByRpc().control_revision(), 1) << "nothing was applied";
}

TEST_F(TwoPeopleTest, OverridesOfTwoPeopleAreKeptAndOneCanBeRemoved) {
  Change({"clip", "set", "job", "--tensors", "dense0.*", "--max-norm", "0.5"});
  Change({"clip", "set", "job", "--tensors", "dense2.*", "--max-norm", "0.25"});
  ASSERT_EQ(GetByRpc().controls().clip().overrides_size(), 2);
  Change({"clip", "unset", "job", "--tensors", "dense0.*"});
  v1::Job job = GetByRpc();
  ASSERT_EQ(job.controls().clip().overrides_size(), 1);
  EXPECT_EQ(job.controls().clip().overrides(0).tensors(), "dense2.*");
  EXPECT_EQ(job.controls().clip().overrides(0).threshold(), 0.25);

  // The path with the glob is about this override alone; there is none for it in the values.
  v1::AdjustJobRequest request;
  request.set_job_id("job");
  request.mutable_controls();
  request.mutable_update_mask()->add_paths("clip.overrides.`dense2.*`");
  v1::AdjustJobResponse response;
  const grpc::Status removed = Adjust(request, &response);
  ASSERT_TRUE(removed.ok()) << removed.error_message();
  AwaitSettled(response.adjustment().edit());
  EXPECT_EQ(GetByRpc().controls().clip().overrides_size(), 0);
}

TEST_F(TwoPeopleTest, AThresholdThatNoModeReadsIsRefused) {
  v1::AdjustJobRequest request;
  request.set_job_id("job");
  request.mutable_controls()->mutable_clip()->set_threshold(1);
  request.mutable_update_mask()->add_paths("clip.threshold");
  v1::AdjustJobResponse response;
  EXPECT_EQ(Adjust(request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Gradwatch({"clip", "set", "job", "--max-norm", "1"}).exit_code, 0) << "the command says the mode";
  const RunResult spec =
      Gradwatch({"submit", dir_.Write("bad.yaml", absl::StrCat(kLongJob, "\n")), "--set", "controls.clip.threshold=1"});
  EXPECT_EQ(spec.exit_code, 2) << spec.out;
  EXPECT_THAT(spec.err, HasSubstr("controls.clip.threshold"));
}

}  // namespace
}  // namespace gradwatch::testing
