#include "client/cli/watch_printer.h"

#include <google/protobuf/util/time_util.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/event_text.h"
#include "client/cli/report_text.h"
#include "client/cli/text.h"

namespace gradwatch::cli {
namespace {

constexpr char kRed[] = "\x1b[31m", kGreen[] = "\x1b[32m", kYellow[] = "\x1b[33m";

const char* ColorOf(const v1::Event& event) {
  if (event.has_adjusted()) return kGreen;
  if (event.has_data_loss()) return kRed;
  if (event.has_state_changed()) return event.state_changed().to() == v1::JOB_STATE_FAILED ? kRed : "";
  if (!event.has_alert_changed()) return "";
  const v1::Alert& alert = event.alert_changed().alert();
  if (alert.state() != v1::ALERT_STATE_FIRING || event.alert_changed().acknowledgement()) return "";
  return alert.severity() == v1::SEVERITY_CRITICAL ? kRed : kYellow;
}

}  // namespace

void PrintEvent(const Session& session, const v1::Event& event, bool with_job) {
  if (session.output() != Output::kTable) return session.PrintItem(EventJson(event));
  session.PrintText(
      absl::StrCat(with_job ? event.job_id() + "  " : "", "event ", event.number(), "  ", EventText(event)),
      session.io().color ? ColorOf(event) : "");
}

void WatchPrinter::OnJob(const v1::Job& job) {
  tensors_.clear();
  for (const auto& tensor : job.tensors()) tensors_.push_back(tensor.name());
  progress_.SetTotal(job.spec().steps());
}

void WatchPrinter::Print(const v1::Event& event) {
  progress_.Clear();
  PrintEvent(session_, event, /*with_job=*/false);
}

void WatchPrinter::Print(const v1::StepReport& report) {
  if (!IsTable()) return session_.PrintItem(ReportJson(report));
  progress_.Clear();
  PrintRow(report, "");
  progress_.Update(report);
}

void WatchPrinter::Print(const v1::ConflatedPoint& point) {
  if (!IsTable()) return session_.PrintItem(PointJson(point));
  progress_.Clear();
  const std::string range = RangeText(point);
  if (point.has_last()) {
    PrintRow(point.last(), range.empty() ? "" : "  " + range);
    return progress_.Update(point.last());
  }
  PrintHeader();
  session_.PrintText(absl::StrFormat("%10d %11s %11s %14s %11s  %s", point.last_step(), "-", "-", "-", "-", range));
}

void WatchPrinter::Print(const v1::StatisticsLost& lost) {
  progress_.Clear();
  if (IsTable()) return session_.PrintText(LostText(lost));
  session_.PrintItem(JsonObject().Add("type", "lost").Add("job", job_id_).AddFields(lost));
}

void WatchPrinter::PrintEnd(const std::string& reason, const std::string& state, const std::string& resume_token) {
  progress_.Clear();
  if (IsTable()) return;
  JsonObject object;
  object.Add("type", "end").Add("job", job_id_).Add("reason", reason);
  if (!state.empty()) object.Add("state", state);
  session_.PrintItem(object.Add("resume_token", resume_token));
}

std::string WatchPrinter::TensorName(int index) const {
  return index >= 0 && static_cast<size_t>(index) < tensors_.size() ? tensors_[index] : absl::StrCat("tensor ", index);
}

// What was not measured is left out.
JsonObject WatchPrinter::ReportJson(const v1::StepReport& report) const {
  JsonObject object;
  object.Add("type", "report").Add("job", job_id_);
  object.Add("attempt", report.attempt()).Add("step", report.step()).Add("loss", report.loss());
  if (report.has_grad_norm()) object.Add("grad_norm", report.grad_norm());
  object.Add("learning_rate", report.learning_rate()).Add("control_revision", report.control_revision());
  object.Add("nan_count", report.nan_count()).Add("pos_inf_count", report.pos_inf_count());
  object.Add("neg_inf_count", report.neg_inf_count()).Add("clip", JsonObject().AddFields(report.clip()));
  object.Add("step_seconds", report.step_seconds());
  object.Add("time", google::protobuf::util::TimeUtil::ToString(report.time()));
  JsonObject tensors;
  for (const auto& tensor : report.tensors()) tensors.Add(TensorName(tensor.tensor()), JsonObject().AddFields(tensor));
  object.Add("tensors", tensors);
  if (report.has_cosine_with_last()) object.Add("cosine_with_last", report.cosine_with_last());
  JsonObject layers;
  for (const auto& layer : report.layers()) layers.Add(layer.name(), JsonObject().AddFields(layer));
  if (report.layers_size() > 0) object.Add("layers", layers);
  if (report.has_validation()) object.Add("validation", JsonObject().AddFields(report.validation()));
  return object;
}

// What was not finite or not measured is left out.
JsonObject WatchPrinter::PointJson(const v1::ConflatedPoint& point) const {
  JsonObject object;
  object.Add("type", "point").Add("job", job_id_).Add("attempt", point.attempt());
  object.Add("first_step", point.first_step()).Add("last_step", point.last_step());
  if (point.has_loss_min()) object.Add("loss_min", point.loss_min()).Add("loss_max", point.loss_max());
  if (point.has_grad_norm_min()) {
    object.Add("grad_norm_min", point.grad_norm_min()).Add("grad_norm_max", point.grad_norm_max());
  }
  object.Add("non_finite_steps", point.non_finite_steps());
  if (point.has_last()) object.Add("last", ReportJson(point.last()));
  return object;
}

void WatchPrinter::PrintHeader() {
  if (header_done_) return;
  session_.PrintText(absl::StrFormat("%10s %11s %11s %14s %11s", "step", "loss", "grad norm", "clip", "lr"));
  header_done_ = true;
}

void WatchPrinter::PrintRow(const v1::StepReport& report, const std::string& remarks) {
  PrintHeader();
  const auto norm = report.has_grad_norm() ? absl::optional<double>(report.grad_norm()) : absl::nullopt;
  session_.PrintText(absl::StrFormat("%10d %11s %11s %14s %11s%s%s", report.step(), NumberText(report.loss()),
                                     NormText(norm, NonFiniteCount(report)), ClippedText(report.clip()),
                                     NumberText(report.learning_rate()), RemarksText(report), remarks));
  if (!with_tensors_) return;
  for (const auto& tensor : report.tensors()) {
    session_.PrintText(absl::StrFormat("%10s %s", "", TensorText(TensorName(tensor.tensor()), tensor)));
  }
}

}  // namespace gradwatch::cli
