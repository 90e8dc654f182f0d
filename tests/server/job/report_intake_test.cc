#include "server/job/report_intake.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "core/base/error.h"
#include "server/job/job_manager.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class NoLink : public TrainerLink {
 public:
  void Send(v1::TrainerDirective) override {}
  void Close(const absl::Status&) override {}
  Heard TakeHeard() override { return Heard::kNothing; }
};

// "0 to 8", "9" and so on, to compare whole batches.
std::string Short(const EncodedReport& entry) {
  return entry.lost ? absl::StrCat(entry.first_step, " to ", entry.step) : absl::StrCat(entry.step);
}

class ReportIntakeTest : public ::testing::Test {
 protected:
  void Open(const TrainerLink* link, int64_t last_step, bool came_back = false) {
    intake_.Open(link, epoch_, /*attempt=*/3, last_step, absl::ZeroDuration(), came_back);
  }
  // `accepted_` gets what would be stored.
  absl::Status Accept(const TrainerLink* link, v1::ReportBatch batch) {
    batch.set_epoch(epoch_);
    accepted_.clear();
    return intake_.Accept(link, std::move(batch), {.tensors = 1, .steps = 100}, [this](const AcceptedBatch& accepted) {
      for (const EncodedReport& entry : accepted.entries) {
        EXPECT_EQ(entry.attempt, 3);
        accepted_.push_back(Short(entry));
      }
      last_step_ = accepted.last_step;
    });
  }
  absl::Status Report(const TrainerLink* link, const std::vector<int64_t>& steps) {
    v1::ReportBatch batch;
    for (const int64_t step : steps) batch.add_reports()->set_step(step);
    return Accept(link, std::move(batch));
  }
  absl::Status Lose(const std::vector<std::pair<int64_t, int64_t>>& ranges, const std::vector<int64_t>& steps = {}) {
    v1::ReportBatch batch;
    for (const int64_t step : steps) batch.add_reports()->set_step(step);
    for (const auto& [first, last] : ranges) {
      batch.add_lost()->set_first_step(first);
      batch.mutable_lost()->rbegin()->set_last_step(last);
    }
    return Accept(&link_, std::move(batch));
  }

  const NoLink link_{}, other_{};
  ReportIntake intake_;
  int64_t epoch_ = 1;
  std::vector<std::string> accepted_;
  int64_t last_step_ = -1;
};

TEST_F(ReportIntakeTest, AStepThatIsSentAgainIsTakenOnce) {
  Open(&link_, -1);
  ASSERT_THAT(Report(&link_, {0, 1, 2}), IsOk());
  EXPECT_THAT(accepted_, ElementsAre("0", "1", "2"));
  ASSERT_THAT(Report(&link_, {1, 2, 3, 4}), IsOk());
  EXPECT_THAT(accepted_, ElementsAre("3", "4"));
  ASSERT_THAT(Report(&link_, {3, 4}), IsOk());
  EXPECT_THAT(accepted_, IsEmpty());
}

// A trainer that reports every tenth step would seem to have lost the others, each time that it comes back.
TEST_F(ReportIntakeTest, AStepThatIsNeitherReportedNorLostIsRefused) {
  const auto refuses = [](const absl::Status& status, const char* why) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  Open(&link_, -1);
  refuses(Report(&link_, {0, 10}), "reports.reports.step: 10 comes after 0: step 1 is neither reported");
  refuses(Lose({{1, 2}}, {0, 4}), "4 comes after 2: step 3");
  refuses(Lose({{2, 3}}, {0}), "reports.lost: 2 comes after 0: step 1");
  ASSERT_THAT(Lose({{1, 9}}, {0, 10}), IsOk());
  refuses(Report(&link_, {20}), "20 comes after 10: step 11");
  ASSERT_THAT(Lose({{11, 19}}, {20}), IsOk()) << "told as lost they are no gap";
  Open(&link_, 20);
  refuses(Report(&link_, {22}), "22 comes after 20: step 21");
}

TEST_F(ReportIntakeTest, WhatIsStoredAlreadyIsNotTakenAgain) {
  Open(&link_, 7);
  ASSERT_THAT(Report(&link_, {6, 7, 8}), IsOk());
  EXPECT_THAT(accepted_, ElementsAre("8"));
}

