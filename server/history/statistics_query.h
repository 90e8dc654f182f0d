// Questions about the statistics of a job: any series over any steps, at most so many points, at a cost of the points
// and never of the steps.
//
// A question is answered from the coarsest level that still gives as many points: the reports themselves, or tiers of
// 16, 256 or 4,096 steps. At most eight buckets (or steps) go into a point; of more than 16,384 steps (64 blocks) the
// reports are not read for it, whatever the number of points. Where that level is not kept, the next
// coarser one answers, with points as wide as its buckets; what is too new for a level comes from the finer ones. All
// of them are added up by Bucket, so that a spike of one step, and one NaN, are in every answer.
#ifndef GRADWATCH_SERVER_HISTORY_STATISTICS_QUERY_H_
#define GRADWATCH_SERVER_HISTORY_STATISTICS_QUERY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gradwatch/v1/telemetry.pb.h"
#include "server/history/report_columns.h"
#include "server/history/series.h"
#include "server/history/step_ranges.h"
#include "server/history/tiers.h"

namespace gradwatch::server {

// Steps of a bucket of each level; of the first, a bucket is a report.
inline constexpr std::array<int64_t, 4> kLevels = {1, 16, 256, 4096};
// `newest` looks back this far: 16 buckets of the highest level.
inline constexpr int64_t kNewestSteps = 65536;

// The statistics of one attempt of a job, at one moment. Errors but those told are the store's (UNAVAILABLE: not now),
// and end the question.
class BlockSource {
 public:
  virtual ~BlockSource() = default;
  // The steps that a level has: whole buckets, to each of which nothing will be added. Of level 1 the blocks whose
  // reports are kept, and what the open block has. Steps that never came count as kept between others that are: no
  // level has more of them.
  virtual StepRanges Kept(int64_t level) const = 0;
  // Steps in the window whose reports are lost, damaged or dropped, in their order.
  virtual std::vector<LostSteps> Lost(const StepRange& window) const = 0;
  // Calls for the batches of the block of kBlockSteps that begins at `block`, in the order of steps; for none, if its
  // reports are in the open block, or never came. Bytes are valid during the call. DATA_LOSS: one cannot be read.
  virtual absl::Status ForEachBatch(int64_t block, absl::FunctionRef<void(absl::string_view bytes)> each) = 0;
  // Calls for the reports in the window that are in no batch, in the order of steps; one that is there, too, takes the
  // place of a batch's of its step. What is not wanted of them may be there.
  virtual void ForEachOpen(const StepRange& window, const ReportChoice& choice,
                           absl::FunctionRef<void(const v1::StepReport&)> each) = 0;
  // Calls for the rows of a level and a group that overlap the window, in the order of steps: the steps of its buckets,
  // and EncodeTier's bytes; whatever else they are, the row is damaged. A group that has no values in a row has no row.
  virtual absl::Status ForEachRow(int64_t level, TierGroup group, const StepRange& window,
                                  absl::FunctionRef<void(const StepRange& steps, absl::string_view bytes)> each) = 0;
};

// Another source, but for what is told otherwise.
class ForwardingSource : public BlockSource {
 public:
  // `source` outlives it.
  explicit ForwardingSource(BlockSource* source) : source_(*source) {}

  StepRanges Kept(int64_t level) const override { return source_.Kept(level); }
  std::vector<LostSteps> Lost(const StepRange& window) const override { return source_.Lost(window); }
  absl::Status ForEachBatch(int64_t block, absl::FunctionRef<void(absl::string_view bytes)> each) override {
    return source_.ForEachBatch(block, each);
  }
  void ForEachOpen(const StepRange& window, const ReportChoice& choice,
                   absl::FunctionRef<void(const v1::StepReport&)> each) override {
    source_.ForEachOpen(window, choice, each);
  }
  absl::Status ForEachRow(int64_t level, TierGroup group, const StepRange& window,
                          absl::FunctionRef<void(const StepRange& steps, absl::string_view bytes)> each) override {
    return source_.ForEachRow(level, group, window, each);
  }

 private:
  BlockSource& source_;
};

// Where a page begins. What has come since the first page is left out, so that points are the same on all of them.
struct PageStart {
  static constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
  size_t series = 0;           // passed over, of those that match
  int64_t histogram_step = 0;  // steps before have been told; behind all series
  // By kLevels: the last step that the first page found there.
  std::array<int64_t, kLevels.size()> last_steps = {kNoLimit, kNoLimit, kNoLimit, kNoLimit};
};

struct StatisticsQuestion {
  StepRange steps = {.first = 0, .last = std::numeric_limits<int64_t>::max()};
  std::vector<std::string> series;            // globs; empty: the job's own series
  int64_t max_points = 1000;                  // 0: none, where only the newest values or histograms are asked for
  int64_t point_steps = 0;                    // points are cut at its multiples; 0: as so many points are best made
  AggregateMask aggregates = kAllAggregates;  // others stay as in an empty bucket, but for count and non_finite
  bool newest = false;                        // the last value of each series, of the last kNewestSteps
  bool histograms = false;                    // of the tensors that have a series here; of each step that has some
  size_t page_bytes = size_t{1} << 20;        // about so much in an answer; at least one series, or step
  PageStart page;
};

// A part of the range, and which level it comes from.
struct LevelRange {
  int64_t level = 1;
  StepRange steps;
};

struct SeriesAnswer {
  Series series;
  std::vector<Bucket> points;    // as StatisticsAnswer::points
  std::optional<double> newest;  // if asked for, and there is one
};

struct HistogramAt {
  int64_t step = 0;
  int32_t tensor = 0;
  v1::Histogram histogram;
};

struct StatisticsAnswer {
  int64_t level = 1;              // the one that the question is answered from, where it is kept
  std::vector<StepRange> points;  // disjoint, in the order of steps; rounded outwards to buckets
  std::vector<SeriesAnswer> series;
  std::vector<LevelRange> parts;  // where the points come from, in the order of steps
  std::vector<LostSteps> gaps;    // of the range asked for
  std::vector<HistogramAt> histograms;
  std::optional<PageStart> next;  // unset: this was the last page
};

// The steps of a point: the smallest multiple of `unit` at whose multiples the steps are cut into so many points at
// most; of one point, more than all of them.
int64_t ChoosePointSteps(const StepRange& steps, int64_t unit, int64_t max_points);

// How a question is answered. `kept` is by kLevels; `asked` lies within what is kept on some level. `point_steps`: as
// StatisticsQuestion's.
struct QueryPlan {
  int64_t level = 1;
  int64_t point_steps = 1;  // points are cut at multiples of it
  std::vector<LevelRange> parts;
  std::vector<StepRange> points;
};
QueryPlan PlanQuery(const StepRange& asked, int64_t max_points, const std::array<StepRanges, kLevels.size()>& kept,
                    int64_t point_steps = 0);

// Reads as much of the source as the answer takes: rows and batches of the parts, of these the columns and the series
// that are asked for. What cannot be read is told as a gap, and answered from another level, if one has it.
// INVALID_ARGUMENT: a glob matches nothing, or the page is not of this question; else the source's errors.
absl::StatusOr<StatisticsAnswer> AnswerQuestion(const StatisticsQuestion& question, const SeriesNames& names,
                                                BlockSource* source);

// Calls for the reports of some steps, which rise, or for what is wanted of them; those that are not kept, or cannot be
// read, are left out. Reads each block once. Errors as the source's.
absl::Status ReadReports(absl::Span<const int64_t> steps, const ReportChoice& choice, BlockSource* source,
                         absl::FunctionRef<void(const v1::StepReport&)> each);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_STATISTICS_QUERY_H_
