#include "server/history/report_batch.h"

#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace gradwatch::server {
namespace {

using Random = std::mt19937_64;

// Any bits: NaNs with what they carry, infinities, denormal numbers; and often what came before.
double AnyDouble(Random& random) {
  switch (random() % 4) {
    case 0:
      return 0;
    case 1:
      return std::bit_cast<double>(random());
    case 2:
      return std::bit_cast<double>(0x7ff0000000000000u | random());
    default:
      return 1 + 1e-3 * static_cast<double>(random() % 1000);
  }
}

float AnyFloat(Random& random) {
  const auto bits = static_cast<uint32_t>(random());
  return std::bit_cast<float>(random() % 2 == 0 ? bits : 0x3f800000u | (bits & 0xfff));
}

int64_t AnyCount(Random& random) {
  return random() % 8 == 0 ? static_cast<int64_t>(random()) : static_cast<int64_t>(random() % 3);
}

bool Often(Random& random) { return random() % 4 != 0; }

void FillHistogram(Random& random, v1::Histogram* histogram) {
  histogram->set_zero_count(AnyCount(random));
  histogram->set_positive_offset(static_cast<int32_t>(random() % 40) - 20);
  histogram->set_negative_offset(static_cast<int32_t>(random()));
  for (size_t i = random() % 12; i > 0; --i) histogram->add_positive_counts(AnyCount(random));
  for (size_t i = random() % 3; i > 0; --i) histogram->add_negative_counts(AnyCount(random));
  if (Often(random)) histogram->set_sample_stride(64);
}

void FillTensor(Random& random, v1::TensorStats* tensor) {
  tensor->set_tensor(static_cast<int32_t>(random() % 5));
  if (Often(random)) tensor->set_l2_norm(AnyFloat(random));
  if (Often(random)) tensor->set_max_abs(AnyFloat(random));
  if (Often(random)) tensor->set_mean(AnyFloat(random));
  if (Often(random)) tensor->set_mean_abs(AnyFloat(random));
  if (Often(random)) tensor->set_std_dev(AnyFloat(random));
  tensor->set_nan_count(AnyCount(random));
  tensor->set_pos_inf_count(AnyCount(random));
  tensor->set_neg_inf_count(AnyCount(random));
  if (Often(random)) tensor->set_zero_count(AnyCount(random));
  if (Often(random)) tensor->set_denormal_count(AnyCount(random));
  if (Often(random)) tensor->set_weight_norm(AnyFloat(random));
  if (Often(random)) tensor->set_update_norm(AnyFloat(random));
  if (Often(random)) tensor->set_cosine_with_last(AnyFloat(random));
  if (Often(random)) tensor->set_clip_scale(AnyFloat(random));
  if (!Often(random)) FillHistogram(random, tensor->mutable_histogram());
}

void FillClip(Random& random, v1::ClipOutcome* clip) {
  clip->set_action(static_cast<v1::ClipOutcome::Action>(random() % 9));  // an unknown one, too
  if (Often(random)) clip->set_norm_after(AnyDouble(random));
  clip->set_coefficient(AnyDouble(random));
  clip->set_tensors_clipped(static_cast<int32_t>(random()));
  if (Often(random)) clip->set_threshold(AnyDouble(random));
  clip->set_elements_clipped(AnyCount(random));
  clip->set_units_clipped(AnyCount(random));
  clip->set_moments_reset(Often(random));
}

void FillLayer(Random& random, v1::LayerStats* layer) {
  layer->set_name(std::string("layer") + static_cast<char>('0' + random() % 4));
  layer->set_kind(Often(random) ? "dense" : "");
  if (Often(random)) layer->set_output_mean(AnyFloat(random));
  if (Often(random)) layer->set_output_variance(AnyFloat(random));
  layer->set_output_non_finite(AnyCount(random));
  if (Often(random)) layer->set_saturated(AnyFloat(random));
  if (Often(random)) layer->set_dead(AnyFloat(random));
  if (Often(random)) layer->set_backward_norm(AnyFloat(random));
  if (Often(random)) layer->set_backward_growth(AnyFloat(random));
  if (Often(random)) layer->set_largest_logit(AnyFloat(random));
  if (Often(random)) layer->set_attention_entropy(AnyFloat(random));
}

v1::StepReport AnyReport(Random& random, int64_t step) {
  v1::StepReport report;
  report.set_attempt(1);
  report.set_step(step);
  report.set_loss(AnyDouble(random));
  if (Often(random)) report.set_grad_norm(AnyDouble(random));
  report.set_learning_rate(AnyDouble(random));
  report.set_control_revision(AnyCount(random));
  report.set_nan_count(AnyCount(random));
  report.set_pos_inf_count(AnyCount(random));
  report.set_neg_inf_count(AnyCount(random));
  report.set_step_seconds(AnyDouble(random));
  if (Often(random)) report.set_cosine_with_last(AnyDouble(random));
  if (Often(random)) FillClip(random, report.mutable_clip());
  if (Often(random)) report.mutable_time()->set_seconds(AnyCount(random));
  if (Often(random)) report.mutable_time()->set_nanos(static_cast<int32_t>(random()));
  if (!Often(random)) {
    report.mutable_validation()->set_loss(AnyDouble(random));
    report.mutable_validation()->set_targets(AnyCount(random));
    if (Often(random)) report.mutable_validation()->set_accuracy(AnyDouble(random));
    if (Often(random)) report.mutable_validation()->set_perplexity(AnyDouble(random));
  }
  for (size_t i = random() % 6; i > 0; --i) FillTensor(random, report.add_tensors());
  for (size_t i = random() % 4; i > 0; --i) FillLayer(random, report.add_layers());
  return report;
}

// Field by field and bit by bit: fields are written in the order of their numbers, NaNs as their bits.
std::vector<std::string> Serialised(const std::vector<v1::StepReport>& reports) {
  std::vector<std::string> bytes;
  for (const v1::StepReport& report : reports) bytes.push_back(report.SerializeAsString());
  return bytes;
}

std::string Encode(const std::vector<v1::StepReport>& reports) {
  ReportBatchEncoder encoder;
  for (const v1::StepReport& report : reports) EXPECT_TRUE(encoder.Add(report));
  return encoder.Finish();
}

absl::StatusOr<std::vector<std::string>> Decode(absl::string_view batch) {
  std::vector<std::string> bytes;
  const absl::Status status =
      DecodeReports(batch, [&bytes](const v1::StepReport& report) { bytes.push_back(report.SerializeAsString()); });
  if (!status.ok()) return status;
  return bytes;
}

// The batch with the checksum that fits it.
std::string WithChecksum(std::string batch) {
  const size_t size = batch.size() - 4;
  const auto checksum = static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(batch.data()), size));
  for (size_t i = 0; i < 4; ++i) batch[size + i] = static_cast<char>(checksum >> 8 * i);
  return batch;
}

