// The last samples of a series, kept sorted, so that quantiles and MAD cost a few nanoseconds on every step.
#ifndef GRADWATCH_CORE_STATS_SORTED_WINDOW_H_
#define GRADWATCH_CORE_STATS_SORTED_WINDOW_H_

#include <cstdint>
#include <vector>

namespace gradwatch::core {

// Samples must not be NaN. Allocates only when it is made.
class SortedWindow {
 public:
  // `capacity` is at least 1.
  explicit SortedWindow(int capacity);
  // Bytes that one of this capacity allocates.
  static int64_t Bytes(int64_t capacity) { return 2 * capacity * static_cast<int64_t>(sizeof(double)); }

  // Takes a sample in; the oldest leaves when the window is full. O(capacity), but only a move of memory.
  void Add(double sample);
  void Clear() { size_ = 0; }

  int size() const { return size_; }
  int capacity() const { return static_cast<int>(sorted_.size()); }
  // The mean of the two middle samples where their number is even. The window must not be empty.
  double Median() const;
  // The sample below which this fraction (in [0, 1]) of the others lies, interpolated linearly between neighbours as
  // numpy and PyTorch do. The window must not be empty.
  double Quantile(double fraction) const;
  // The samples by age: 0 is the oldest, size() - 1 the newest.
  double ByAge(int index) const;
  // Median of the distances from the median (MAD), O(log size). The window must not be empty.
  double MedianDeviation() const;

 private:
  // The distance from `center` of the rank-th nearest sample, from 0.
  double NearestDistance(double center, int rank) const;

  std::vector<double> sorted_;  // the first size_ are samples
  std::vector<double> by_age_;  // ring; next_ is where the next sample goes, when full the oldest
  int size_ = 0;
  int next_ = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_SORTED_WINDOW_H_
