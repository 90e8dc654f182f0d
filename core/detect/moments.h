// Mean and standard deviation of numbers of any size, over all of them or over the last ones, without ever subtracting
// from a sum: what has left a window leaves no rounding error behind.
#ifndef GRADWATCH_CORE_DETECT_MOMENTS_H_
#define GRADWATCH_CORE_DETECT_MOMENTS_H_

#include <cstdint>
#include <vector>

namespace gradwatch::core {

// Of a growing set, after Welford 1962 and Chan, Golub, LeVeque 1979. Instead of the sum of squared distances its root
// is kept, and all are kept scaled down, so that nothing overflows whatever doubles come. Numbers must be finite.
class Moments {
 public:
  // Takes a number in.
  void Add(double value);
  // Takes a number in with this weight, in (0, 1], against all before: exponential moving moments. The first one must
  // have the weight 1; with the weights 1, 1/2, 1/3, ... it is as Add.
  void AddWeighted(double value, double weight);
  // Takes in what another one has.
  void Join(const Moments& other);

  int64_t count() const { return count_; }
  double mean() const;  // 0 of none
  // The root of the mean squared distance from the mean (divided by count); infinite if that is no double; 0 of none.
  double deviation() const;
  // The same divided by count - 1, of a population of which these are a sample; 0 of one and none.
  double sample_deviation() const;

 private:
  int64_t count_ = 0;
  double mean_ = 0;       // scaled
  double deviation_ = 0;  // scaled
};

// Of the last numbers of a series. Two stacks: of the older numbers the moments of all from one on are kept, of the
// newer ones the numbers and the moments of all; when the older ones are used up, the newer ones become them. O(1) on
// average, O(capacity) once in `capacity` numbers. Allocates only when it is made.
class SlidingMoments {
 public:
  // `capacity` is at least 1.
  explicit SlidingMoments(int capacity) : older_(capacity), newer_(capacity) {}
  static int64_t Bytes(int64_t capacity) { return capacity * static_cast<int64_t>(sizeof(Moments) + sizeof(double)); }

  // Takes a finite number in; the oldest leaves when there are `capacity`.
  void Add(double value);
  int64_t size() const { return older_count_ + newer_count_; }
  // Of all that are there.
  Moments All() const;

 private:
  void DropOldest();

  std::vector<Moments> older_;  // [i]: of the i + 1 newest of the older numbers
  std::vector<double> newer_;
  int64_t older_count_ = 0;
  int64_t newer_count_ = 0;
  Moments newer_moments_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_MOMENTS_H_