TEST(ReportBatchTest, AnyReportsComeBackToTheLastBit) {
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<v1::StepReport> reports;
    const size_t count = random() % (round < 100 ? 5 : 80);
    for (size_t i = 0; i < count; ++i) reports.push_back(AnyReport(random, static_cast<int64_t>(i)));
    const auto decoded = Decode(Encode(reports));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    ASSERT_EQ(*decoded, Serialised(reports)) << "round " << round;
  }
}

TEST(ReportBatchTest, FieldsOfLaterVersionsComeBack) {
  Random random(2);
  std::vector<v1::StepReport> reports;
  for (int i = 0; i < 12; ++i) reports.push_back(AnyReport(random, i));
  const auto add_unknown = [](auto* message) {
    message->GetReflection()->MutableUnknownFields(message)->AddVarint(900, 7);
  };
  add_unknown(&reports[1]);
  add_unknown(reports[3].mutable_clip());
  add_unknown(reports[4].add_tensors());
  add_unknown(reports[5].add_tensors()->mutable_histogram());
  add_unknown(reports[6].add_layers());
  add_unknown(reports[7].mutable_validation());
  const auto decoded = Decode(Encode(reports));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, Serialised(reports));
}

ReportChoice AnyChoice(Random& random) {
  ReportChoice choice = ReportChoice::Nothing();
  if (random() % 2 == 0) choice.report |= ReportField("loss");
  if (random() % 2 == 0) choice.clip = ClipField("threshold");
  if (random() % 4 != 0) choice.tensor = TensorField("tensor") | TensorField("l2_norm");
  if (random() % 3 == 0) choice.layer = LayerField("dead");
  if (random() % 3 == 0) choice.histograms = choice.tensor != 0;
  for (size_t i = random() % 6; i > 0; --i) choice.tensors.push_back(random() % 2 == 0);
  return choice;
}

