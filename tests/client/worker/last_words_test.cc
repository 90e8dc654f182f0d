#include "client/worker/last_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::worker {
namespace {

using ::testing::_;
using testing::IsOk;
using testing::StatusIs;

class WorkerLastWordsTest : public ::testing::Test {
 protected:
  WorkerLastWordsTest() {
    outbox_.SetReports(&reports_);
    hello_.set_job_id("job");
  }

  void Begin(int64_t acked_notice, int64_t acked_step) {
    v1::TrainerWelcome welcome;
    welcome.set_attempt(2);
    welcome.set_epoch(5);
    welcome.set_acked_notice(acked_notice);
    if (acked_step >= 0) welcome.set_acked_step(acked_step);
    outbox_.Begin(welcome);
  }
  void RunTo(int64_t end) {
    core::StepRecord record;
    record.tensors.resize(1);
    for (record.step = reports_.end_step(); record.step < end; ++record.step) reports_.Offer(record);
  }
  void Notify(int64_t steps_done) {
    v1::Notice notice;
    notice.set_steps_done(steps_done);
    notice.mutable_paused();
    notices_.Add(std::move(notice));
  }
  void Finish() {
    v1::Notice notice;
    notice.set_steps_done(reports_.end_step());
    notice.mutable_finished()->set_state(v1::JOB_STATE_SUCCEEDED);
    notices_.Add(std::move(notice));
  }
  absl::Status Leave(size_t max_bytes = core::kMaxLastWordsBytes) {
    words_.emplace(&notices_, &outbox_, max_bytes);
    return words_->Leave(path_, hello_);
  }

  // What the file says: steps that are told, told to be lost, and notices, each in order.
  struct Content {
    std::vector<int64_t> steps;
    std::vector<int64_t> lost;
    std::vector<int64_t> notices;
    v1::TrainerMessage first, last;
  };
  Content Read() const {
    Content content;
    auto reader = core::LastWordsReader::Open(path_);
    EXPECT_THAT(reader, IsOk());
    bool is_first = true;
    while (reader.ok()) {
      const auto message = reader->Next();
      EXPECT_THAT(message, IsOk());
      if (!message.ok() || !message->has_value()) return content;
      const v1::TrainerMessage& said = **message;
      if (std::exchange(is_first, false)) content.first = said;
      content.last = said;
      if (said.has_reports()) {
        EXPECT_EQ(said.reports().epoch(), 5);
      }
      EXPECT_LE(said.reports().reports_size(), 1024);
      for (const v1::StepRange& lost : said.reports().lost()) {
        for (int64_t step = lost.first_step(); step <= lost.last_step(); ++step) content.lost.push_back(step);
      }
      for (const v1::StepReport& report : said.reports().reports()) {
        EXPECT_EQ(report.attempt(), 2);
        content.steps.push_back(report.step());
      }
      for (const v1::Notice& notice : said.notices().notices()) content.notices.push_back(notice.number());
    }
    return content;
  }
  // All numbers from `first` to before `end`.
  static std::vector<int64_t> Range(int64_t first, int64_t end) {
    std::vector<int64_t> range;
    for (int64_t i = first; i < end; ++i) range.push_back(i);
    return range;
  }

  const testing::TempDir dir_;
  const std::string path_ = dir_.File("words");
  v1::TrainerHello hello_;
  NoticeLog notices_;
  ReportBuffer reports_{1, size_t{64} << 20};
  Outbox outbox_{&notices_};
  std::optional<LastWords> words_;
};

TEST_F(WorkerLastWordsTest, SayWhatIsNotAcknowledged) {
  RunTo(5000);
  for (int i = 0; i < 700; ++i) Notify(7 * i);
  Finish();
  Begin(/*acked_notice=*/3, /*acked_step=*/99);
  ASSERT_THAT(Leave(), IsOk());
  const Content content = Read();
  EXPECT_EQ(content.first.hello().job_id(), "job");
  EXPECT_EQ(content.steps, Range(100, 5000));
  EXPECT_EQ(content.notices, Range(4, 702));
  EXPECT_TRUE(content.last.notices().notices().rbegin()->has_finished());
}

TEST_F(WorkerLastWordsTest, ChangeNothingOfWhatIsSent) {
  RunTo(3000);
  Finish();
  Begin(0, -1);
  v1::TrainerMessage message;
  ASSERT_TRUE(outbox_.Next(Outbox::Urgency::kNow, &message));
  const int64_t sent = message.reports().reports().rbegin()->step();
  ASSERT_THAT(Leave(), IsOk());
  ASSERT_TRUE(outbox_.Next(Outbox::Urgency::kNow, &message));
  EXPECT_EQ(message.reports().reports(0).step(), sent + 1);
  EXPECT_FALSE(notices_.AllAcknowledged());
}

TEST_F(WorkerLastWordsTest, OfReportsTheNewestThatFitAreThereAndTheOthersAreTold) {
  RunTo(20'000);
  Notify(10);
  Finish();
  Begin(0, 49);
  for (const size_t max_bytes : {size_t{1} << 20, size_t{256} << 10, size_t{1}}) {
    ASSERT_THAT(Leave(max_bytes), IsOk());
    EXPECT_LE(std::filesystem::file_size(path_), std::max(max_bytes, size_t{64} << 10));
    const Content content = Read();
    ASSERT_FALSE(content.steps.empty()) << "the newest is there whatever it takes";
    EXPECT_EQ(content.lost, Range(50, content.steps.front()));
    EXPECT_EQ(content.steps, Range(content.steps.front(), 20'000));
    EXPECT_EQ(content.notices, Range(1, 3));
  }
}

TEST_F(WorkerLastWordsTest, OfARunWithoutAStepAreItsNotices) {
  Finish();
  Begin(0, -1);
  ASSERT_THAT(Leave(), IsOk());
  EXPECT_EQ(Read().notices, Range(1, 2));
}

TEST_F(WorkerLastWordsTest, WhatWasAcknowledgedMeanwhileIsNotSaidAgain) {
  RunTo(1000);
  Finish();
  Begin(0, -1);
  std::filesystem::create_directory(path_ + ".part");
  EXPECT_THAT(Leave(), StatusIs(absl::StatusCode::kUnavailable, _));
  std::filesystem::remove(path_ + ".part");
  v1::TrainerAck ack;
  ack.set_step(499);
  outbox_.Acknowledge(ack);
  ASSERT_THAT(words_->Leave(path_, hello_), IsOk());
  EXPECT_EQ(Read().steps, Range(500, 1000));
  EXPECT_TRUE(Read().lost.empty());
}

}  // namespace
}  // namespace gradwatch::worker
