// The largest of the last samples of a series, in a few nanoseconds a step however many they are.
#ifndef GRADWATCH_CORE_STATS_SLIDING_MAXIMUM_H_
#define GRADWATCH_CORE_STATS_SLIDING_MAXIMUM_H_

#include <cstdint>
#include <vector>

namespace gradwatch::core {

// Keeps the samples that no later one exceeds. Samples must not be NaN. Allocates only when it is made.
class SlidingMaximum {
 public:
  // `window` is at least 1.
  explicit SlidingMaximum(int window) : kept_(window) {}
  // Bytes that one of this window allocates.
  static int64_t Bytes(int64_t window) { return window * static_cast<int64_t>(sizeof(Sample)); }

  // Takes a sample in; the oldest leaves when the window is full.
  void Add(double value) {
    if (size_ > 0 && kept_[first_].number + window() <= count_) {  // that one leaves
      first_ = Place(1);
      --size_;
    }
    while (size_ > 0 && kept_[Place(size_ - 1)].value <= value) --size_;
    kept_[Place(size_++)] = {value, count_++};
  }
  void Clear() { size_ = 0; }
  // Must not be empty.
  double value() const { return kept_[first_].value; }

 private:
  struct Sample {
    double value;
    int64_t number;  // counts all samples
  };
  int64_t window() const { return static_cast<int64_t>(kept_.size()); }
  // Where in the ring the i-th of those that are kept is, i at most the window.
  size_t Place(size_t i) const { return first_ + i < kept_.size() ? first_ + i : first_ + i - kept_.size(); }

  std::vector<Sample> kept_;  // a ring, values falling
  size_t first_ = 0;
  size_t size_ = 0;
  int64_t count_ = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_SLIDING_MAXIMUM_H_