// What a reader of few columns gets is what a reader of all would have picked.
v1::StepReport Chosen(const v1::StepReport& report, const ReportChoice& choice) {
  v1::StepReport chosen;
  chosen.set_attempt(report.attempt());
  chosen.set_step(report.step());
  if ((choice.report & ReportField("loss")) != 0) chosen.set_loss(report.loss());
  if ((choice.clip & ClipField("threshold")) != 0 && report.has_clip()) {
    chosen.mutable_clip();
    if (report.clip().has_threshold()) chosen.mutable_clip()->set_threshold(report.clip().threshold());
  }
  for (const v1::TensorStats& tensor : report.tensors()) {
    if (choice.tensor == 0 || !choice.WantsTensor(static_cast<uint64_t>(tensor.tensor()))) continue;
    v1::TensorStats* const added = chosen.add_tensors();
    added->set_tensor(tensor.tensor());
    if ((choice.tensor & TensorField("l2_norm")) != 0 && tensor.has_l2_norm()) added->set_l2_norm(tensor.l2_norm());
    if (choice.histograms && tensor.has_histogram()) *added->mutable_histogram() = tensor.histogram();
  }
  for (const v1::LayerStats& layer : report.layers()) {
    if (choice.layer == 0) continue;
    v1::LayerStats* const added = chosen.add_layers();
    added->set_name(layer.name());
    added->set_kind(layer.kind());
    if (layer.has_dead()) added->set_dead(layer.dead());
  }
  return chosen;
}

TEST(ReportBatchTest, FewColumnsAreThoseOfTheWholeReports) {
  Random random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<v1::StepReport> reports;
    const size_t count = round % 100 == 0 ? 4000 : random() % 60;  // columns of several pieces
    for (size_t i = 0; i < count; ++i) reports.push_back(AnyReport(random, static_cast<int64_t>(i)));
    const ReportChoice choice = AnyChoice(random);
    std::vector<std::string> wanted;
    for (const v1::StepReport& report : reports) wanted.push_back(Chosen(report, choice).SerializeAsString());
    std::vector<std::string> stored, open;
    ASSERT_TRUE(DecodeReports(Encode(reports), choice, [&stored](const v1::StepReport& report) {
                  stored.push_back(report.SerializeAsString());
                }).ok());
    ASSERT_EQ(stored, wanted) << "round " << round;
    ReportBatchEncoder encoder;
    for (const v1::StepReport& report : reports) ASSERT_TRUE(encoder.Add(report));
    encoder.ForEach(choice, [&open](const v1::StepReport& report) { open.push_back(report.SerializeAsString()); });
    ASSERT_EQ(open, wanted) << "round " << round;
  }
}

TEST(ReportBatchTest, AnOpenBlockIsSmall) {
  Random random(8);
  ReportBatchEncoder encoder;
  for (int step = 0; step < 256; ++step) {
    v1::StepReport report;
    report.set_step(step);
    report.set_loss(std::ldexp(static_cast<double>(random() % 1000), -9));
    for (int i = 0; i < 6; ++i) {
      v1::TensorStats* const tensor = report.add_tensors();
      tensor->set_tensor(i);
      tensor->set_l2_norm(1);
      tensor->set_zero_count(12345);
    }
    ASSERT_TRUE(encoder.Add(report));
  }
  EXPECT_LE(encoder.memory_bytes(), 192u << 10);
}

TEST(ReportBatchTest, AnEncoderBeginsAnewAfterFinish) {
  Random random(3);
  const v1::StepReport first = AnyReport(random, 0), second = AnyReport(random, 1);
  ReportBatchEncoder encoder;
  ASSERT_TRUE(encoder.Add(first));
  (void)encoder.Finish();
  EXPECT_EQ(encoder.reports(), 0u);
  ASSERT_TRUE(encoder.Add(second));
  EXPECT_EQ(*Decode(encoder.Finish()), Serialised({second}));
  EXPECT_TRUE(Decode(encoder.Finish())->empty());
}