TEST_F(ReportIntakeTest, LostRangesStandBetweenTheReports) {
  Open(&link_, -1);
  ASSERT_THAT(Lose({{0, 3}, {5, 5}, {8, 9}}, {4, 6, 7}), IsOk());
  EXPECT_THAT(accepted_, ElementsAre("0 to 3", "4", "5 to 5", "6", "7", "8 to 9"));
  EXPECT_EQ(last_step_, 9);
}

TEST_F(ReportIntakeTest, ARangeThatIsSentAgainIsCut) {
  Open(&link_, -1);
  ASSERT_THAT(Report(&link_, {0, 1, 2}), IsOk());
  ASSERT_THAT(Lose({{1, 5}}), IsOk());
  EXPECT_THAT(accepted_, ElementsAre("3 to 5"));
  ASSERT_THAT(Lose({{0, 5}}, {6}), IsOk());
  EXPECT_THAT(accepted_, ElementsAre("6"));
  ASSERT_THAT(Lose({{0, 4}}), IsOk());
  EXPECT_THAT(accepted_, IsEmpty());
  EXPECT_EQ(last_step_, 4) << "it may be forgotten all the same";
}

TEST_F(ReportIntakeTest, WhatATrainerThatComesBackDoesNotHaveAnyMoreIsLost) {
  Open(&link_, -1);
  ASSERT_THAT(Report(&link_, {5, 6}), IsOk());
  EXPECT_THAT(accepted_, ElementsAre("5", "6")) << "a first trainer may begin anywhere";
  Open(&link_, 3, /*came_back=*/true);
  ASSERT_THAT(Report(&link_, {7, 8}), IsOk());
  EXPECT_THAT(accepted_, ElementsAre("4 to 6", "7", "8")) << "the store has lost them";
  Open(&link_, 8, /*came_back=*/true);
  ASSERT_THAT(Report(&link_, {8, 9}), IsOk());
  EXPECT_THAT(accepted_, ElementsAre("9"));
}

