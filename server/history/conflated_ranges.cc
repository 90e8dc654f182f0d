#include "server/history/conflated_ranges.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "core/base/status_macros.h"
#include "server/history/encoded_report.h"

namespace gradwatch::server {
namespace {

// In the order in which AnswerQuestion tells them.
const std::vector<std::string>& ConflatedSeries() {
  static const auto& series = *new std::vector<std::string>{"loss", "grad_norm", "non_finite"};
  return series;
}

void AddReport(const StepFigures& report, ConflatedRange* range) {
  range->loss.Add(report.loss, false);
  range->grad_norm.Add(report.grad_norm, !report.gradient_is_finite);
  if (!report.gradient_is_finite || !std::isfinite(report.loss)) ++range->non_finite_steps;
}

// A width of ranges as ChoosePointSteps', but made of whole buckets of a level where it has room for some: these need
// no reports at the cuts.
int64_t ChooseWidth(const StepRange& steps, int64_t unit, int64_t max_ranges) {
  const int64_t width = ChoosePointSteps(steps, unit, max_ranges);
  for (size_t level = kLevels.size(); level-- > 1;) {
    const int64_t whole = unit / std::gcd(unit, kLevels[level]) * kLevels[level];
    if (whole <= width) return (width + whole - 1) / whole * whole;
  }
  return width;
}

// The whole buckets of a level that lie in the steps, none of them across a multiple of `width`; 0: across any.
StepRanges Inside(const StepRange& steps, int64_t width, int64_t level) {
  const int64_t run = width % level == 0 ? steps.last + 1 : width;  // what it divides cuts no bucket
  StepRanges inside;
  for (int64_t first = steps.first; first <= steps.last; first = (first / run + 1) * run) {
    const int64_t end = std::min(steps.last + 1, (first / run + 1) * run);
    inside.push_back({.first = (first + level - 1) / level * level, .last = end / level * level - 1});
  }
  return Together(std::move(inside));
}

// A source whose buckets lie within some steps, none of them across a multiple of `width` (0: across any); others only
// where no finer level has those steps.
class InsideSource final : public ForwardingSource {
 public:
  InsideSource(const StepRange& steps, int64_t width, BlockSource* source) : ForwardingSource(source) {
    StepRanges missing = {steps};
    for (size_t i = 0; i < kLevels.size(); ++i) {
      const StepRanges kept = source->Kept(kLevels[i]);
      for (const StepRange& range : Inside(steps, width, kLevels[i])) {
        const StepRanges common = Common(kept, range);
        kept_[i].insert(kept_[i].end(), common.begin(), common.end());
      }
      missing = Without(missing, kept_[i]);
    }
    for (size_t i = 0; i < kLevels.size(); ++i) {
      StepRanges reaching = kept_[i];
      for (const StepRange& range : RoundOut(missing, kLevels[i])) {
        const StepRanges more = Common(source->Kept(kLevels[i]), range);
        reaching.insert(reaching.end(), more.begin(), more.end());
      }
      kept_[i] = Together(std::move(reaching));
      missing = Without(missing, kept_[i]);
    }
  }

  StepRanges Kept(int64_t level) const override {
    return kept_[static_cast<size_t>(std::find(kLevels.begin(), kLevels.end(), level) - kLevels.begin())];
  }

