#include "server/api/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <new>
#include <optional>
#include <vector>

#include "core/base/error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;

using Code = absl::StatusCode;

// Runs tasks when the test says so.
class ManualExecutor final : public Executor {
 public:
  void Run(absl::AnyInvocable<void()> task) override { tasks_.push_back(std::move(task)); }
  void RunAll() {
    while (!tasks_.empty()) {
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      task();
    }
  }

 private:
  std::deque<absl::AnyInvocable<void()>> tasks_;
};

class AdmissionTest : public ::testing::Test {
 protected:
  // One call, and what becomes of it.
  struct TestCall {
    int begun = 0;
    std::optional<Admission::Done<int>> answer;
    std::vector<absl::StatusOr<int>> results;
    bool cancelled = false;
  };
  void Run(TestCall* call, absl::Duration timeout = absl::InfiniteDuration()) {
    admission_->Run<int>(
        Operation::kGetJob, {.name = "tester", .timeout = timeout, .cancelled = [call] { return call->cancelled; }},
        [call](Admission::Done<int> answer) {
          ++call->begun;
          call->answer = std::move(answer);
        },
        [call](absl::StatusOr<int> result) { call->results.push_back(std::move(result)); });
  }
  CallMetrics::Figures Figures() const { return admission_->metrics().Read(Operation::kGetJob); }

  testing::FakeClock clock_;
  ManualExecutor executor_;
  std::unique_ptr<Admission> admission_ = std::make_unique<Admission>(
      &executor_, &clock_, AdmissionLimits{.max_calls = 2, .max_watches = 2, .max_trainers = 1});
};

TEST_F(AdmissionTest, ACallIsAnsweredOnceAndCounted) {
  TestCall call;
  Run(&call);
  EXPECT_EQ(call.begun, 0) << "not on the thread of the caller";
  EXPECT_EQ(Figures().open, 1);
  executor_.RunAll();
  ASSERT_EQ(call.begun, 1);
  clock_.Advance(absl::Milliseconds(3));
  (*call.answer)(7);
  executor_.RunAll();
  ASSERT_EQ(call.results.size(), 1u);
  EXPECT_EQ(*call.results[0], 7);
  EXPECT_EQ(Figures().calls, 1);
  EXPECT_EQ(Figures().open, 0);
  EXPECT_TRUE(Figures().errors.empty());
  EXPECT_EQ(Figures().latencies[2], 1) << "2.5 to 5 ms";
  EXPECT_DOUBLE_EQ(Figures().seconds, 0.003);
}

TEST_F(AdmissionTest, WhatNobodyWaitsForDoesNotBegin) {
  TestCall late, gone;
  Run(&late, absl::Seconds(2));
  Run(&gone);
  clock_.Advance(absl::Seconds(2));
  gone.cancelled = true;
  executor_.RunAll();
  EXPECT_EQ(late.begun + gone.begun, 0);
  ASSERT_EQ(late.results.size(), 1u);
  EXPECT_THAT(late.results[0], StatusIs(Code::kDeadlineExceeded, _));
  ASSERT_EQ(gone.results.size(), 1u);
  EXPECT_THAT(gone.results[0], StatusIs(Code::kCancelled, _));
  EXPECT_EQ(Figures().errors[Code::kDeadlineExceeded], 1);
}

TEST_F(AdmissionTest, ALongCallHearsThatNobodyWaitsForIt) {
  ManualExecutor own;
  TestCall call;
  std::vector<Code> heard;
  const auto body = [&](const Admission::StillWanted& wanted) -> absl::StatusOr<int> {
    heard.push_back(wanted().code());
    call.cancelled = true;
    heard.push_back(wanted().code());
    call.cancelled = false;
    clock_.Advance(absl::Seconds(2));
    heard.push_back(wanted().code());
    return 7;
  };
  admission_->RunLong<int>(
      Operation::kGetJob,
      {.name = "tester", .timeout = absl::Seconds(2), .cancelled = [&call] { return call.cancelled; }}, &own, body,
      [&call](absl::StatusOr<int> result) { call.results.push_back(std::move(result)); });
  executor_.RunAll();
  EXPECT_TRUE(heard.empty()) << "not among the quick calls";
  own.RunAll();
  executor_.RunAll();
  EXPECT_EQ(heard, (std::vector<Code>{Code::kOk, Code::kCancelled, Code::kDeadlineExceeded}));
  EXPECT_EQ(call.results.size(), 1u);
}

