#include "server/job/report_intake.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/store/report_codec.h"

namespace gradwatch::server {
namespace {

constexpr int kMaxReports = 1024;

absl::Status CheckBatch(const v1::ReportBatch& batch, int tensors) {
  if (batch.reports_size() > kMaxReports) {
    return core::InvalidField("reports.reports", absl::StrCat(batch.reports_size(), " is more than ", kMaxReports));
  }
  int64_t last = -1;
  for (const v1::StepReport& report : batch.reports()) {
    if (report.step() <= last) {
      return core::InvalidField("reports.reports.step", absl::StrCat(report.step(), " comes after ", last));
    }
    last = report.step();
    for (const v1::TensorStats& tensor : report.tensors()) {
      if (tensor.tensor() < 0 || tensor.tensor() >= tensors) {
        return core::InvalidField("reports.reports.tensors.tensor",
                                  absl::StrCat(tensor.tensor(), ": the job has ", tensors, " tensors"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

void ReportIntake::Open(const TrainerLink* link, int32_t attempt, int64_t last_step) {
  absl::MutexLock lock(&mutex_);
  link_ = link;
  attempt_ = attempt;
  last_step_ = last_step;
}

void ReportIntake::Close() {
  absl::MutexLock lock(&mutex_);
  link_ = nullptr;
}

absl::Status ReportIntake::Accept(const TrainerLink* link, v1::ReportBatch batch, int tensors,
                                  absl::FunctionRef<void(std::vector<EncodedReport>)> store) {
  GW_RETURN_IF_ERROR(CheckBatch(batch, tensors));
  absl::MutexLock lock(&mutex_);
  if (link == nullptr || link != link_) {
    return core::WithReason(absl::AbortedError("this trainer does not hold the job any more"), "TRAINER_FENCED");
  }
  std::vector<EncodedReport> reports;
  for (v1::StepReport& report : *batch.mutable_reports()) {
    if (report.step() <= last_step_) continue;  // sent again after a broken stream
    last_step_ = report.step();
    report.set_attempt(attempt_);
    reports.push_back(EncodeReport(report));
  }
  store(std::move(reports));
  return absl::OkStatus();
}

void ReportIntake::Publish(const LiveFigures& figures) {
  absl::MutexLock lock(&mutex_);
  figures_ = figures;
}

LiveFigures ReportIntake::figures() const {
  absl::MutexLock lock(&mutex_);
  return figures_;
}

LiveFigures FiguresOf(const v1::StepReport& report) {
  return {.attempt = report.attempt(),
          .steps_done = report.step() + 1,
          .control_revision = report.control_revision(),
          .last_loss = report.loss(),
          .last_grad_norm = report.has_grad_norm() ? std::optional(report.grad_norm()) : std::nullopt};
}

void MergeFigures(const LiveFigures& figures, v1::Job* job) {
  if (figures.attempt != job->attempt() || figures.steps_done < job->steps_done()) return;
  job->set_steps_done(figures.steps_done);
  if (figures.last_loss.has_value()) job->set_last_loss(*figures.last_loss);
  if (figures.last_grad_norm.has_value()) job->set_last_grad_norm(*figures.last_grad_norm);
  // A change counts as applied only once its event is durable; the spec's own controls have no event.
  if (job->applied_revision() == 0 && figures.control_revision > 0) job->set_applied_revision(1);
}

}  // namespace gradwatch::server