 private:
  std::array<StepRanges, kLevels.size()> kept_;
};

// The last of the steps that is kept on some level, or lost.
int64_t LastKnown(const StepRange& steps, const std::vector<LostSteps>& lost, const BlockSource& source) {
  int64_t last = steps.first - 1;
  for (const int64_t level : kLevels) {
    for (const StepRange& range : Common(source.Kept(level), steps)) last = std::max(last, range.last);
  }
  for (const LostSteps& one : lost) last = std::max(last, std::min(one.steps.last, steps.last));
  return last;
}

// Without the steps whose reports were dropped, but not what tiers have of them.
std::vector<LostSteps> WithoutTold(const std::vector<LostSteps>& lost, const BlockSource& source) {
  StepRanges told;
  for (const int64_t level : kLevels) {
    const StepRanges kept = source.Kept(level);
    told.insert(told.end(), kept.begin(), kept.end());
  }
  told = Together(std::move(told));
  std::vector<LostSteps> left;
  for (const LostSteps& one : lost) {
    if (one.reason != kDroppedReason) {
      left.push_back(one);
      continue;
    }
    for (const StepRange& steps : Without({one.steps}, told)) left.push_back({steps, one.reason});
  }
  return left;
}

// The last step before more than `max_lost` ranges are lost, which are in the order of steps.
int64_t LastBefore(const std::vector<LostSteps>& lost, int64_t max_lost, int64_t first_step, int64_t unit) {
  if (static_cast<int64_t>(lost.size()) <= max_lost) return std::numeric_limits<int64_t>::max();
  const int64_t last = lost[static_cast<size_t>(max_lost)].steps.first - 1, closed = LastClosed(last, unit);
  return closed >= first_step ? closed : last;
}

std::vector<ConflatedRange> RangesOf(const StatisticsAnswer& answer) {
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

}  // namespace

StepFigures FiguresOf(const v1::StepReport& report) {
  return {.step = report.step(),
          .loss = report.loss(),
          .grad_norm = report.has_grad_norm() ? std::optional<double>(report.grad_norm()) : std::nullopt,
          .gradient_is_finite = report.nan_count() + report.pos_inf_count() + report.neg_inf_count() == 0};
}

RangeMaker::RangeMaker(const StepRange& steps, int64_t max_ranges, int64_t unit)
    : steps_(steps), width_(ChoosePointSteps(steps, unit, max_ranges)) {}

bool RangeMaker::Add(const StepFigures& report) {
  const int64_t point = report.step / width_;
  const bool begins = point != std::exchange(last_point_, point);
  if (begins) {
    const StepRange range = Common(steps_, {.first = point * width_, .last = point * width_ + width_ - 1});
    ranges_.push_back({.steps = range, .loss = {}, .grad_norm = {}});
  }
  AddReport(report, &ranges_.back());
  return begins;
}

std::vector<ConflatedRange> Conflate(std::span<const StepFigures> reports, int64_t max_ranges, int64_t unit) {
  if (reports.empty()) return {};
  RangeMaker maker({.first = reports.front().step, .last = reports.back().step}, max_ranges, unit);
  for (const StepFigures& report : reports) maker.Add(report);
  return maker.TakeRanges();
}

absl::StatusOr<StoredRanges> ConflateStored(const StepRange& steps, int64_t max_ranges, BlockSource* source,
                                            int64_t unit, int64_t max_lost) {
  StoredRanges stored;
  const std::vector<LostSteps> lost = source->Lost(steps);
  stored.last_step =
      std::min(LastKnown(steps, lost, *source), LastBefore(WithoutTold(lost, *source), max_lost, steps.first, unit));
  const StepRange known = {.first = steps.first, .last = stored.last_step};
  if (known.empty()) return stored;
  StatisticsQuestion question;
  question.steps = known;
  question.series = ConflatedSeries();
  question.max_points = max_ranges;
  if (unit > 1) {
    question.point_steps = ChooseWidth(known, unit, max_ranges);
    question.max_points = known.last / question.point_steps - known.first / question.point_steps + 1;
  }
  question.aggregates = MaskOf(Aggregate::kMin) | MaskOf(Aggregate::kMax) | MaskOf(Aggregate::kLast);
  question.page_bytes = std::numeric_limits<size_t>::max();
  InsideSource inside(known, question.point_steps, source);
  GW_ASSIGN_OR_RETURN(StatisticsAnswer answer, AnswerQuestion(question, SeriesNames(), &inside));
  stored.ranges = RangesOf(answer);
  stored.lost = WithoutTold(answer.gaps, *source);
  return stored;
}

}  // namespace gradwatch::server
