#include "client/worker/outbox.h"

#include <google/protobuf/message_lite.h>

#include <algorithm>

#include "client/worker/report_encoder.h"

namespace gradwatch::worker {
namespace {

// Tag and length of a report or a notice in a batch, at most.
constexpr size_t kFraming = 6;

size_t SizeInBatch(const google::protobuf::MessageLite& message) { return message.ByteSizeLong() + kFraming; }

}  // namespace

void Outbox::Begin(const v1::TrainerWelcome& welcome) {
  attempt_ = welcome.attempt();
  epoch_ = welcome.epoch();
  notices_->Acknowledge(welcome.acked_notice());
  next_notice_ = welcome.acked_notice() + 1;
  acked_step_ = welcome.has_acked_step() ? welcome.acked_step() : -1;
  next_step_ = acked_step_ + 1;
  last_reported_step_ = acked_step_;
}

void Outbox::Acknowledge(const v1::TrainerAck& ack) {
  notices_->Acknowledge(ack.notice());
  if (ack.has_step()) acked_step_ = std::max(acked_step_, ack.step());
}

v1::TrainerWelcome Outbox::Position() const {
  v1::TrainerWelcome welcome;
  welcome.set_attempt(attempt_);
  welcome.set_epoch(epoch_);
  welcome.set_acked_notice(notices_->acknowledged());
  if (acked_step_ >= 0) welcome.set_acked_step(acked_step_);
  return welcome;
}

bool Outbox::Next(Urgency urgency, v1::TrainerMessage* message) {
  message->Clear();
  // The notice first: its steps were offered before it was added, so they are seen below.
  const std::optional<v1::Notice> notice = notices_->Get(next_notice_);
  if (ReportBuffer* reports = reports_.load(std::memory_order_acquire); reports != nullptr) {
    next_step_ = std::max(next_step_, reports->first_step());
    int64_t end = reports->end_step();
    if (notice.has_value()) end = std::min(end, notice->steps_done());
    const bool can_wait = urgency == Urgency::kCanWait && !notice.has_value() && end - next_step_ < kMaxReports;
    if (next_step_ < end) {
      if (can_wait) return false;
      message->mutable_reports()->set_epoch(epoch_);
      FillBatch(reports, end, message->mutable_reports());
      return true;
    }
  }
  if (!notice.has_value()) return false;
  message->mutable_notices()->set_epoch(epoch_);
  FillNotices(message->mutable_notices());
  return true;
}

void Outbox::FillNotices(v1::NoticeBatch* batch) {
  const int64_t steps_done = notices_->Get(next_notice_)->steps_done();
  size_t bytes = 0;
  while (batch->notices_size() < kMaxNotices) {
    std::optional<v1::Notice> notice = notices_->Get(next_notice_);
    if (!notice.has_value() || notice->steps_done() > steps_done) return;
    bytes += SizeInBatch(*notice);
    if (bytes > kMaxBatchBytes && batch->notices_size() > 0) return;  // a larger one goes alone
    *batch->add_notices() = *std::move(notice);
    ++next_notice_;
  }
}

bool Outbox::AllAcknowledged() const {
  if (!notices_->AllAcknowledged()) return false;
  const ReportBuffer* reports = reports_.load(std::memory_order_acquire);
  return reports == nullptr || (next_step_ >= reports->end_step() && acked_step_ >= last_reported_step_);
}

void Outbox::FillBatch(ReportBuffer* reports, int64_t end, v1::ReportBatch* batch) {
  size_t bytes = 0;
  while (next_step_ < end && batch->reports_size() < kMaxReports) {
    if (const int64_t oldest = reports->oldest_step(); next_step_ < oldest) {
      SkipLost(std::min(oldest, end), batch);
      continue;
    }
    if (!AddReport(reports, batch)) {
      SkipLost(next_step_ + 1, batch);
      continue;
    }
    v1::StepReport& report = *batch->mutable_reports()->rbegin();
    size_t size = SizeInBatch(report);
    if (size > kMaxBatchBytes) {  // a network of so many tensors that one step fills a message: told without them
      report.clear_tensors();
      report.clear_layers();
      size = SizeInBatch(report);
    }
    if (bytes + size > kMaxBatchBytes) {
      batch->mutable_reports()->RemoveLast();
      return;
    }
    bytes += size;
    last_reported_step_ = next_step_++;
  }
}

bool Outbox::AddReport(ReportBuffer* reports, v1::ReportBatch* batch) {
  v1::StepReport* report = batch->add_reports();
  const bool here = reports->Read(next_step_, [this, reports, report](const core::StepRecord& record) {
    EncodeReport(record, reports->layers(), attempt_, report);
  });
  if (!here) batch->mutable_reports()->RemoveLast();
  return here;
}

void Outbox::SkipLost(int64_t end, v1::ReportBatch* batch) {
  const bool follows = batch->lost_size() > 0 && batch->lost().rbegin()->last_step() + 1 == next_step_;
  v1::StepRange* range = follows ? &*batch->mutable_lost()->rbegin() : batch->add_lost();
  if (!follows) range->set_first_step(next_step_);
  range->set_last_step(end - 1);
  next_step_ = end;
}

}  // namespace gradwatch::worker
