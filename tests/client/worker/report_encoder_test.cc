#include "client/worker/report_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace gradwatch::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Every field has a value of its own.
core::StepRecord FullRecord() {
  core::StepRecord record;
  record.step = 41;
  record.loss = 1.5;
  record.grad_norm = 2.5;
  record.learning_rate = 0.125;
  record.control_revision = 3;
  record.nan_count = 4;
  record.pos_inf_count = 5;
  record.neg_inf_count = 6;
  record.clip = {v1::ClipOutcome::ACTION_CLIPPED, 7.5, 0.75, 8, 9.5, 10, 11, true, 0.5};
  record.step_seconds = 0.25;
  record.time = absl::FromUnixSeconds(1'700'000'000) + absl::Nanoseconds(123'456'789);
  record.tensors.resize(2);
  core::TensorStatistics& tensor = record.tensors[1];
  tensor.l2_norm = 10.5;
  tensor.max_abs = 11.5;
  tensor.mean = 12.5;
  tensor.mean_abs = 13.5;
  tensor.std_dev = 14.5;
  tensor.nan_count = 15;
  tensor.pos_inf_count = 16;
  tensor.neg_inf_count = 17;
  tensor.zero_count = 18;
  tensor.denormal_count = 19;
  tensor.weight_norm = 20.5;
  tensor.update_norm = 21.5;
  tensor.cosine_with_last = -0.5;
  tensor.histogram_stride = 8;
  record.cosine_with_last = 0.25;
  record.layers.resize(2);
  record.layers[1].output_mean = 22.5;
  record.layers[1].output_variance = 23.5;
  record.layers[1].output_non_finite = 24;
  record.layers[1].saturated = 0.125;
  record.layers[1].dead = 0.375;
  record.layers[1].backward_norm = kNaN;
  record.layers[1].has_backward = true;
  record.layers[1].backward_growth = -1.5;
  record.layers[1].largest_logit = 25.5;
  record.layers[1].has_attention = true;
  record.layers[1].attention_entropy = 0.625;
  return record;
}

v1::StepReport Encode(const core::StepRecord& record) {
  v1::StepReport report;
  EncodeReport(record, {{"dense0", "dense"}, {"activation1", "activation"}}, /*attempt=*/2, &report);
  return report;
}

void ExpectSameScalars(const v1::StepReport& report) {
  EXPECT_EQ(report.attempt(), 2);
  EXPECT_EQ(report.step(), 41);
  EXPECT_EQ(report.loss(), 1.5);
  EXPECT_EQ(report.learning_rate(), 0.125);
  EXPECT_EQ(report.control_revision(), 3);
  EXPECT_EQ(report.nan_count(), 4);
  EXPECT_EQ(report.pos_inf_count(), 5);
  EXPECT_EQ(report.neg_inf_count(), 6);
  EXPECT_EQ(report.clip().action(), v1::ClipOutcome::ACTION_CLIPPED);
  EXPECT_EQ(report.clip().norm_after(), 7.5);
  EXPECT_EQ(report.clip().coefficient(), 0.75);
  EXPECT_EQ(report.clip().tensors_clipped(), 8);
  EXPECT_EQ(report.clip().threshold(), 9.5);
  EXPECT_EQ(report.clip().elements_clipped(), 10);
  EXPECT_EQ(report.clip().units_clipped(), 11);
  EXPECT_TRUE(report.clip().moments_reset());
  EXPECT_EQ(report.step_seconds(), 0.25);
  EXPECT_EQ(report.time().seconds(), 1'700'000'000);
  EXPECT_EQ(report.time().nanos(), 123'456'789);
}

TEST(ReportEncoderTest, TellsTheFactorOfATensorThatWasScaled) {
  core::StepRecord record = FullRecord();
  record.tensors[1].clip_scale = 0.125;
  for (const auto level : {v1::STATISTICS_LEVEL_FULL, v1::STATISTICS_LEVEL_NORM}) {
    record.level = level;
    const v1::StepReport report = Encode(record);
    EXPECT_FALSE(report.tensors(0).has_clip_scale());
    EXPECT_EQ(report.tensors(1).clip_scale(), 0.125);
  }
}

TEST(ReportEncoderTest, FullHasEverything) {
  const v1::StepReport report = Encode(FullRecord());
  ExpectSameScalars(report);
  EXPECT_EQ(report.grad_norm(), 2.5);
  ASSERT_THAT(report.tensors(), SizeIs(2));
  EXPECT_EQ(report.tensors(0).tensor(), 0);
  const v1::TensorStats& tensor = report.tensors(1);
  EXPECT_EQ(tensor.tensor(), 1);
  EXPECT_EQ(tensor.l2_norm(), 10.5);
  EXPECT_EQ(tensor.max_abs(), 11.5);
  EXPECT_EQ(tensor.mean(), 12.5);
  EXPECT_EQ(tensor.mean_abs(), 13.5);
  EXPECT_EQ(tensor.std_dev(), 14.5);
  EXPECT_EQ(tensor.nan_count(), 15);
  EXPECT_EQ(tensor.pos_inf_count(), 16);
  EXPECT_EQ(tensor.neg_inf_count(), 17);
  EXPECT_EQ(tensor.zero_count(), 18);
  EXPECT_EQ(tensor.denormal_count(), 19);
  EXPECT_EQ(tensor.weight_norm(), 20.5);
  EXPECT_EQ(tensor.update_norm(), 21.5);
  EXPECT_EQ(tensor.histogram().zero_count(), 18);
  EXPECT_EQ(tensor.histogram().sample_stride(), 8);
  EXPECT_FALSE(report.tensors(0).histogram().has_sample_stride()) << "every element was counted";
  EXPECT_EQ(tensor.cosine_with_last(), -0.5);
  EXPECT_FALSE(report.tensors(0).has_cosine_with_last());
  EXPECT_EQ(report.cosine_with_last(), 0.25);
}

TEST(ReportEncoderTest, LayersAreToldByNameAndOnlyWhatTheyHave) {
  core::StepRecord record = FullRecord();
  const v1::StepReport report = Encode(record);
  ASSERT_THAT(report.layers(), SizeIs(2));
  EXPECT_EQ(report.layers(0).name(), "dense0");
  EXPECT_EQ(report.layers(0).kind(), "dense");
  EXPECT_FALSE(report.layers(0).has_saturated());
  EXPECT_FALSE(report.layers(0).has_dead());
  EXPECT_FALSE(report.layers(0).has_backward_norm());
  EXPECT_FALSE(report.layers(0).has_backward_growth());
  EXPECT_FALSE(report.layers(0).has_largest_logit());
  EXPECT_FALSE(report.layers(0).has_attention_entropy());
  const v1::LayerStats& layer = report.layers(1);
  EXPECT_EQ(layer.name(), "activation1");
  EXPECT_EQ(layer.output_mean(), 22.5);
  EXPECT_EQ(layer.output_variance(), 23.5);
  EXPECT_EQ(layer.output_non_finite(), 24);
  EXPECT_EQ(layer.saturated(), 0.125);
  EXPECT_EQ(layer.dead(), 0.375);
  EXPECT_TRUE(layer.has_backward_norm() && std::isnan(layer.backward_norm())) << "broken is not the same as absent";
  EXPECT_EQ(layer.backward_growth(), -1.5);
  EXPECT_EQ(layer.largest_logit(), 25.5);
  EXPECT_EQ(layer.attention_entropy(), 0.625);
  record.report_tensors = false;
  EXPECT_THAT(Encode(record).layers(), SizeIs(0));
  record.report_tensors = true;
  record.level = v1::STATISTICS_LEVEL_NONE;
  EXPECT_THAT(Encode(record).layers(), SizeIs(2)) << "they are asked for on their own";
}

TEST(ReportEncoderTest, LogitsThatAreNotFiniteAreToldAsWhatTheyAre) {
  core::StepRecord record = FullRecord();
  record.layers[1].attention_entropy = kNaN;
  for (const double logit : {kNaN, kInfinity, -kInfinity}) {
    record.layers[1].largest_logit = logit;
    const v1::LayerStats layer = Encode(record).layers(1);
    ASSERT_TRUE(layer.has_largest_logit());
    EXPECT_EQ(std::isnan(layer.largest_logit()), std::isnan(logit));
    if (!std::isnan(logit)) {
      EXPECT_EQ(layer.largest_logit(), static_cast<float>(logit));
    }
    EXPECT_FALSE(layer.has_attention_entropy());
  }
  record.layers[1].largest_logit = 1e300;
  EXPECT_EQ(Encode(record).layers(1).largest_logit(), std::numeric_limits<float>::max()) << "it is finite";
}

TEST(ReportEncoderTest, NormHasNormsAndCounts) {
  core::StepRecord record = FullRecord();
  record.level = v1::STATISTICS_LEVEL_NORM;
  const v1::StepReport report = Encode(record);
  ExpectSameScalars(report);
  EXPECT_EQ(report.grad_norm(), 2.5);
  ASSERT_THAT(report.tensors(), SizeIs(2));
  v1::TensorStats expected;
  expected.set_tensor(1);
  expected.set_l2_norm(10.5);
  expected.set_max_abs(11.5);
  expected.set_nan_count(15);
  expected.set_pos_inf_count(16);
  expected.set_neg_inf_count(17);
  EXPECT_EQ(report.tensors(1).SerializeAsString(), expected.SerializeAsString());
}

TEST(ReportEncoderTest, NoneHasTheNormOfTheStepAndNoTensors) {
  core::StepRecord record = FullRecord();
  record.level = v1::STATISTICS_LEVEL_NONE;
  const v1::StepReport report = Encode(record);
  ExpectSameScalars(report);
  EXPECT_EQ(report.grad_norm(), 2.5) << "unset, it would say that nothing but zeros is finite";
  EXPECT_FALSE(report.has_cosine_with_last());
  EXPECT_THAT(report.tensors(), IsEmpty());
}

TEST(ReportEncoderTest, BetweenReportedStepsThereAreNoTensors) {
  core::StepRecord record = FullRecord();
  record.report_tensors = false;
  const v1::StepReport report = Encode(record);
  ExpectSameScalars(report);
  EXPECT_EQ(report.grad_norm(), 2.5);
  EXPECT_THAT(report.tensors(), IsEmpty());
}

TEST(ReportEncoderTest, HistogramsOfAnOlderStepAreNotTold) {
  core::StepRecord record = FullRecord();
  record.tensors[1].histogram.positive()[127] = 3;
  v1::StepReport expected = Encode(record);
  for (v1::TensorStats& tensor : *expected.mutable_tensors()) tensor.clear_histogram();
  record.report_histograms = false;
  EXPECT_EQ(Encode(record).SerializeAsString(), expected.SerializeAsString()) << "all else is";
}

TEST(ReportEncoderTest, NonFiniteNumbersAreToldAsTheyAre) {
  core::StepRecord record = FullRecord();
  record.loss = kNaN;
  record.clip.norm_after = -kInfinity;
  record.tensors[0].update_norm = kInfinity;
  std::string bytes;
  ASSERT_TRUE(Encode(record).SerializeToString(&bytes));
  v1::StepReport report;
  ASSERT_TRUE(report.ParseFromString(bytes));
  EXPECT_TRUE(std::isnan(report.loss()));
  EXPECT_EQ(report.clip().norm_after(), -kInfinity);
  EXPECT_EQ(report.tensors(0).update_norm(), kInfinity);
}

TEST(ReportEncoderTest, WhereNothingButZerosIsFiniteThereIsNoNorm) {
  core::StepRecord record = FullRecord();
  record.grad_norm = 0;
  core::TensorStatistics& tensor = record.tensors[1];
  tensor.l2_norm = tensor.max_abs = tensor.mean = tensor.mean_abs = tensor.std_dev = 0;
  record.layers[1].output_mean = record.layers[1].output_variance = 0;
  v1::StepReport report = Encode(record);
  EXPECT_FALSE(report.has_grad_norm()) << "a zero would hide " << record.non_finite() << " elements";
  EXPECT_FALSE(report.tensors(1).has_l2_norm() || report.tensors(1).has_max_abs() || report.tensors(1).has_mean() ||
               report.tensors(1).has_mean_abs() || report.tensors(1).has_std_dev());
  EXPECT_FALSE(report.layers(1).has_output_mean() || report.layers(1).has_output_variance());
  record.nan_count = record.pos_inf_count = record.neg_inf_count = 0;
  report = Encode(record);
  EXPECT_TRUE(report.has_grad_norm() && report.grad_norm() == 0) << "a zero that was measured";
  EXPECT_TRUE(report.tensors(0).has_l2_norm() && report.tensors(0).l2_norm() == 0);
}

TEST(ReportEncoderTest, WhatClippingDidNotHaveIsUnset) {
  core::StepRecord record = FullRecord();
  record.clip.action = v1::ClipOutcome::ACTION_SKIPPED;
  record.clip.norm_after = 0;
  record.clip.threshold = 0;
  EXPECT_FALSE(Encode(record).clip().has_norm_after());
  EXPECT_FALSE(Encode(record).clip().has_threshold());
  record.clip.action = v1::ClipOutcome::ACTION_STOPPED;
  EXPECT_FALSE(Encode(record).clip().has_norm_after());
  record.clip.action = v1::ClipOutcome::ACTION_NOT_NEEDED;
  EXPECT_TRUE(Encode(record).clip().has_norm_after()) << "a norm of zero before an update";
}

TEST(ReportEncoderTest, WhatIsTooLargeForAFloatIsNotToldAsInfinite) {
  core::StepRecord record = FullRecord();
  record.tensors[1].l2_norm = 1e200;
  record.tensors[1].mean = -1e200;
  const v1::StepReport report = Encode(record);
  EXPECT_EQ(report.tensors(1).l2_norm(), std::numeric_limits<float>::max());
  EXPECT_EQ(report.tensors(1).mean(), -std::numeric_limits<float>::max());
}

TEST(ReportEncoderTest, HistogramsAreTrimmed) {
  core::StepRecord record = FullRecord();
  core::HistogramCounts& histogram = record.tensors[0].histogram;
  histogram.positive()[127] = 3;  // 1 <= x < 2
  histogram.positive()[129] = 4;
  histogram.negative()[0] = 5;
  histogram.negative()[core::HistogramCounts::kBuckets - 1] = 4'000'000'000u;
  const v1::StepReport report = Encode(record);
  const v1::Histogram& encoded = report.tensors(0).histogram();
  EXPECT_EQ(encoded.positive_offset(), 0);
  EXPECT_THAT(encoded.positive_counts(), ElementsAre(3, 0, 4));
  EXPECT_EQ(encoded.negative_offset(), -127);
  ASSERT_THAT(encoded.negative_counts(), SizeIs(core::HistogramCounts::kBuckets));
  EXPECT_EQ(encoded.negative_counts(0), 5);
  EXPECT_EQ(encoded.negative_counts(core::HistogramCounts::kBuckets - 1), 4'000'000'000);

  const v1::Histogram& empty = report.tensors(1).histogram();
  EXPECT_THAT(empty.positive_counts(), IsEmpty());
  EXPECT_EQ(empty.positive_offset(), 0);
}

TEST(ReportEncoderTest, TimesBefore1970HavePositiveNanos) {
  core::StepRecord record = FullRecord();
  record.time = absl::UnixEpoch() - absl::Nanoseconds(1);
  const v1::StepReport report = Encode(record);
  EXPECT_EQ(report.time().seconds(), -1);
  EXPECT_EQ(report.time().nanos(), 999'999'999);
}

}  // namespace
}  // namespace gradwatch::worker
