#include "server/history/conflated_ranges.h"

#include <algorithm>
#include <cmath>

#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

// In the order in which AnswerQuestion tells them.
const std::vector<std::string>& ConflatedSeries() {
  static const auto& series = *new std::vector<std::string>{"loss", "grad_norm", "non_finite"};
  return series;
}

void Add(const StepFigures& report, ConflatedRange* range) {
  range->loss.Add(report.loss, false);
  range->grad_norm.Add(report.grad_norm, !report.gradient_is_finite);
  if (!report.gradient_is_finite || !std::isfinite(report.loss)) ++range->non_finite_steps;
}

}  // namespace

StepFigures FiguresOf(const v1::StepReport& report) {
  return {.step = report.step(),
          .loss = report.loss(),
          .grad_norm = report.has_grad_norm() ? std::optional<double>(report.grad_norm()) : std::nullopt,
          .gradient_is_finite = report.nan_count() + report.pos_inf_count() + report.neg_inf_count() == 0};
}

std::vector<ConflatedRange> Conflate(std::span<const StepFigures> reports, int64_t max_ranges) {
  std::vector<ConflatedRange> ranges;
  if (reports.empty()) return ranges;
  const StepRange steps = {.first = reports.front().step, .last = reports.back().step};
  const QueryPlan plan = PlanQuery(steps, max_ranges, {StepRanges{steps}, {}, {}, {}});
  auto next = reports.begin();
  for (const StepRange& point : plan.points) {
    ConflatedRange range{.steps = point, .loss = {}, .grad_norm = {}};
    for (; next != reports.end() && next->step <= point.last; ++next) Add(*next, &range);
    if (!range.loss.empty()) ranges.push_back(range);
  }
  return ranges;
}

absl::StatusOr<std::vector<ConflatedRange>> ConflateStored(const StepRange& steps, int64_t max_ranges,
                                                           BlockSource* source) {
  StatisticsQuestion question;
  question.steps = steps;
  question.series = ConflatedSeries();
  question.max_points = max_ranges;
  question.aggregates = MaskOf(Aggregate::kMin) | MaskOf(Aggregate::kMax) | MaskOf(Aggregate::kLast);
  question.page_bytes = std::numeric_limits<size_t>::max();
  GW_ASSIGN_OR_RETURN(const StatisticsAnswer answer, AnswerQuestion(question, SeriesNames(), source));
  std::vector<ConflatedRange> ranges;
  for (size_t i = 0; i < answer.points.size(); ++i) {
    const Bucket& loss = answer.series[0].points[i];
    if (loss.empty()) continue;
    ranges.push_back({.steps = answer.points[i],
                      .loss = loss,
                      .grad_norm = answer.series[1].points[i],
                      .non_finite_steps = answer.series[2].points[i].non_finite});
  }
  return ranges;
}

}  // namespace gradwatch::server
