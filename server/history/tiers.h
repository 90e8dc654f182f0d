// Statistics of ranges of 16, 256 and 4,096 steps: of every series the smallest, the largest, the last, the sum, and
// how many were not finite. So a spike of one step, and one NaN, are still there when the reports are not.
//
// Sums are always made in the same order: 16 steps one after the other, then sixteen such sums, and again. So tiers
// that were made as reports came are those made of the stored reports, to the last bit.
#ifndef GRADWATCH_SERVER_HISTORY_TIERS_H_
#define GRADWATCH_SERVER_HISTORY_TIERS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gradwatch/v1/telemetry.pb.h"

namespace gradwatch::server {

// Steps of a bucket of each level are this many of those of the level below.
inline constexpr int kTierFactor = 16;
// Steps whose reports are one block: 16 buckets of the lowest level, one of the next. It begins at a multiple of this.
inline constexpr int64_t kBlockSteps = int64_t{kTierFactor} * kTierFactor;

// A series over a closed range of steps.
struct Bucket {
  int64_t count = 0;       // steps on which it had a finite value
  int64_t non_finite = 0;  // steps on which it, or an element of what it measures, was NaN or infinite
  // Of the finite values; NaN if there is none.
  double min = std::numeric_limits<double>::quiet_NaN();
  double max = std::numeric_limits<double>::quiet_NaN();
  double sum = 0;  // of the finite values
  // On the last step on which it had a value or was not finite; NaN also if there is none.
  double last = std::numeric_limits<double>::quiet_NaN();

  bool empty() const { return count == 0 && non_finite == 0; }
  // The next step: the value, if it has one, and whether an element was not finite.
  void Add(std::optional<double> value, bool has_non_finite);
  // What comes after it.
  void Merge(const Bucket& later);
};

// What is kept together: it is asked for together. Each has a series a tensor, or a layer, but for the first.
enum class TierGroup : uint8_t {
  kJob = 0,  // the series of JobSeries
  kTensorNorm = 1,
  kTensorMaxAbs = 2,
  kTensorUpdateRatio = 3,
  kTensorMean = 4,
  kLayerOutputMean = 5,
  kLayerOutputVariance = 6,
  kLayerSaturated = 7,
  kLayerDead = 8,
  kLayerBackwardNorm = 9,
  kLayerBackwardGrowth = 10,
  kLayerLargestLogit = 11,
  kLayerAttentionEntropy = 12,
};
inline constexpr int kTierGroups = 13;

// The series of kJob by number.
enum class JobSeries : uint8_t {
  kLoss = 0,
  kValidationLoss = 1,
  kGradNorm = 2,
  kNormAfter = 3,
  kLearningRate = 4,
  kThreshold = 5,
  kStepSeconds = 6,
  // Elements of all gradients that are not finite. Its Bucket::non_finite counts steps on which the loss or a gradient
  // was not finite.
  kNonFinite = 7,
};
inline constexpr size_t kJobSeries = 8;

// Calls `visit` for every series that the report has something about: its value, if it has one, and whether an element
// of what it measures was not finite.
void VisitSeries(
    const v1::StepReport& report,
    absl::FunctionRef<void(TierGroup group, size_t series, std::optional<double> value, bool has_non_finite)> visit);

// Fields of Bucket, as bits of a mask.
enum class Aggregate : uint8_t { kMin = 1, kMax = 2, kLast = 4, kSum = 8, kCount = 16, kNonFinite = 32 };
using AggregateMask = uint8_t;
inline constexpr AggregateMask kAllAggregates = 63;
constexpr AggregateMask MaskOf(Aggregate aggregate) { return static_cast<AggregateMask>(aggregate); }

// Consecutive buckets of the series of one group. Those of tensors and layers are floats, sums too.
struct Tier {
  TierGroup group = TierGroup::kJob;
  size_t series = 0;
  size_t buckets = 0;         // of each series
  std::vector<Bucket> cells;  // a series after the other

  const Bucket& At(size_t which, size_t bucket) const { return cells[which * buckets + bucket]; }
};

// Makes the lowest tiers of one block, as its reports come, in the order of steps.
class TierBuilder {
 public:
  // `first_step` is a multiple of kBlockSteps.
  explicit TierBuilder(int64_t first_step);
  // A report of the block.
  void Add(const v1::StepReport& report);
  // The 16 buckets of each group that has a series, in the order of groups.
  std::vector<Tier> Tiers() const;
  // About what it occupies.
  size_t memory_bytes() const;

 private:
  void AddTo(TierGroup group, size_t series, size_t bucket, std::optional<double> value, bool has_non_finite);

  const int64_t first_step_;
  std::array<std::vector<std::array<Bucket, kTierFactor>>, kTierGroups> groups_;  // by series
};

// The next level: each sixteen buckets as one. The number of buckets is a multiple of 16.
Tier Coarser(const Tier& tier);
// Tiers of one group and level, one after the other, as one. A series that one does not have is empty in it.
Tier Join(absl::Span<const Tier> tiers);

// A tier as bytes, with a checksum; by columns, so that few of them are read where few are asked for.
std::string EncodeTier(const Tier& tier);
// DATA_LOSS, reason LOG_CORRUPT: it is none. Only what is in `aggregates` is read, and what is not is as in an empty
// bucket; count and non_finite always are, since what comes of a bucket hangs on them. `series`, rising: only these, in
// their order; null: all. One that the tier does not have is empty.
absl::StatusOr<Tier> DecodeTier(absl::string_view bytes, AggregateMask aggregates = kAllAggregates,
                                const std::vector<uint32_t>* series = nullptr);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_TIERS_H_
