#include "client/cli/report_text.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "client/cli/text.h"
#include "client/lib/enum_word.h"
#include "client/lib/printable.h"

namespace gradwatch::cli {
namespace {

std::string CountText(int64_t count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

}  // namespace

std::string NormText(absl::optional<double> norm, int64_t non_finite) {
  if (norm.has_value()) return NumberText(*norm);
  return non_finite > 0 ? "not finite" : "-";
}

int64_t NonFiniteCount(const v1::StepReport& report) {
  return report.nan_count() + report.pos_inf_count() + report.neg_inf_count();
}

std::string GradNormText(const v1::StepReport& report) {
  const auto norm = report.has_grad_norm() ? absl::optional<double>(report.grad_norm()) : absl::nullopt;
  std::vector<std::string> others;
  if (report.nan_count() > 0) others.push_back(absl::StrCat(report.nan_count(), " NaN"));
  if (const int64_t count = report.pos_inf_count() + report.neg_inf_count(); count > 0) {
    others.push_back(absl::StrCat(count, " Inf"));
  }
  const std::string text = NormText(norm, NonFiniteCount(report));
  return others.empty() ? text : absl::StrCat(text, " (", absl::StrJoin(others, ", "), ")");
}

std::string ClippedText(const v1::ClipOutcome& clip) {
  if (clip.action() != v1::ClipOutcome::ACTION_CLIPPED) return "-";
  std::vector<std::string> parts;
  if (clip.coefficient() < 1) parts.push_back(NumberText(clip.coefficient()));
  if (clip.elements_clipped() > 0) parts.push_back(CountText(clip.elements_clipped(), "element"));
  if (clip.units_clipped() > 0) parts.push_back(CountText(clip.units_clipped(), "unit"));
  return parts.empty() ? CountText(clip.tensors_clipped(), "tensor") : absl::StrJoin(parts, ", ");
}

std::string RemarksText(const v1::StepReport& report) {
  std::string text;
  const v1::ClipOutcome::Action action = report.clip().action();
  if (action > v1::ClipOutcome::ACTION_CLIPPED) absl::StrAppend(&text, "  ", client::Word(action));
  if (report.nan_count() > 0) absl::StrAppend(&text, "  NaN ", report.nan_count());
  if (report.pos_inf_count() > 0) absl::StrAppend(&text, "  +Inf ", report.pos_inf_count());
  if (report.neg_inf_count() > 0) absl::StrAppend(&text, "  -Inf ", report.neg_inf_count());
  if (report.has_validation()) absl::StrAppend(&text, "  validation ", ValidationText(report.validation()));
  return text;
}

std::string RangeText(const v1::ConflatedPoint& point) {
  if (point.first_step() == point.last_step() && point.has_last()) return "";
  std::string text = absl::StrCat("from step ", point.first_step(), ": loss ");
  absl::StrAppend(&text, point.has_loss_min()
                             ? absl::StrCat(NumberText(point.loss_min()), " to ", NumberText(point.loss_max()))
                             : "not finite");
  if (point.has_grad_norm_min()) {
    absl::StrAppend(&text, ", norm ", NumberText(point.grad_norm_min()), " to ", NumberText(point.grad_norm_max()));
  }
  if (point.non_finite_steps() > 0)
    absl::StrAppend(&text, ", ", CountText(point.non_finite_steps(), "step"), " not finite");
  return text;
}

std::string ValidationText(const v1::Validation& validation) {
  std::string text = absl::StrCat("loss ", NumberText(validation.loss()));
  if (validation.has_accuracy()) absl::StrAppend(&text, ", accuracy ", NumberText(validation.accuracy()));
  if (validation.has_perplexity()) absl::StrAppend(&text, ", perplexity ", NumberText(validation.perplexity()));
  return text;
}

std::string TensorText(const std::string& name, const v1::TensorStats& tensor) {
  const int64_t others = tensor.nan_count() + tensor.pos_inf_count() + tensor.neg_inf_count();
  const auto norm = tensor.has_l2_norm() ? absl::optional<double>(tensor.l2_norm()) : absl::nullopt;
  return absl::StrCat(client::Printable(name), ": norm ", NormText(norm, others), ", largest ",
                      tensor.has_max_abs() ? NumberText(tensor.max_abs()) : "-", ", NaN ", tensor.nan_count(),
                      ", +Inf ", tensor.pos_inf_count(), ", -Inf ", tensor.neg_inf_count());
}

std::string LostText(const v1::StatisticsLost& lost) {
  return absl::StrCat("statistics of attempt ", lost.attempt(), ", steps ", lost.first_step(), " to ", lost.last_step(),
                      " are lost", lost.reason().empty() ? "" : ": ", client::Printable(lost.reason()));
}

}  // namespace gradwatch::cli