TEST(ReportBatchTest, IsFullBeforeItIsTooLargeToRead) {
  ReportBatchEncoder encoder;
  v1::StepReport report;
  for (size_t i = 0; i < kMaxBatchReports; ++i) ASSERT_TRUE(encoder.Add(report));
  EXPECT_FALSE(encoder.Add(report));
  EXPECT_EQ(Decode(encoder.Finish())->size(), kMaxBatchReports);

  for (size_t i = 0; i < kMaxBatchTensors / 4; ++i) report.add_tensors()->set_tensor(static_cast<int32_t>(i));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(encoder.Add(report));
  EXPECT_FALSE(encoder.Add(report));
  EXPECT_EQ(Decode(encoder.Finish())->size(), 4u);
}

// Many histograms, and layers that have other names in each report.
TEST(ReportBatchTest, IsFullBeforeItsPartsAreTooManyToRead) {
  const auto histograms = [](int64_t) {
    v1::StepReport report;
    for (int i = 0; i < 20; ++i) {
      v1::Histogram* histogram = report.add_tensors()->mutable_histogram();
      for (int64_t count = 0; count < 2000; ++count) histogram->add_positive_counts(count);
      histogram->add_negative_counts(1);
    }
    return report;
  };
  const auto names = [](int64_t step) {
    v1::StepReport report;
    for (int i = 0; i < 300; ++i) report.add_layers()->set_name(absl::StrCat(step, "/", i));
    return report;
  };
  for (const std::function<v1::StepReport(int64_t)>& make : {std::function(histograms), std::function(names)}) {
    ReportBatchEncoder encoder;
    int64_t step = 0;
    for (bool fits = true; fits && step < 256; step += fits ? 1 : 0) {
      v1::StepReport report = make(step);
      report.set_step(step);
      fits = encoder.Add(report);
    }
    EXPECT_GT(step, 100);
    EXPECT_LT(step, 256);
    const auto decoded = Decode(encoder.Encode());
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(static_cast<int64_t>(decoded->size()), step);
  }
}

TEST(ReportBatchTest, EveryFlippedBitAndEveryCutIsFound) {
  Random random(4);
  std::vector<v1::StepReport> reports;
  for (int i = 0; i < 20; ++i) reports.push_back(AnyReport(random, i));
  const std::string batch = Encode(reports);
  for (size_t i = 0; i < batch.size(); ++i) {
    std::string flipped = batch;
    flipped[i] = static_cast<char>(flipped[i] ^ 1 << random() % 8);
    EXPECT_EQ(Decode(flipped).status().code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(Decode(batch.substr(0, i)).status().code(), absl::StatusCode::kDataLoss);
  }
}

// Whoever makes a checksum that fits gets an error or other reports, never a crash.
TEST(ReportBatchTest, NoBytesHurt) {
  Random random(5);
  std::vector<v1::StepReport> reports;
  for (int i = 0; i < 6; ++i) reports.push_back(AnyReport(random, i));
  const std::string batch = Encode(reports);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = batch;
    for (size_t i = 1 + random() % 3; i > 0; --i) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 4 == 0) bytes.resize(4 + random() % (bytes.size() - 4));
    const auto decoded = Decode(WithChecksum(bytes));
    if (!decoded.ok()) {
      ASSERT_EQ(decoded.status().code(), absl::StatusCode::kDataLoss);
    }
    const absl::Status few = DecodeReports(WithChecksum(bytes), AnyChoice(random), [](const v1::StepReport&) {});
    ASSERT_TRUE(few.ok() || few.code() == absl::StatusCode::kDataLoss) << few;
  }
}

// Statistics as training gives them: noise that changes slowly.
TEST(ReportBatchTest, SmoothStatisticsNeedFewBytes) {
  Random random(6);
  std::normal_distribution<double> noise(0, 0.1);
  std::vector<v1::StepReport> reports;
  for (int step = 0; step < 256; ++step) {
    v1::StepReport& report = reports.emplace_back();
    report.set_step(step);
    report.set_loss(1 + noise(random));
    for (int i = 0; i < 6; ++i) {
      v1::TensorStats* tensor = report.add_tensors();
      tensor->set_tensor(i);
      tensor->set_l2_norm(static_cast<float>(std::exp(i + noise(random))));
      tensor->set_weight_norm(100 + 1e-5f * static_cast<float>(step));
    }
  }
  // Three bytes and a half of noise in each norm, a share of eight of the loss, and nearly nothing of the weights.
  EXPECT_LT(Encode(reports).size(), 256 * 6 * 6);
}

}  // namespace
}  // namespace gradwatch::server
