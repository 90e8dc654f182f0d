#include "server/job/report_intake.h"

#include <gmock/gmock.h>

#include "core/base/error.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class NoLink : public TrainerLink {
 public:
  void Send(v1::TrainerDirective) override {}
  void Close(const absl::Status&) override {}
};

class ReportIntakeTest : public ::testing::Test {
 protected:
  // Reports these steps; `accepted_` gets what would be stored.
  absl::Status Report(const TrainerLink* link, const std::vector<int64_t>& steps) {
    v1::ReportBatch batch;
    for (const int64_t step : steps) batch.add_reports()->set_step(step);
    accepted_.clear();
    return intake_.Accept(link, std::move(batch), /*tensors=*/1, [this](std::vector<EncodedReport> reports) {
      for (const EncodedReport& report : reports) {
        EXPECT_EQ(report.attempt, 3);
        accepted_.push_back(report.step);
      }
    });
  }

  const NoLink link_{}, other_{};
  ReportIntake intake_;
  std::vector<int64_t> accepted_;
};

TEST_F(ReportIntakeTest, AStepThatIsSentAgainIsTakenOnce) {
  intake_.Open(&link_, 3, -1);
  ASSERT_THAT(Report(&link_, {0, 1, 2}), IsOk());
  EXPECT_THAT(accepted_, ElementsAre(0, 1, 2));
  ASSERT_THAT(Report(&link_, {1, 2, 3, 5}), IsOk());
  EXPECT_THAT(accepted_, ElementsAre(3, 5));
  ASSERT_THAT(Report(&link_, {4, 5}), IsOk()) << "nothing is taken that came too late";
  EXPECT_THAT(accepted_, IsEmpty());
}

TEST_F(ReportIntakeTest, WhatIsStoredAlreadyIsNotTakenAgain) {
  intake_.Open(&link_, 3, 7);
  ASSERT_THAT(Report(&link_, {6, 7, 8}), IsOk());
  EXPECT_THAT(accepted_, ElementsAre(8));
}

TEST_F(ReportIntakeTest, OnlyTheTrainerThatHoldsTheJobMayReport) {
  EXPECT_THAT(Report(&link_, {0}), StatusIs(absl::StatusCode::kAborted, _));
  intake_.Open(&link_, 3, -1);
  EXPECT_EQ(core::GetReason(Report(&other_, {0})), "TRAINER_FENCED");
  ASSERT_THAT(Report(&link_, {0}), IsOk());
  intake_.Close();
  EXPECT_THAT(Report(&link_, {1}), StatusIs(absl::StatusCode::kAborted, _));
  EXPECT_THAT(accepted_, IsEmpty());
}

}  // namespace
}  // namespace gradwatch::server
