#include "client/worker/outbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace gradwatch::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class OutboxTest : public ::testing::Test {
 protected:
  void Offer(int64_t count) {
    core::StepRecord record;
    record.tensors.resize(1);
    for (int64_t i = 0; i < count; ++i) {
      record.step = reports_.end_step();
      reports_.Offer(record);
    }
  }
  void Add(int64_t steps_done) {
    v1::Notice notice;
    notice.set_steps_done(steps_done);
    notices_.Add(notice);
  }
  void Begin(int64_t acked_notice, std::optional<int64_t> acked_step) {
    v1::TrainerWelcome welcome;
    welcome.set_attempt(1);
    welcome.set_epoch(7);
    welcome.set_acked_notice(acked_notice);
    if (acked_step.has_value()) welcome.set_acked_step(*acked_step);
    outbox_.Begin(welcome);
  }
  void Acknowledge(int64_t notice, int64_t step) {
    v1::TrainerAck ack;
    ack.set_notice(notice);
    ack.set_step(step);
    outbox_.Acknowledge(ack);
  }
  void AddEnd(int64_t steps_done) {
    v1::Notice notice;
    notice.set_steps_done(steps_done);
    notice.mutable_finished();
    notices_.Add(notice);
  }
  // All that may be sent now: "0-9" for reports, "lost 0-9", "notice 1".
  std::vector<std::string> Drain() {
    std::vector<std::string> said;
    v1::TrainerMessage message;
    while (outbox_.Next(Outbox::Urgency::kNow, &message)) {
      for (const v1::StepRange& lost : message.reports().lost()) {
        said.push_back(absl::StrCat("lost ", lost.first_step(), "-", lost.last_step()));
      }
      const auto& reports = message.reports().reports();
      if (!reports.empty()) said.push_back(absl::StrCat(reports.begin()->step(), "-", reports.rbegin()->step()));
      EXPECT_EQ(message.has_reports() ? message.reports().epoch() : message.notices().epoch(), 7);
      for (const v1::Notice& notice : message.notices().notices()) {
        said.push_back(absl::StrCat("notice ", notice.number()));
      }
      messages_ += 1;
    }
    return said;
  }

  int messages_ = 0;  // that Drain has seen
  NoticeLog notices_;
  ReportBuffer reports_{1, 0};
  Outbox outbox_{&notices_};
};

TEST_F(OutboxTest, SaysNothingWhenThereIsNothing) {
  Begin(0, std::nullopt);
  EXPECT_THAT(Drain(), IsEmpty());
  outbox_.SetReports(&reports_);
  EXPECT_THAT(Drain(), IsEmpty());
  EXPECT_TRUE(outbox_.AllAcknowledged());
}

TEST_F(OutboxTest, NoticesDoNotWaitForReports) {
  Begin(0, std::nullopt);
  Add(0);
  EXPECT_THAT(Drain(), ElementsAre("notice 1")) << "the model is ready before there are reports";
  outbox_.SetReports(&reports_);
  Offer(10);
  Add(3);
  Add(3);
  Add(7);
  EXPECT_THAT(Drain(), ElementsAre("notice 2", "notice 3", "notice 4", "0-9"));
  EXPECT_EQ(messages_, 1 + 2) << "notices share a message";
}

TEST_F(OutboxTest, TheEndGoesAloneBehindAllReports) {
  Begin(0, std::nullopt);
  outbox_.SetReports(&reports_);
  Offer(10);
  Add(8);
  AddEnd(10);
  EXPECT_THAT(Drain(), ElementsAre("notice 1", "0-9", "notice 2"));
  EXPECT_EQ(messages_, 3);
  Begin(0, std::nullopt);
  EXPECT_THAT(Drain(), ElementsAre("notice 1", "0-9", "notice 2")) << "on another stream too";
  Begin(1, 9);
  EXPECT_THAT(Drain(), ElementsAre("notice 2"));
}

TEST_F(OutboxTest, TheEndOfARunThatNeverBeganIsToldAtOnce) {
  Begin(0, std::nullopt);
  AddEnd(0);
  EXPECT_THAT(Drain(), ElementsAre("notice 1"));
}

