#include "core/stats/sorted_window.h"

#include <algorithm>

namespace gradwatch::core {

SortedWindow::SortedWindow(int capacity) : sorted_(capacity), by_age_(capacity) {}

void SortedWindow::Add(double sample) {
  const auto begin = sorted_.begin();
  auto hole = begin + size_;  // where nothing is needed any more
  if (size_ == capacity()) {
    hole = std::lower_bound(begin, begin + size_, by_age_[next_]);
  } else {
    if (size_ == 0) next_ = 0;
    ++size_;
  }
  by_age_[next_] = sample;
  next_ = (next_ + 1) % capacity();
  const auto place = std::upper_bound(begin, hole, sample);
  if (place != hole) {  // goes before the hole
    std::move_backward(place, hole, hole + 1);
    *place = sample;
    return;
  }
  const auto end = std::lower_bound(hole + 1, begin + size_, sample);
  std::move(hole + 1, end, hole);
  *(end - 1) = sample;
}

double SortedWindow::Median() const { return (sorted_[(size_ - 1) / 2] + sorted_[size_ / 2]) / 2; }

double SortedWindow::Quantile(double fraction) const {
  const double rank = fraction * (size_ - 1);
  const int below = std::clamp(static_cast<int>(rank), 0, size_ - 1);
  const int above = std::min(below + 1, size_ - 1);
  return sorted_[below] + (rank - below) * (sorted_[above] - sorted_[below]);
}

double SortedWindow::ByAge(int index) const {
  return by_age_[size_ == capacity() ? (next_ + index) % capacity() : index];
}

double SortedWindow::MedianDeviation() const {
  const double median = Median();
  const double upper = NearestDistance(median, size_ / 2);
  return size_ % 2 == 1 ? upper : (NearestDistance(median, size_ / 2 - 1) + upper) / 2;
}

double SortedWindow::NearestDistance(double center, int rank) const {
  // The rank + 1 nearest samples lie side by side: look for the first of them.
  int low = 0;
  int high = size_ - 1 - rank;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (center - sorted_[middle] > sorted_[middle + rank + 1] - center) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return std::max(center - sorted_[low], sorted_[low + rank] - center);
}

}  // namespace gradwatch::core
