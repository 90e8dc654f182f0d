#include "core/detect/history.h"

#include <algorithm>

namespace gradwatch::core {
namespace {

// MAD times this is the standard deviation of a normal distribution.
constexpr double kDeviationOfMad = 1.4826;

}  // namespace

History::History(int window, int warm_up)
    : warm_up_(std::min(window, warm_up)), usual_(window), last_(window), flags_(window) {}

double History::Deviation(double floor) const {
  return std::max(std::min(kDeviationOfMad * usual_.MedianDeviation(), kLargestDeviation), floor);
}

void History::Admit(double sample, bool outlier) {
  outliers_ += (outlier ? 1 : 0) - flags_[next_];
  last_[next_] = sample;
  flags_[next_] = outlier ? 1 : 0;
  if (++next_ == last_.size()) next_ = 0;
  if (!outlier) usual_.Add(sample);
  if (2 * outliers_ > usual_.capacity()) TakeOutliersAsUsual();
}

void History::TakeOutliersAsUsual() {
  usual_.Clear();
  for (size_t i = 0; i < last_.size(); ++i) {
    const size_t place = (next_ + i) % last_.size();  // the oldest first
    if (flags_[place] != 0) usual_.Add(last_[place]);
  }
  std::fill(flags_.begin(), flags_.end(), 0);
  outliers_ = 0;
}

void History::Clear() {
  usual_.Clear();
  std::fill(flags_.begin(), flags_.end(), 0);
  outliers_ = 0;
}

}  // namespace gradwatch::core