TEST_F(OutboxTest, BeginsAgainAfterWhatHasArrived) {
  outbox_.SetReports(&reports_);
  Begin(0, std::nullopt);
  Offer(10);
  Add(5);
  Add(10);
  EXPECT_THAT(Drain(), ElementsAre("notice 1", "notice 2", "0-9"));
  Begin(1, 6);
  EXPECT_THAT(Drain(), ElementsAre("notice 2", "7-9"));
  Begin(2, 9);
  EXPECT_THAT(Drain(), IsEmpty());
  EXPECT_TRUE(outbox_.AllAcknowledged());
}

TEST_F(OutboxTest, TellsWhatCouldNotBeKept) {
  outbox_.SetReports(&reports_);
  Begin(0, std::nullopt);
  Offer(5);
  EXPECT_THAT(Drain(), ElementsAre("0-4"));
  Offer(995);
  const int64_t oldest = reports_.oldest_step();
  const std::string kept = absl::StrCat(oldest, "-999");
  EXPECT_THAT(Drain(), ElementsAre(absl::StrCat("lost 5-", oldest - 1), kept));
  Begin(0, 2);  // what was sent but has not arrived can be lost, too
  EXPECT_THAT(Drain(), ElementsAre(absl::StrCat("lost 3-", oldest - 1), kept));
}

TEST_F(OutboxTest, LostStepsAreToldBeforeTheEnd) {
  outbox_.SetReports(&reports_);
  Begin(0, std::nullopt);
  Offer(2);
  Add(2);
  Offer(998);
  AddEnd(1000);
  const int64_t oldest = reports_.oldest_step();
  EXPECT_THAT(Drain(),
              ElementsAre("notice 1", absl::StrCat("lost 0-", oldest - 1), absl::StrCat(oldest, "-999"), "notice 2"));
}

TEST_F(OutboxTest, IsDoneWhenAllIsAcknowledged) {
  outbox_.SetReports(&reports_);
  Begin(0, std::nullopt);
  Offer(3);
  Add(3);
  Drain();
  EXPECT_FALSE(outbox_.AllAcknowledged());
  Acknowledge(1, 1);
  EXPECT_FALSE(outbox_.AllAcknowledged());
  Acknowledge(1, 2);
  EXPECT_TRUE(outbox_.AllAcknowledged());
  Offer(1);
  EXPECT_FALSE(outbox_.AllAcknowledged()) << "not sent yet";
}

TEST_F(OutboxTest, FewReportsWaitForMore) {
  ReportBuffer reports(0, size_t{1} << 20);
  outbox_.SetReports(&reports);
  Begin(0, std::nullopt);
  core::StepRecord record;
  v1::TrainerMessage message;
  for (; record.step < Outbox::kMaxReports; ++record.step) {
    EXPECT_FALSE(outbox_.Next(Outbox::Urgency::kCanWait, &message)) << record.step;
    reports.Offer(record);
  }
  EXPECT_TRUE(outbox_.Next(Outbox::Urgency::kCanWait, &message)) << "a full batch does not wait";
  while (outbox_.Next(Outbox::Urgency::kCanWait, &message)) continue;  // nor does what it left
  Acknowledge(0, record.step - 1);
  reports.Offer(record);
  EXPECT_FALSE(outbox_.Next(Outbox::Urgency::kCanWait, &message));
  Add(reports.end_step());
  EXPECT_TRUE(outbox_.Next(Outbox::Urgency::kCanWait, &message)) << "a notice does not wait";
  EXPECT_TRUE(message.has_notices());
  EXPECT_FALSE(outbox_.Next(Outbox::Urgency::kCanWait, &message)) << "the reports go on waiting";
  AddEnd(reports.end_step());
  EXPECT_TRUE(outbox_.Next(Outbox::Urgency::kCanWait, &message)) << "the end does not wait either";
  EXPECT_TRUE(message.has_reports());
  EXPECT_TRUE(outbox_.Next(Outbox::Urgency::kCanWait, &message));
  EXPECT_TRUE(message.has_notices());
}

