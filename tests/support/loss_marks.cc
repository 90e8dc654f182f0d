#include "tests/support/loss_marks.h"

#include <algorithm>
#include <cmath>

namespace gradwatch::testing {
namespace {

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

void LossMarks::Add(const core::StepRecord& record) { Add(record.step, record.loss, record.non_finite() == 0); }

void LossMarks::Add(int64_t step, double loss, bool is_finite) {
  last_ = loss;
  ends_finite_ = is_finite && std::isfinite(loss);
  if (!non_finite_.has_value() && !ends_finite_) non_finite_ = step;
  const bool is_over = !std::isfinite(loss) || (!window_.empty() && loss > kFactor * best_);
  if (!is_over) {
    over_ = 0;
  } else if (++over_ == 1) {
    over_since_ = step;
  }
  if (over_ == kInARow && !passed_.has_value()) passed_ = over_since_;
  if (std::isfinite(loss)) TakeIn(loss);
}

void LossMarks::TakeIn(double loss) {
  if (window_.size() < kWindow) {
    window_.push_back(loss);
  } else {
    window_[next_] = loss;
    next_ = (next_ + 1) % kWindow;
  }
  const double median = Median(window_);
  best_ = window_.size() == 1 ? median : std::min(best_, median);
}

std::optional<int64_t> LossMarks::lost() const {
  const bool is_lost = over_ >= kInARow || (over_ > 0 && !ends_finite_);
  return is_lost ? std::optional(over_since_) : std::nullopt;
}

}  // namespace gradwatch::testing
