#include "client/cli/watch_printer.h"

#include <google/protobuf/util/time_util.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "client/cli/event_text.h"
#include "client/cli/text.h"
#include "client/cli/words.h"

namespace gradwatch::cli {
namespace {

constexpr char kRed[] = "\x1b[31m", kGreen[] = "\x1b[32m", kYellow[] = "\x1b[33m", kPlain[] = "\x1b[0m";

const char* ColorOf(const v1::Event& event) {
  if (event.has_adjusted()) return kGreen;
  if (event.has_state_changed()) return event.state_changed().to() == v1::JOB_STATE_FAILED ? kRed : "";
  if (!event.has_alert_changed()) return "";
  const v1::Alert& alert = event.alert_changed().alert();
  if (alert.state() != v1::ALERT_STATE_FIRING) return "";
  return alert.severity() == v1::SEVERITY_CRITICAL ? kRed : kYellow;
}

std::string CountText(int64_t count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

// What clipping did: the factor on all gradients, and where single elements, units or tensors have limits of their own,
// how many exceeded them.
std::string ClippedText(const v1::ClipOutcome& clip) {
  if (clip.action() != v1::ClipOutcome::ACTION_CLIPPED) return "-";
  std::vector<std::string> parts;
  if (clip.coefficient() < 1) parts.push_back(NumberText(clip.coefficient()));
  if (clip.elements_clipped() > 0) parts.push_back(CountText(clip.elements_clipped(), "element"));
  if (clip.units_clipped() > 0) parts.push_back(CountText(clip.units_clipped(), "unit"));
  return parts.empty() ? CountText(clip.tensors_clipped(), "tensor") : absl::StrJoin(parts, ", ");
}

// What made the step unusual: an action, non-finite numbers.
std::string Remarks(const v1::StepReport& report) {
  std::string text;
  const v1::ClipOutcome::Action action = report.clip().action();
  if (action > v1::ClipOutcome::ACTION_CLIPPED) absl::StrAppend(&text, "  ", Word(action));
  if (report.nan_count() > 0) absl::StrAppend(&text, "  NaN ", report.nan_count());
  if (report.pos_inf_count() > 0) absl::StrAppend(&text, "  +Inf ", report.pos_inf_count());
  if (report.neg_inf_count() > 0) absl::StrAppend(&text, "  -Inf ", report.neg_inf_count());
  return text;
}

}  // namespace

void PrintEvent(const Session& session, const v1::Event& event, bool with_job) {
  if (session.output() != Output::kTable) return session.PrintItem(EventJson(event));
  const char* color = session.io().color ? ColorOf(event) : "";
  session.PrintLine(absl::StrCat(color, with_job ? event.job_id() + "  " : "", "event ", event.number(), "  ",
                                 EventText(event), *color == '\0' ? "" : kPlain));
}

void WatchPrinter::OnStarted(const v1::WatchStarted& started) {
  tensors_.clear();
  for (const auto& tensor : started.job().tensors()) tensors_.push_back(tensor.name());
  progress_.SetTotal(started.job().spec().steps());
}

void WatchPrinter::Print(const v1::Event& event) {
  progress_.Clear();
  PrintEvent(session_, event, /*with_job=*/false);
}

void WatchPrinter::Print(const v1::StepReport& report) {
  if (!IsTable()) return session_.PrintItem(ReportJson(report));
  progress_.Clear();
  PrintRow(report);
  progress_.Update(report);
}

void WatchPrinter::Print(const v1::StatisticsLost& lost) {
  progress_.Clear();
  if (IsTable()) {
    return session_.PrintLine(
        absl::StrCat("statistics of steps ", lost.first_step(), " to ", lost.last_step(), " are not there any more"));
  }
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

JsonObject WatchPrinter::ReportJson(const v1::StepReport& report) const {
  JsonObject object;
  object.Add("type", "report").Add("job", job_id_);
  object.Add("attempt", report.attempt()).Add("step", report.step()).Add("loss", report.loss());
  object.Add("grad_norm", report.grad_norm()).Add("learning_rate", report.learning_rate());
  object.Add("control_revision", report.control_revision());
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
  return object;
}

void WatchPrinter::PrintRow(const v1::StepReport& report) {
  if (!header_done_) {
    session_.PrintLine(absl::StrFormat("%10s %11s %11s %14s %11s", "step", "loss", "grad norm", "clip", "lr"));
    header_done_ = true;
  }
  session_.PrintLine(absl::StrFormat("%10d %11s %11s %14s %11s%s", report.step(), NumberText(report.loss()),
                                     NumberText(report.grad_norm()), ClippedText(report.clip()),
                                     NumberText(report.learning_rate()), Remarks(report)));
  if (!with_tensors_) return;
  for (const auto& tensor : report.tensors()) {
    session_.PrintLine(absl::StrFormat("%10s %s: norm %s, largest %s, NaN %d, +Inf %d, -Inf %d", "",
                                       TensorName(tensor.tensor()), NumberText(tensor.l2_norm()),
                                       NumberText(tensor.max_abs()), tensor.nan_count(), tensor.pos_inf_count(),
                                       tensor.neg_inf_count()));
  }
}

}  // namespace gradwatch::cli
