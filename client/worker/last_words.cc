#include "client/worker/last_words.h"

#include <algorithm>

#include "client/worker/report_encoder.h"
#include "core/base/status_macros.h"

namespace gradwatch::worker {
namespace {

// Tag and length of a report or a notice in a batch, and its part of what a batch and its record take.
constexpr size_t kFraming = 16;
// First line, hello, end, and batches that are nearly empty.
constexpr size_t kBesides = size_t{64} << 10;
// Of reports in a message. The server takes in one message after the other.
constexpr size_t kReportBytes = size_t{1} << 20;

size_t NoticeBytes(const NoticeLog& notices) {
  size_t bytes = 0;
  for (int64_t number = notices.acknowledged() + 1;; ++number) {
    const std::optional<v1::Notice> notice = notices.Get(number);
    if (!notice.has_value()) return bytes;
    bytes += notice->ByteSizeLong() + kFraming;
  }
}

// 0: the report is not there any more.
size_t ReportBytes(ReportBuffer* reports, int64_t step, int32_t attempt) {
  size_t bytes = 0;
  reports->Read(step, [&](const core::StepRecord& record) {
    v1::StepReport report;
    EncodeReport(record, reports->layers(), attempt, &report);
    bytes = report.ByteSizeLong() + kFraming;
  });
  return bytes;
}

// Of the steps up to `last`, as a message.
v1::TrainerMessage LostUpTo(int64_t last, const v1::TrainerWelcome& position) {
  v1::TrainerMessage message;
  message.mutable_reports()->set_epoch(position.epoch());
  v1::StepRange* range = message.mutable_reports()->add_lost();
  range->set_first_step(position.has_acked_step() ? position.acked_step() + 1 : 0);
  range->set_last_step(last);
  return message;
}

}  // namespace

LastWords::Plan LastWords::MakePlan() const {
  const v1::TrainerWelcome position = outbox_->Position();
  Plan plan = {.first_step = position.has_acked_step() ? position.acked_step() + 1 : 0,
               .bytes = NoticeBytes(*notices_) + kBesides,
               .progress = outbox_->progress()};
  ReportBuffer* const reports = outbox_->reports();
  if (reports == nullptr) return plan;
  const int64_t oldest = std::max(plan.first_step, reports->oldest_step());
  int64_t step = reports->end_step();
  for (; step > oldest; --step) {
    const size_t bytes = ReportBytes(reports, step - 1, position.attempt());
    if (plan.bytes + bytes > max_bytes_ && step < reports->end_step()) break;
    plan.bytes += bytes;
  }
  // What the ring has lost is told by the outbox; what does not fit, by us.
  if (step > oldest) plan.first_step = step;
  return plan;
}

absl::Status LastWords::Leave(const std::string& path, const v1::TrainerHello& hello) {
  if (!plan_.has_value() || plan_->progress != outbox_->progress()) plan_ = MakePlan();
  GW_ASSIGN_OR_RETURN(core::LastWordsWriter file, core::LastWordsWriter::Create(path, plan_->bytes));
  v1::TrainerMessage message;
  *message.mutable_hello() = hello;
  GW_RETURN_IF_ERROR(file.Add(message));

  v1::TrainerWelcome position = outbox_->Position();
  const int64_t next = position.has_acked_step() ? position.acked_step() + 1 : 0;
  const bool some_do_not_fit = next < plan_->first_step;
  if (some_do_not_fit) {
    GW_RETURN_IF_ERROR(file.Add(LostUpTo(plan_->first_step - 1, position)));
    position.set_acked_step(plan_->first_step - 1);
  }
  // An outbox of its own says it in the same words, as if a server had just answered that acknowledges all reports.
  Outbox outbox(notices_, kReportBytes);
  outbox.SetReports(outbox_->reports());
  outbox.Begin(position);
  while (outbox.Next(Outbox::Urgency::kNow, &message)) {
    GW_RETURN_IF_ERROR(file.Add(message));
    v1::TrainerAck ack;
    for (const v1::StepRange& lost : message.reports().lost()) ack.set_step(std::max(ack.step(), lost.last_step()));
    if (!message.reports().reports().empty()) {
      ack.set_step(std::max(ack.step(), message.reports().reports().rbegin()->step()));
    }
    if (ack.has_step()) outbox.Acknowledge(ack);
  }
  return file.Finish();
}

}  // namespace gradwatch::worker
