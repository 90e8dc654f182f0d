// What packing a block does to what comes meanwhile.
#include "server/history/block_packer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "absl/time/time.h"
#include "server/history/encoded_report.h"
#include "server/history/history_database.h"
#include "server/history/history_jobs.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;

std::vector<EncodedReport> Reports(int64_t first, int64_t last) {
  std::vector<EncodedReport> reports;
  for (int64_t step = first; step <= last; ++step) {
    v1::StepReport report;
    report.set_attempt(1);
    report.set_step(step);
    report.set_loss(1);
    reports.push_back(EncodeReport(report));
  }
  return reports;
}

// Who appends waits where much is not taken apart yet. What packing took apart besides its block would let any number
// of open blocks pile up behind it.
TEST(BlockPackerTest, TakesNothingApartBesidesItsBlock) {
  const gradwatch::testing::TempDir dir;
  auto database = HistoryDatabase::Open(dir.File("history"));
  ASSERT_THAT(database, IsOk());
  HistoryJobs jobs(database->get());
  const HistoryJobs::Job job = jobs.FindOrMake("job");
  job->Add(Reports(0, kBlockSteps - 1), 1, absl::ZeroDuration());
  job->TakeApart();
  ASSERT_EQ(jobs.waiting_bytes(), 0);
  job->Add(Reports(kBlockSteps, 2 * kBlockSteps - 1), 2, absl::ZeroDuration());
  const int64_t waiting = jobs.waiting_bytes();
  ASSERT_GT(waiting, 0);
  gradwatch::testing::FakeClock clock;
  BlockPacker packer(database->get(), &clock);
  ASSERT_THAT(packer.Pack(*job, {1, 0}), IsOk());
  EXPECT_EQ(jobs.waiting_bytes(), waiting);
  EXPECT_EQ(job->LastStep(1), 2 * kBlockSteps - 1) << "it is there all the same";
}

}  // namespace
}  // namespace gradwatch::server
