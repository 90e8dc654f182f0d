#include "core/stats/sorted_window.h"

#include <algorithm>

namespace gradwatch::core {
namespace {

// How many of the sorted samples are below the value. Without branches: which way each comparison goes is a toss-up.
int CountBelow(const double* sorted, int size, double value) {
  const double* first = sorted;
  while (size > 1) {
    const int half = size / 2;
    first += half * static_cast<int>(first[half - 1] < value);
    size -= half;
  }
  return static_cast<int>(first - sorted) + (size == 1 && *first < value ? 1 : 0);
}

}  // namespace

SortedWindow::SortedWindow(int capacity) : sorted_(capacity), by_age_(capacity) {}

void SortedWindow::Add(double sample) {
  double* const sorted = sorted_.data();
  int hole = size_;  // where nothing is needed any more
  if (size_ == capacity()) {
    hole = CountBelow(sorted, size_, by_age_[next_]);
  } else {
    if (size_ == 0) next_ = 0;
    ++size_;
  }
  by_age_[next_] = sample;
  if (++next_ == capacity()) next_ = 0;
  const int place = CountBelow(sorted, hole, sample);
  if (place != hole) {  // goes before the hole
    std::move_backward(sorted + place, sorted + hole, sorted + hole + 1);
    sorted[place] = sample;
    return;
  }
  const int after = CountBelow(sorted + hole + 1, size_ - hole - 1, sample);
  std::move(sorted + hole + 1, sorted + hole + 1 + after, sorted + hole);
  sorted[hole + after] = sample;
}

double SortedWindow::Median() const { return (sorted_[(size_ - 1) / 2] + sorted_[size_ / 2]) / 2; }

double SortedWindow::Quantile(double fraction) const {
  const double rank = fraction * (size_ - 1);
  const int below = std::clamp(static_cast<int>(rank), 0, size_ - 1);
  const int above = std::min(below + 1, size_ - 1);
  return sorted_[below] + (rank - below) * (sorted_[above] - sorted_[below]);
}

double SortedWindow::ByAge(int index) const {
  if (size_ < capacity()) return by_age_[index];
  const int place = next_ + index;
  return by_age_[place < capacity() ? place : place - capacity()];
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
    const bool after = center - sorted_[middle] > sorted_[middle + rank + 1] - center;
    low = after ? middle + 1 : low;
    high = after ? high : middle;
  }
  return std::max(center - sorted_[low], sorted_[low + rank] - center);
}

}  // namespace gradwatch::core