TEST_F(ReportIntakeTest, RangesAreChecked) {
  Open(&link_, -1);
  const auto refuses = [this](const std::vector<std::pair<int64_t, int64_t>>& ranges, const std::vector<int64_t>& steps,
                              const char* why) {
    EXPECT_THAT(Lose(ranges, steps), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
    EXPECT_THAT(accepted_, IsEmpty());
  };
  refuses({{-1, 3}}, {}, "reports.lost: -1");
  refuses({{5, 4}}, {}, "ends at 4, before 5");
  refuses({{0, 100}}, {}, "100: the job has steps 0 to 99");
  refuses({{0, std::numeric_limits<int64_t>::max()}}, {}, "the job has steps 0 to 99");
  refuses({}, {100}, "the job has steps 0 to 99");
  refuses({{0, 5}, {5, 6}}, {}, "5 comes after 5");
  refuses({{4, 5}, {0, 1}}, {}, "0 comes after 5");
  refuses({{0, 5}}, {3}, "3 comes after 5");
  refuses({{3, 5}}, {4}, "4 comes after 5");
  refuses({{3, 5}}, {3}, "3 comes after 3");
  refuses(std::vector<std::pair<int64_t, int64_t>>(1025, {0, 0}), {}, "1025 is more than 1024");
}

TEST_F(ReportIntakeTest, OnlyTheTrainerThatHoldsTheJobMayReport) {
  EXPECT_THAT(Report(&link_, {0}), StatusIs(absl::StatusCode::kAborted, _));
  Open(&link_, -1);
  EXPECT_EQ(core::GetReason(Report(&other_, {0})), "TRAINER_FENCED");
  ASSERT_THAT(Report(&link_, {0}), IsOk());
  EXPECT_THAT(intake_.CheckHolds(&link_, epoch_), IsOk());
  EXPECT_EQ(core::GetReason(intake_.CheckHolds(&link_, epoch_ + 1)), "TRAINER_FENCED");
  intake_.Close();
  EXPECT_THAT(Report(&link_, {1}), StatusIs(absl::StatusCode::kAborted, _));
  EXPECT_THAT(accepted_, IsEmpty());
}

// Two that attach may read at one time, and reports may come meanwhile.
TEST_F(ReportIntakeTest, WhatIsReadLateTakesNothingBack) {
  LiveFigures stored;
  stored.attempt = 2;
  stored.steps_done = 10;
  EXPECT_TRUE(intake_.Restore(stored));
  for (const auto& [attempt, steps_done] : {std::pair{2, 9}, {1, 100}}) {
    LiveFigures late;
    late.attempt = attempt;
    late.steps_done = steps_done;
    EXPECT_FALSE(intake_.Restore(late));
    EXPECT_EQ(intake_.figures().attempt, 2);
    EXPECT_EQ(intake_.figures().steps_done, 10);
  }
  stored.attempt = 3;
  stored.steps_done = 0;
  EXPECT_TRUE(intake_.Restore(stored));
}

TEST_F(ReportIntakeTest, AFailingStoreIsLeftAloneForLongerAndLonger) {
  absl::Duration now = absl::Hours(1);
  EXPECT_LT(intake_.closed_until(), now);
  std::vector<int64_t> pauses;
  for (int failure = 0; failure < 7; ++failure) {
    Open(&link_, -1);
    intake_.StoreFailed(now);
    EXPECT_THAT(Report(&link_, {0}), StatusIs(absl::StatusCode::kAborted, _));
    pauses.push_back(absl::ToInt64Seconds(intake_.closed_until() - now));
    now = intake_.closed_until();
  }
  EXPECT_THAT(pauses, ElementsAre(1, 2, 4, 8, 16, 30, 30));
  intake_.Stored(LiveFigures(), now);
  intake_.StoreFailed(now);
  EXPECT_EQ(intake_.closed_until(), now + absl::Seconds(1));
}

// What waits for writes: a log of the tasks that ran.
class AfterStoredTest : public ReportIntakeTest {
 protected:
  void After(const std::string& name) {
    intake_.AfterStored([this, name] { ran_.push_back(name); });
  }

  std::vector<std::string> ran_;
};

TEST_F(AfterStoredTest, WithNothingUnderWayATaskRunsAtOnce) {
  After("first");
  EXPECT_THAT(ran_, ElementsAre("first"));
  intake_.BeginStore();
  intake_.EndStore();
  After("second");
  EXPECT_THAT(ran_, ElementsAre("first", "second"));
}

TEST_F(AfterStoredTest, ATaskWaitsForWhatWasUnderWayAndForNothingElse) {
  intake_.BeginStore();
  intake_.BeginStore();
  After("behind two");
  intake_.BeginStore();
  After("behind three");
  After("behind three too");
  intake_.EndStore();
  EXPECT_THAT(ran_, IsEmpty());
  intake_.EndStore();
  EXPECT_THAT(ran_, ElementsAre("behind two"));
  intake_.EndStore();
  EXPECT_THAT(ran_, ElementsAre("behind two", "behind three", "behind three too"));
}

TEST_F(AfterStoredTest, ATaskMayDoAllThatOthersMay) {
  intake_.BeginStore();
  intake_.AfterStored([this] {
    After("later");
    EXPECT_THAT(ran_, IsEmpty()) << "one after the other";
    Open(&link_, -1);
    EXPECT_THAT(Report(&link_, {0}), IsOk()) << "no lock is held";
    intake_.BeginStore();
    After("behind another write");
  });
  intake_.EndStore();
  EXPECT_THAT(ran_, ElementsAre("later"));
  intake_.EndStore();
  EXPECT_THAT(ran_, ElementsAre("later", "behind another write"));
}

TEST_F(AfterStoredTest, TasksKeepTheirOrderOverThreads) {
  constexpr int kTasks = 2000;
  std::vector<int> order;
  std::atomic<int> begun = 0;
  std::thread store([&] {
    for (int i = 0; i < kTasks; ++i) {
      while (begun <= i) std::this_thread::yield();
      intake_.EndStore();
    }
  });
  for (int i = 0; i < kTasks; ++i) {
    intake_.BeginStore();
    ++begun;
    intake_.AfterStored([&order, i] { order.push_back(i); });
  }
  store.join();
  absl::Notification all;
  intake_.AfterStored([&all] { all.Notify(); });
  all.WaitForNotification();
  EXPECT_EQ(order.size(), size_t{kTasks});
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

}  // namespace
}  // namespace gradwatch::server