TEST_F(AdmissionTest, WithoutADeadlineACallMayTakeAsLongAsACheck) {
  TestCall call;
  Run(&call);
  executor_.RunAll();
  clock_.Advance(absl::Minutes(5) - absl::Seconds(1));
  admission_->Tick();
  EXPECT_TRUE(call.results.empty());
  clock_.Advance(absl::Seconds(1));
  admission_->Tick();
  ASSERT_EQ(call.results.size(), 1u);
  EXPECT_THAT(call.results[0], StatusIs(Code::kDeadlineExceeded, _));
  (*call.answer)(1);
  executor_.RunAll();
  EXPECT_EQ(call.results.size(), 1u) << "what comes later is not heard";
  EXPECT_EQ(Figures().open, 0);
}

TEST_F(AdmissionTest, TooManyCallsAreRefusedAtTheDoor) {
  TestCall first, second, third;
  Run(&first);
  Run(&second);
  Run(&third);
  ASSERT_EQ(third.results.size(), 1u);
  EXPECT_THAT(third.results[0], StatusIs(Code::kResourceExhausted, _));
  EXPECT_EQ(core::GetReason(third.results[0].status()), "OVERLOADED");
  executor_.RunAll();
  EXPECT_EQ(third.begun, 0);
  (*first.answer)(1);
  executor_.RunAll();
  TestCall fourth;
  Run(&fourth);
  executor_.RunAll();
  EXPECT_EQ(fourth.begun, 1);
  admission_->ShutDown(absl::ZeroDuration());
}

TEST_F(AdmissionTest, WatchesAreLimitedAndCounted) {
  auto first = admission_->Open(Operation::kWatchJob);
  {
    const auto second = admission_->Open(Operation::kWatchJobs);
    ASSERT_THAT(second, IsOk());
    const auto third = admission_->Open(Operation::kWatchJob);
    EXPECT_THAT(third, StatusIs(Code::kResourceExhausted, _));
    EXPECT_EQ(core::GetReason(third.status()), "QUOTA_STREAMS");
  }
  EXPECT_THAT(admission_->Open(Operation::kWatchJob), IsOk()) << "one has gone";
  {
    const auto trainer = admission_->Open(Operation::kAttachTrainer);
    EXPECT_THAT(trainer, IsOk()) << "watches leave trainers their places";
    EXPECT_THAT(admission_->Open(Operation::kAttachTrainer), StatusIs(Code::kResourceExhausted, _));
  }
  EXPECT_EQ(admission_->metrics().Read(Operation::kAttachTrainer).calls, 2);
  ASSERT_THAT(first, IsOk());
  first->Close(Code::kOk);
  first->Close(Code::kInternal);
  const auto figures = admission_->metrics().Read(Operation::kWatchJob);
  EXPECT_EQ(figures.calls, 3);
  EXPECT_EQ(figures.open, 0);
  EXPECT_EQ(figures.errors.count(Code::kInternal), 0u) << "only the first counts";
  EXPECT_EQ(figures.errors.at(Code::kResourceExhausted), 1);
}

// Callbacks of operations may come when all is gone.
TEST_F(AdmissionTest, AShutdownAnswersAllAndHearsNothingLater) {
  TestCall waiting, running;
  Run(&running);
  executor_.RunAll();
  Run(&waiting);
  admission_->ShutDown(absl::ZeroDuration());
  for (TestCall* call : {&waiting, &running}) {
    ASSERT_EQ(call->results.size(), 1u);
    EXPECT_THAT(call->results[0], StatusIs(Code::kUnavailable, _));
    EXPECT_EQ(core::GetReason(call->results[0].status()), "SHUTTING_DOWN");
  }
  TestCall late;
  Run(&late);
  ASSERT_EQ(late.results.size(), 1u);
  EXPECT_THAT(admission_->Open(Operation::kWatchJob), StatusIs(Code::kUnavailable, _));
  admission_.reset();
  (*running.answer)(1);
  executor_.RunAll();
  EXPECT_EQ(running.results.size(), 1u);
  EXPECT_EQ(waiting.begun, 0);
}

TEST_F(AdmissionTest, WhatThrowsIsTheTroubleOfItsCall) {
  absl::StatusOr<int> answer = 0;
  admission_->Run<int>(
      Operation::kGetJob, {}, [](Admission::Done<int>) { throw std::bad_alloc(); },
      [&answer](absl::StatusOr<int> result) { answer = std::move(result); });
  executor_.RunAll();
  EXPECT_THAT(answer, StatusIs(Code::kInternal, _));
}

}  // namespace
}  // namespace gradwatch::server
