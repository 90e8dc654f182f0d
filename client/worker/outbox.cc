#include "client/worker/outbox.h"

#include <google/protobuf/message_lite.h>

#include <algorithm>
#include <optional>

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
  last_was_full_ = false;
  on_way_.clear();
  bytes_on_way_ = 0;
  reports_on_way_ = 0;
}

void Outbox::Acknowledge(const v1::TrainerAck& ack) {
  notices_->Acknowledge(ack.notice());
  if (ack.has_step()) acked_step_ = std::max(acked_step_, ack.step());
  for (; !on_way_.empty() && on_way_.front().last_step <= acked_step_; on_way_.pop_front()) {
    bytes_on_way_ -= on_way_.front().bytes;
    reports_on_way_ -= on_way_.front().reports;
  }
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
  // The notice first: if it tells the end, all reports were offered before, and are seen below.
  const std::optional<v1::Notice> notice = notices_->Get(next_notice_);
  ReportBuffer* const reports = reports_.load(std::memory_order_acquire);
  if (reports != nullptr) next_step_ = std::max(next_step_, reports->first_step());
  const int64_t end = reports == nullptr ? next_step_ : reports->end_step();
  if (notice.has_value() && (!notice->has_finished() || next_step_ >= end)) {
    message->mutable_notices()->set_epoch(epoch_);
    FillNotices(message->mutable_notices());
    return true;
  }
  if (next_step_ >= end || !HasCredit()) return false;
  const bool hurries = notice.has_value() || last_was_full_ || end - next_step_ >= kMaxReports;
  if (urgency == Urgency::kCanWait && !hurries) return false;
  message->mutable_reports()->set_epoch(epoch_);
  FillBatch(reports, end, message->mutable_reports());
  return true;
}

void Outbox::FillNotices(v1::NoticeBatch* batch) {
  size_t bytes = 0;
  while (batch->notices_size() < kMaxNotices) {
    std::optional<v1::Notice> notice = notices_->Get(next_notice_);
    if (!notice.has_value()) return;
    bytes += SizeInBatch(*notice);
    // A larger one goes alone, as the end does, before which more reports may have to go.
    if (batch->notices_size() > 0 && (bytes > kMaxBatchBytes || notice->has_finished())) return;
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
  const int most = std::min(kMaxReports, kMaxReportsOnWay - reports_on_way_);
  size_t bytes = 0;
  while (next_step_ < end && batch->reports_size() < most && bytes < report_bytes_) {
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
      break;
    }
    bytes += size;
    last_reported_step_ = next_step_++;
  }
  last_was_full_ = next_step_ < end;
  on_way_.push_back({next_step_ - 1, batch->reports_size(), bytes});
  bytes_on_way_ += bytes;
  reports_on_way_ += batch->reports_size();
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
