#include "client/worker/report_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "tests/support/allocation_count.h"

namespace gradwatch::worker {
namespace {

core::StepRecord Record(int64_t step, size_t tensors) {
  core::StepRecord record;
  record.step = step;
  record.loss = static_cast<double>(step) + 0.5;
  record.tensors.resize(tensors);
  for (core::TensorStatistics& tensor : record.tensors) tensor.l2_norm = record.loss;
  return record;
}

// Whether the buffer has this step, whole.
bool Has(ReportBuffer& buffer, int64_t step) {
  bool whole = true;
  const bool here = buffer.Read(step, [&](const core::StepRecord& record) {
    whole = record.step == step && record.loss == static_cast<double>(step) + 0.5;
    for (const core::TensorStatistics& tensor : record.tensors) whole = whole && tensor.l2_norm == record.loss;
  });
  EXPECT_TRUE(whole) << "step " << step << " is torn";
  return here;
}

TEST(ReportBufferTest, CapacityFollowsFromBytes) {
  EXPECT_EQ(ReportBuffer(10, 100 * ReportBuffer::RecordBytes(10)).capacity(), 100);
  EXPECT_EQ(ReportBuffer(10, 0).capacity(), ReportBuffer::kMinRecords);
  EXPECT_GE(ReportBuffer::RecordBytes(10), 10 * sizeof(core::HistogramCounts));
}

TEST(ReportBufferTest, IsEmptyAtFirst) {
  ReportBuffer buffer(1, 0, /*first_step=*/7);
  EXPECT_EQ(buffer.oldest_step(), 7);
  EXPECT_EQ(buffer.end_step(), 7);
  EXPECT_FALSE(Has(buffer, 7));
  EXPECT_FALSE(Has(buffer, -1));
}

TEST(ReportBufferTest, KeepsTheNewestSteps) {
  for (const int64_t first : {int64_t{0}, int64_t{1'000'000'000'000}}) {
    ReportBuffer buffer(3, 0, first);
    const int64_t capacity = buffer.capacity();
    for (int64_t step = first; step < first + 5 * capacity; ++step) {
      buffer.Offer(Record(step, 3));
      EXPECT_EQ(buffer.end_step(), step + 1);
      EXPECT_EQ(buffer.oldest_step(), std::max(first, step + 1 - capacity));
    }
    for (int64_t step = first; step < first + 5 * capacity; ++step) {
      EXPECT_EQ(Has(buffer, step), step >= first + 4 * capacity);
    }
  }
}

TEST(ReportBufferTest, CanBeReadAgain) {
  ReportBuffer buffer(1, 0);
  buffer.Offer(Record(0, 1));
  EXPECT_TRUE(Has(buffer, 0));
  EXPECT_TRUE(Has(buffer, 0));
}

TEST(ReportBufferTest, CopiesAllFields) {
  core::StepRecord record = Record(0, 1);
  record.grad_norm = 2;
  record.learning_rate = 3;
  record.control_revision = 4;
  record.nan_count = 5;
  record.pos_inf_count = 6;
  record.neg_inf_count = 7;
  record.clip = {v1::ClipOutcome::ACTION_CLIPPED, 8, 0.5, 9, 10};
  record.step_seconds = 11;
  record.time = absl::FromUnixSeconds(12);
  record.tensors[0].mean = 13;
  record.tensors[0].histogram.positive[3] = 14;
  ReportBuffer buffer(1, 0);
  buffer.Offer(record);
  EXPECT_TRUE(buffer.Read(0, [](const core::StepRecord& copy) {
    EXPECT_EQ(copy.grad_norm, 2);
    EXPECT_EQ(copy.learning_rate, 3);
    EXPECT_EQ(copy.control_revision, 4);
    EXPECT_EQ(copy.nan_count, 5);
    EXPECT_EQ(copy.pos_inf_count, 6);
    EXPECT_EQ(copy.neg_inf_count, 7);
    EXPECT_EQ(copy.clip.action, v1::ClipOutcome::ACTION_CLIPPED);
    EXPECT_EQ(copy.clip.threshold, 10);
    EXPECT_EQ(copy.step_seconds, 11);
    EXPECT_EQ(copy.time, absl::FromUnixSeconds(12));
    EXPECT_EQ(copy.level, v1::STATISTICS_LEVEL_FULL);
    EXPECT_TRUE(copy.report_tensors);
    EXPECT_EQ(copy.tensors[0].mean, 13);
    EXPECT_EQ(copy.tensors[0].histogram.positive[3], 14u);
  }));
}

TEST(ReportBufferTest, CopiesOfTensorsOnlyWhatIsReported) {
  struct Case {
    v1::StatisticsLevel level;
    bool report_tensors;
    double l2_norm, mean;
  };
  for (const Case& c : {Case{v1::STATISTICS_LEVEL_FULL, true, 1, 2}, Case{v1::STATISTICS_LEVEL_NORM, true, 1, 0},
                        Case{v1::STATISTICS_LEVEL_NONE, true, 0, 0}, Case{v1::STATISTICS_LEVEL_FULL, false, 0, 0}}) {
    core::StepRecord record = Record(0, 1);
    record.level = c.level;
    record.report_tensors = c.report_tensors;
    record.tensors[0].l2_norm = 1;
    record.tensors[0].mean = 2;
    ReportBuffer buffer(1, 0);
    buffer.Offer(record);
    EXPECT_TRUE(buffer.Read(0, [&](const core::StepRecord& copy) {
      EXPECT_EQ(copy.tensors[0].l2_norm, c.l2_norm);
      EXPECT_EQ(copy.tensors[0].mean, c.mean);
    }));
  }
}

TEST(ReportBufferTest, OfferNeverAllocates) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "not counted under a sanitizer";
  ReportBuffer buffer(4, 0);
  core::StepRecord record = Record(0, 4);
  const int64_t before = testing::AllocationCount();
  for (int64_t step = 0; step < 100; ++step) {
    record.step = step;
    buffer.Offer(record);
  }
  EXPECT_EQ(testing::AllocationCount(), before);
}

TEST(ReportBufferTest, AReaderThatIsOvertakenIsNotWaitedFor) {
  ReportBuffer buffer(1, 0);
  buffer.Offer(Record(0, 1));
  const int64_t steps = 3 * buffer.capacity();
  EXPECT_TRUE(buffer.Read(0, [&](const core::StepRecord& record) {
    for (int64_t step = 1; step < steps; ++step) buffer.Offer(Record(step, 1));
    EXPECT_EQ(record.step, 0) << "a record does not change while it is read";
  }));
  EXPECT_EQ(buffer.end_step(), steps);
  for (int64_t step = steps - 5; step < steps; ++step) EXPECT_TRUE(Has(buffer, step)) << step;
}

TEST(ReportBufferTest, TwoThreadsAgreeOnEveryStep) {
  constexpr int64_t kSteps = 50'000;
  ReportBuffer buffer(2, 0);
  std::thread trainer([&buffer] {
    for (int64_t step = 0; step < kSteps; ++step) buffer.Offer(Record(step, 2));
  });
  int64_t read = 0, lost = 0, next = 0;
  while (next < kSteps) {
    if (next >= buffer.end_step()) continue;
    Has(buffer, next) ? ++read : ++lost;
    ++next;
  }
  trainer.join();
  EXPECT_EQ(read + lost, kSteps);
  EXPECT_TRUE(Has(buffer, kSteps - 1)) << "the newest state is told";
}

}  // namespace
}  // namespace gradwatch::worker
