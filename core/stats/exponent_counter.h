// Counts the binary exponents of a tensor's elements: of all of them, or of a sample that moves with the step.
#ifndef GRADWATCH_CORE_STATS_EXPONENT_COUNTER_H_
#define GRADWATCH_CORE_STATS_EXPONENT_COUNTER_H_

#include <bit>
#include <cstdint>

#include "core/stats/step_record.h"

namespace gradwatch::core {

// Which elements of a tensor are counted on a step. The tensor is cut into pieces of `stride` elements; one element of
// each piece is counted, at a place that moves from piece to piece (so that no column of a matrix is preferred) and
// from step to step. In `stride` steps from a multiple of it on every element is counted once: counts times `stride`
// are unbiased. Reports of every stride-th step only also get around to all elements.
class ExponentSample {
 public:
  // Tensors up to this size are counted whole, of larger ones at least half as many elements. The share p of a bucket
  // is off by sqrt(p (1 - p) / n) where n elements are counted: by 4.4 points at most, less the larger the tensor is,
  // and less after some steps.
  static constexpr int64_t kWholeUpTo = 256;
  // The largest stride; a power of two, as all of them.
  static constexpr int64_t kMaxStride = 64;
  // So many pieces have a place in common, of which each takes other bits reversed.
  static constexpr int64_t kGroup = 4;

  ExponentSample(int64_t size, int64_t step);

  int64_t stride() const { return stride_; }
  // Index of the element that is counted of piece `piece`. It may lie behind the end of the tensor in the last one.
  int64_t IndexIn(int64_t piece) const {
    const int64_t group = piece / kGroup;
    const int64_t place = (offset_ + group * turn_ + (group >> shift_)) & (stride_ - 1);
    return group * kGroup * stride_ + (place ^ Member(piece % kGroup));
  }

  // The places in one group after the other, for a stride above 1: those of IndexIn by one addition and one shift.
  class Walk {
   public:
    // Starts with the group that begins at `first`.
    Walk(const ExponentSample& sample, int64_t first)
        : shift_(64 - sample.shift_),
          turn_((static_cast<uint64_t>(sample.turn_) << sample.shift_ | 1) << (64 - 2 * sample.shift_)),
          place_((static_cast<uint64_t>(sample.offset_) << shift_) +
                 static_cast<uint64_t>(first / kGroup >> sample.shift_) * turn_) {
      for (int64_t i = 0; i < kGroup; ++i) members_[i] = static_cast<uint64_t>(sample.Member(i));
    }
    // Index of the element that is counted of piece `member` of the present group, from the group's first one.
    uint64_t IndexOf(int member) const { return (place_ >> shift_) ^ members_[member]; }
    // Goes on to the next group.
    void Next() { place_ += turn_; }

   private:
    const int shift_;
    // As a fraction of 2^64, of which a piece has all, so that it comes round by itself.
    const uint64_t turn_;
    uint64_t place_;
    uint64_t members_[kGroup];
  };

 private:
  // What is reversed in the place, below the stride, and where piece `member` of a group begins, above it.
  int64_t Member(int64_t member) const { return member * stride_ | (member * 0b010101 & (stride_ - 1)); }

  int64_t stride_;
  int shift_;       // log2 of the stride
  int64_t offset_;  // in the first group
  int64_t turn_;    // odd; added from group to group, and 1 more from `stride` groups to the next
};

// Counts elements of one tensor in its histogram: an addition for each, since a bucket is where a float's first nine
// bits say.
class ExponentCounter {
 public:
  // Both outlive this; `histogram` is empty.
  ExponentCounter(const ExponentSample& sample, HistogramCounts* histogram)
      : sample_(sample), counts_(histogram->counts.data()) {}

  // Counts the sampled elements among those from `first` to before `end`, both multiples of kWhole or the end of the
  // tensor, which starts at `tensor`.
  static constexpr int64_t kWhole = ExponentSample::kGroup * ExponentSample::kMaxStride;
  void Count(const float* tensor, int64_t first, int64_t end);
  // Counts the sampled elements of kWhole ones from `elements` on, for a stride above 1.
  void CountWhole(const float* elements, ExponentSample::Walk* walk) {
    const int64_t group = ExponentSample::kGroup * sample_.stride();
    for (const float* from = elements; from < elements + kWhole; from += group) CountGroup(from, walk);
  }
  // Drops what is not finite, and the buckets of denormal numbers, which zeros have shared.
  void Finish();

 private:
  void CountGroup(const float* group, ExponentSample::Walk* walk) {
#pragma GCC unroll 4
    for (int member = 0; member < ExponentSample::kGroup; ++member) CountOne(group[walk->IndexOf(member)]);
    walk->Next();
  }
  void CountOne(float element) { ++counts_[std::bit_cast<uint32_t>(element) >> kExponentShift]; }

  static constexpr int kExponentShift = 23;

  const ExponentSample& sample_;  // not copied: that would wait until the one just made has left the store buffer
  uint32_t* const counts_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_EXPONENT_COUNTER_H_