// More reports than may be on their way.
class OutboxCreditTest : public OutboxTest {
 protected:
  explicit OutboxCreditTest(size_t tensors = 0, int64_t steps = 3 * Outbox::kMaxReportsOnWay)
      : steps_(steps), many_(tensors, size_t{64} << 20) {
    record_.tensors.resize(tensors);
    for (core::TensorStatistics& tensor : record_.tensors) {
      std::ranges::fill(tensor.histogram.positive(), 1'000'000'000);
    }
    for (record_.step = 0; record_.step < steps; ++record_.step) many_.Offer(record_);
    outbox_.SetReports(&many_);
    Begin(0, std::nullopt);
  }
  // Sends what may be sent; how many reports that was.
  int64_t Send() {
    int64_t sent = 0;
    v1::TrainerMessage message;
    while (outbox_.Next(Outbox::Urgency::kNow, &message)) {
      sent += message.reports().reports_size();
      if (!message.has_reports()) continue;
      ends_.push_back(message.reports().reports().rbegin()->step());
      bytes_.push_back(message.reports().ByteSizeLong());
    }
    return sent;
  }

  const int64_t steps_;
  core::StepRecord record_;
  ReportBuffer many_;
  std::vector<int64_t> ends_;  // of the batches: the last step
  std::vector<size_t> bytes_;
};

TEST_F(OutboxCreditTest, OnlySoManyReportsAreOnTheirWay) {
  EXPECT_EQ(Send(), Outbox::kMaxReportsOnWay);
  EXPECT_EQ(Send(), 0);
  Acknowledge(0, ends_[0] - 1);
  EXPECT_EQ(Send(), 0) << "a batch is acknowledged as a whole";
  Acknowledge(0, ends_[0]);
  EXPECT_EQ(Send(), ends_[0] + 1);
  Acknowledge(0, ends_.back());
  EXPECT_EQ(Send(), Outbox::kMaxReportsOnWay);
}

TEST_F(OutboxCreditTest, NoticesNeedNone) {
  Send();
  Add(steps_);
  EXPECT_THAT(Drain(), ElementsAre("notice 1"));
  AddEnd(steps_);
  EXPECT_THAT(Drain(), IsEmpty()) << "the end waits for the reports";
  while (ends_.back() < steps_ - 1) {
    Acknowledge(1, ends_.back());
    Send();
  }
  Begin(1, steps_ - 1);
  EXPECT_THAT(Drain(), ElementsAre("notice 2"));
}

TEST_F(OutboxCreditTest, AnotherStreamHasItsOwn) {
  Send();
  Begin(0, ends_[0]);
  EXPECT_EQ(Send(), Outbox::kMaxReportsOnWay);
  EXPECT_EQ(ends_.back(), ends_[0] + Outbox::kMaxReportsOnWay);
}

class OutboxByteCreditTest : public OutboxCreditTest {
 protected:
  OutboxByteCreditTest() : OutboxCreditTest(/*tensors=*/8, /*steps=*/1000) {}
};

TEST_F(OutboxByteCreditTest, OnlySoManyBytesAreOnTheirWay) {
  EXPECT_LT(Send(), Outbox::kMaxReportsOnWay);
  const size_t all = std::accumulate(bytes_.begin(), bytes_.end(), size_t{0});
  EXPECT_LE(all, Outbox::kMaxBytesOnWay + 2 * Outbox::kReportBytes);
  EXPECT_GE(all, Outbox::kMaxBytesOnWay);
  for (const size_t bytes : bytes_) EXPECT_LT(bytes, 2 * Outbox::kReportBytes) << "a notice waits for one batch";
  Acknowledge(0, ends_.back());
  const size_t batches = bytes_.size();
  Send();
  EXPECT_GT(bytes_.size(), batches);
}

TEST_F(OutboxTest, BeginsAtTheFirstStepOfTheRun) {
  ReportBuffer resumed(1, 0, /*first_step=*/100);
  outbox_.SetReports(&resumed);
  Begin(0, std::nullopt);
  Add(100);
  EXPECT_THAT(Drain(), ElementsAre("notice 1"));
  core::StepRecord record;
  record.step = 100;
  resumed.Offer(record);
  EXPECT_THAT(Drain(), ElementsAre("100-100"));
}

// Offers `steps` records of `tensors` tensors with full histograms and returns the batches.
std::vector<v1::ReportBatch> Batches(int64_t steps, size_t tensors, size_t bytes) {
  core::StepRecord record;
  record.tensors.resize(tensors);
  for (core::TensorStatistics& tensor : record.tensors) {
    std::ranges::fill(tensor.histogram.positive(), 1'000'000'000);
    std::ranges::fill(tensor.histogram.negative(), 1'000'000'000);
  }
  NoticeLog notices;
  ReportBuffer reports(tensors, bytes);
  Outbox outbox(&notices);
  outbox.SetReports(&reports);
  for (record.step = 0; record.step < steps; ++record.step) reports.Offer(record);
  std::vector<v1::ReportBatch> batches;
  v1::TrainerAck ack;
  for (v1::TrainerMessage message; outbox.Next(Outbox::Urgency::kNow, &message); outbox.Acknowledge(ack)) {
    ack.set_step(message.reports().reports().rbegin()->step());
    batches.push_back(message.reports());
  }
  return batches;
}

TEST_F(OutboxTest, BatchesAreBoundedInNumber) {
  const std::vector<v1::ReportBatch> batches = Batches(2500, 0, size_t{16} << 20);
  int64_t reports = 0;
  for (const v1::ReportBatch& batch : batches) {
    EXPECT_LE(batch.reports_size(), Outbox::kMaxReports);
    reports += batch.reports_size();
  }
  EXPECT_EQ(reports, 2500);
}

TEST_F(OutboxTest, BatchesAreBoundedInBytes) {
  int64_t steps = 0;
  for (const v1::ReportBatch& batch : Batches(100, 20, size_t{16} << 20)) {
    EXPECT_LE(batch.ByteSizeLong(), Outbox::kMaxBatchBytes);
    for (const v1::StepReport& report : batch.reports()) {
      EXPECT_EQ(report.step(), steps++);
      EXPECT_EQ(report.tensors_size(), 20);
    }
  }
  EXPECT_EQ(steps, 100);
}

// The batches of notices that are sent of what was added.
std::vector<v1::NoticeBatch> NoticeBatches(Outbox* outbox) {
  std::vector<v1::NoticeBatch> batches;
  for (v1::TrainerMessage message; outbox->Next(Outbox::Urgency::kNow, &message);) batches.push_back(message.notices());
  int64_t next = 1;
  for (const v1::NoticeBatch& batch : batches) {
    for (const v1::Notice& notice : batch.notices()) EXPECT_EQ(notice.number(), next++);
  }
  return batches;
}

TEST_F(OutboxTest, BatchesOfNoticesAreBoundedInNumber) {
  Begin(0, std::nullopt);
  for (int i = 0; i < 600; ++i) Add(0);
  std::vector<int> sizes;
  for (const v1::NoticeBatch& batch : NoticeBatches(&outbox_)) sizes.push_back(batch.notices_size());
  EXPECT_THAT(sizes, ElementsAre(256, 256, 88)) << "a server refuses more at once for good";
}

TEST_F(OutboxTest, BatchesOfNoticesAreBoundedInBytes) {
  constexpr size_t kServerTakes = size_t{4} << 20;
  Begin(0, std::nullopt);
  for (const size_t bytes : {1'000, 2 << 20, 2 << 20, 1 << 20, 1 << 20, 7 << 19, 1'000, 1'000}) {
    v1::Notice notice;
    notice.mutable_alert()->set_summary(std::string(bytes, 'x'));
    notices_.Add(notice);
  }
  int notices = 0;
  for (const v1::NoticeBatch& batch : NoticeBatches(&outbox_)) {
    EXPECT_LT(batch.ByteSizeLong(), kServerTakes) << batch.notices_size() << " notices";
    notices += batch.notices_size();
  }
  EXPECT_EQ(notices, 8);
}

TEST_F(OutboxTest, AStepThatFillsAMessageIsToldWithoutTensors) {
  const std::vector<v1::ReportBatch> batches = Batches(1, 3000, 0);
  ASSERT_EQ(batches.size(), 1u);
  ASSERT_EQ(batches[0].reports_size(), 1);
  EXPECT_EQ(batches[0].reports(0).tensors_size(), 0);
}

}  // namespace
}  // namespace gradwatch::worker
