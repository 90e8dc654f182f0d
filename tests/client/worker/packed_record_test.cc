#include "client/worker/packed_record.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "client/worker/report_encoder.h"

namespace gradwatch::worker {
namespace {

// Every field has a value of its own.
core::StepRecord FullRecord() {
  core::StepRecord record;
  record.step = 1;
  record.loss = 2;
  record.grad_norm = 3;
  record.learning_rate = 4;
  record.control_revision = 5;
  record.nan_count = 6;
  record.pos_inf_count = 7;
  record.neg_inf_count = 8;
  record.clip = {v1::ClipOutcome::ACTION_CLIPPED, 9, 10, 11, 12, 27, 28, true, 29};
  record.step_seconds = 13;
  record.time = absl::FromUnixSeconds(14);
  record.tensors.resize(3);
  for (core::TensorStatistics& tensor : record.tensors) {
    const auto first = static_cast<double>(100 * (&tensor - record.tensors.data()));
    tensor.l2_norm = first + 15;
    tensor.max_abs = first + 16;
    tensor.mean = first + 17;
    tensor.mean_abs = first + 18;
    tensor.std_dev = first + 19;
    tensor.nan_count = 20;
    tensor.pos_inf_count = 21;
    tensor.neg_inf_count = 22;
    tensor.zero_count = 23;
    tensor.denormal_count = 24;
    tensor.weight_norm = first + 25;
    tensor.update_norm = first + 26;
    tensor.clip_scale = 1 / (first + 30);
    tensor.cosine_with_last = first / 1000;
    tensor.histogram_stride = 4;
  }
  record.cosine_with_last = 0.5;
  record.layers.resize(2);
  record.layers[1].output_mean = 27;
  record.layers[1].backward_growth = 28;
  return record;
}

std::vector<std::byte> Pack(const core::StepRecord& record) {
  std::vector<std::byte> bytes(MaxPackedBytes(record.tensors.size(), record.layers.size()));
  bytes.resize(PackRecord(record, bytes));
  EXPECT_FALSE(bytes.empty());
  return bytes;
}

// What a record says when it is reported.
std::string Said(const core::StepRecord& record) {
  v1::StepReport report;
  EncodeReport(record, {{"dense0", "dense"}, {"activation1", "activation"}}, 1, &report);
  return report.DebugString();
}

TEST(PackedRecordTest, TellsTheSameAsTheRecord) {
  for (const v1::StatisticsLevel level :
       {v1::STATISTICS_LEVEL_FULL, v1::STATISTICS_LEVEL_NORM, v1::STATISTICS_LEVEL_NONE}) {
    for (const auto& [report_tensors, report_histograms] :
         {std::pair(true, true), std::pair(true, false), std::pair(false, false)}) {
      core::StepRecord record = FullRecord();
      record.level = level;
      record.report_tensors = report_tensors;
      record.report_histograms = report_histograms;
      record.loss = std::numeric_limits<double>::quiet_NaN();
      record.tensors[2].max_abs = std::numeric_limits<double>::infinity();
      core::StepRecord copy = FullRecord();  // what was in it must not show
      std::ranges::fill(copy.tensors[1].histogram.positive(), 9);
      UnpackRecord(Pack(record).data(), &copy);
      EXPECT_EQ(Said(copy), Said(record)) << v1::StatisticsLevel_Name(level) << " " << report_tensors;
    }
  }
}

TEST(PackedRecordTest, KeepsHistogramsOfEveryExtent) {
  constexpr int kEnd = core::HistogramCounts::kBuckets;
  for (int first = 0; first < kEnd; ++first) {
    for (const int last : {first, std::min(first + 7, kEnd - 1), std::min(first + 40, kEnd - 1), kEnd - 1}) {
      core::StepRecord record;
      record.tensors.resize(1);
      core::HistogramCounts& histogram = record.tensors[0].histogram;
      histogram.positive()[static_cast<size_t>(first)] = 4'000'000'000u;
      histogram.positive()[static_cast<size_t>(last)] = 5;
      histogram.negative()[static_cast<size_t>(kEnd - 1 - first)] = 6;
      histogram.negative()[static_cast<size_t>(kEnd - 1 - last)] = 7;
      core::StepRecord copy;
      UnpackRecord(Pack(record).data(), &copy);
      ASSERT_EQ(copy.tensors.size(), 1u);
      EXPECT_EQ(copy.tensors[0].histogram.counts, histogram.counts) << first << " to " << last;
    }
  }
}

TEST(PackedRecordTest, WhatIsNotReportedTakesNoBytes) {
  core::StepRecord record = FullRecord();
  const size_t full = Pack(record).size();
  EXPECT_LT(full, MinPackedBytes() + 3 * 160 + 2 * sizeof(core::LayerStatistics)) << "empty buckets are left out";
  record.report_histograms = false;
  EXPECT_LT(Pack(record).size(), full);
  std::ranges::fill(record.tensors[1].histogram.positive(), 9);  // of an older step
  EXPECT_LT(Pack(record).size(), full);
  record.report_histograms = true;
  record.level = v1::STATISTICS_LEVEL_NORM;
  EXPECT_LT(Pack(record).size(), full);
  record.report_tensors = false;
  EXPECT_EQ(Pack(record).size(), MinPackedBytes());
  record.report_tensors = true;
  record.level = v1::STATISTICS_LEVEL_NONE;
  record.layers.clear();
  EXPECT_EQ(Pack(record).size(), MinPackedBytes());
}

TEST(PackedRecordTest, DoesNotWriteBeyondTheEnd) {
  core::StepRecord record = FullRecord();
  std::ranges::fill(record.tensors[1].histogram.negative(), 1);
  for (const v1::StatisticsLevel level : {v1::STATISTICS_LEVEL_FULL, v1::STATISTICS_LEVEL_NORM}) {
    record.level = level;
    const size_t needed = Pack(record).size();
    for (size_t room = 0; room < needed; ++room) {
      std::vector<std::byte> bytes(room);  // of exactly this size, for the address sanitizer
      EXPECT_EQ(PackRecord(record, bytes), 0u);
    }
    std::vector<std::byte> bytes(needed);
    EXPECT_EQ(PackRecord(record, bytes), needed);
  }
}

TEST(PackedRecordTest, TheLargestRecordFits) {
  core::StepRecord record = FullRecord();
  for (core::TensorStatistics& tensor : record.tensors) {
    std::ranges::fill(tensor.histogram.positive(), 1);
    std::ranges::fill(tensor.histogram.negative(), 1);
  }
  EXPECT_EQ(Pack(record).size(), MaxPackedBytes(3, 2));
}

}  // namespace
}  // namespace gradwatch::worker
