#include "client/worker/report_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "client/worker/packed_record.h"
#include "core/stats/report_ring.h"
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

TEST(ReportBufferTest, KeepsAsManyStepsAsItsBytesHold) {
  constexpr size_t kTensors = 10;
  std::vector<std::byte> packed(MaxPackedBytes(kTensors));
  const auto bytes = static_cast<int64_t>(PackRecord(Record(0, kTensors), packed));
  constexpr int64_t kMaxBytes = 4 << 20;
  ReportBuffer buffer(kTensors, kMaxBytes);
  for (int64_t step = 0; step < 20'000; ++step) {
    buffer.Offer(Record(step, kTensors));
    ASSERT_LE((buffer.end_step() - buffer.oldest_step()) * bytes, kMaxBytes);
  }
  EXPECT_GE((buffer.end_step() - buffer.oldest_step()) * bytes, kMaxBytes * 9 / 10);
}

TEST(ReportBufferTest, HoldsAFewRecordsOfAnySize) {
  core::StepRecord record = Record(0, 100);
  for (core::TensorStatistics& tensor : record.tensors) {
    std::ranges::fill(tensor.histogram.positive(), 1);
    std::ranges::fill(tensor.histogram.negative(), 1);
  }
  ReportBuffer buffer(100, /*max_bytes=*/1);
  for (; record.step < 10; ++record.step) buffer.Offer(record);
  EXPECT_EQ(buffer.oldest_step(), 6);
  for (int64_t step = 6; step < 10; ++step) EXPECT_TRUE(buffer.Read(step, [](const core::StepRecord&) {})) << step;
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
    int64_t oldest = first;
    for (int64_t step = first; step < first + 200; ++step) {
      buffer.Offer(Record(step, 3));
      EXPECT_EQ(buffer.end_step(), step + 1);
      EXPECT_GE(buffer.oldest_step(), oldest) << "what was replaced does not come back";
      oldest = buffer.oldest_step();
      EXPECT_TRUE(Has(buffer, step));
    }
    EXPECT_GT(oldest, first);
    EXPECT_LT(oldest, first + 197);
    for (int64_t step = first; step < first + 200; ++step) EXPECT_EQ(Has(buffer, step), step >= oldest) << step;
  }
}

TEST(ReportBufferTest, CanBeReadAgain) {
  ReportBuffer buffer(1, 0);
  buffer.Offer(Record(0, 1));
  EXPECT_TRUE(Has(buffer, 0));
  EXPECT_TRUE(Has(buffer, 0));
}

// What the estimate of a job counts for an attached trainer.
TEST(ReportBufferTest, TakesNoMoreMemoryThanTheEstimateSays) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "not counted under a sanitizer";
  for (const auto& [tensors, layers] :
       std::vector<std::pair<size_t, size_t>>{{1, 1}, {40, 20}, {3000, 1500}, {15'000, 5000}}) {
    core::StepRecord record = Record(0, tensors);
    for (core::TensorStatistics& tensor : record.tensors) {
      std::ranges::fill(tensor.histogram.positive(), 1);
      std::ranges::fill(tensor.histogram.negative(), 1);
    }
    record.layers.resize(layers);
    std::vector<core::LayerInfo> infos(layers);
    testing::RestartPeak();
    const int64_t before = testing::AllocatedBytes();
    ReportBuffer buffer(tensors, core::kReportRingBytes, /*first_step=*/0, std::move(infos));
    buffer.Offer(record);
    EXPECT_TRUE(buffer.Read(0, [](const core::StepRecord&) {}));
    const int64_t taken = testing::PeakAllocatedBytes() - before;
    const int64_t said = core::ReportRingBytes(static_cast<int64_t>(tensors), static_cast<int64_t>(layers), 1'000'000);
    EXPECT_GE(said, taken) << tensors;
    EXPECT_LE(said, taken + taken / 20) << tensors;
    EXPECT_LE(MaxPackedBytes(tensors, layers),
              static_cast<size_t>(core::StepRecordBytes(static_cast<int64_t>(tensors), static_cast<int64_t>(layers))));
  }
}

// However large the records are.
TEST(ReportBufferTest, ARingThatIsMadeForTheStepsOfAJobHoldsThemAll) {
  constexpr size_t kTensors = 2;
  core::StepRecord record = Record(0, kTensors);
  for (core::TensorStatistics& tensor : record.tensors) {
    std::ranges::fill(tensor.histogram.positive(), 1);
    std::ranges::fill(tensor.histogram.negative(), 1);
  }
  const size_t bytes = MaxPackedBytes(kTensors);
  for (const int64_t steps : {1, 4, 5, 63, 64, 65, 127, 129, 1000}) {
    testing::RestartPeak();
    const int64_t before = testing::AllocatedBytes();
    const int64_t ring = core::RingRecordBytes(static_cast<int64_t>(bytes), steps, core::kReportRingBytes);
    ReportBuffer buffer(kTensors, static_cast<size_t>(ring));
    for (record.step = 0; record.step < steps; ++record.step) buffer.Offer(record);
    EXPECT_EQ(buffer.oldest_step(), 0) << steps;
    for (int64_t step = 0; step < steps; ++step) {
      EXPECT_TRUE(buffer.Read(step, [](const core::StepRecord&) {})) << step << " of " << steps;
    }
    if (!testing::CountsAllocations()) continue;
    const int64_t taken = testing::PeakAllocatedBytes() - before;
    const int64_t said = core::ReportRingBytes(kTensors, /*layers=*/0, steps);
    EXPECT_GE(said, taken) << steps;
    EXPECT_LE(said, taken + taken / 10 + 10'000) << steps;
  }
}

TEST(ReportBufferTest, TheBytesOfARingNeverWrap) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  for (const int64_t steps : {int64_t{1'000'000'000'000}, kMost}) {
    EXPECT_EQ(core::RingRecordBytes(/*record_bytes=*/20'000'000, steps, core::kReportRingBytes), 80'000'000);
    EXPECT_EQ(core::RingRecordBytes(/*record_bytes=*/5'000, steps, core::kReportRingBytes), core::kReportRingBytes);
    EXPECT_EQ(core::RingRecordBytes(/*record_bytes=*/100, steps, /*max_bytes=*/0), 400);
  }
  for (const int64_t steps : {int64_t{0}, int64_t{-1}, -kMost}) {
    EXPECT_EQ(core::RingRecordBytes(/*record_bytes=*/100, steps, core::kReportRingBytes), 400) << "of an invalid spec";
  }
}

TEST(ReportBufferTest, OfferNeverAllocates) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "not counted under a sanitizer";
  ReportBuffer buffer(4, 0);
  core::StepRecord record = Record(0, 4);
  const int64_t before = testing::AllocationCount();
  for (int64_t step = 0; step < 1000; ++step) {
    record.step = step;
    buffer.Offer(record);
  }
  EXPECT_EQ(testing::AllocationCount(), before);
}

TEST(ReportBufferTest, ARecordDoesNotChangeWhileItIsRead) {
  ReportBuffer buffer(1, 0);
  buffer.Offer(Record(0, 1));
  EXPECT_TRUE(buffer.Read(0, [&](const core::StepRecord& record) {
    for (int64_t step = 1; step < 1000; ++step) buffer.Offer(Record(step, 1));
    EXPECT_EQ(record.step, 0);
    EXPECT_EQ(record.tensors[0].l2_norm, 0.5);
  }));
  EXPECT_FALSE(Has(buffer, 0));
  EXPECT_TRUE(Has(buffer, 999));
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
