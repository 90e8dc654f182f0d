#include "server/history/statistics_query.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "core/base/status_macros.h"
#include "server/history/report_batch.h"

namespace gradwatch::server {
namespace {

using KeptByLevel = std::array<StepRanges, kLevels.size()>;

constexpr char kDamaged[] = "what was stored is damaged";
// Blocks of reports that one page looks into, for histograms (where there are none, it ends all the same) or for
// points.
constexpr int64_t kPageBlocks = 64;

int64_t CeilOf(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The place in kLevels of the coarsest level that gives as many points as are wanted; not the reports of many blocks.
size_t ChooseLevel(int64_t steps, int64_t max_points) {
  const int64_t widest = 2 * CeilOf(steps, max_points) - 1;
  size_t level = steps > kPageBlocks * kBlockSteps ? 1 : 0;
  while (level + 1 < kLevels.size() && kLevels[level + 1] <= widest) ++level;
  return level;
}

// The parts of each level, in no order.
std::vector<LevelRange> ChooseParts(const StepRange& asked, size_t level, const KeptByLevel& kept) {
  std::array<StepRanges, kLevels.size()> parts;
  StepRanges missing = {RoundOut(asked, kLevels[level])};
  const auto take = [&](size_t which, const StepRanges& candidates) {
    for (const StepRange& range : candidates) {
      const StepRanges common = Common(kept[which], range);
      parts[which].insert(parts[which].end(), common.begin(), common.end());
    }
    missing = Without(missing, parts[which]);
  };
  take(level, missing);
  for (size_t coarser = level + 1; coarser < kLevels.size(); ++coarser) {
    take(coarser, RoundOut(missing, kLevels[coarser]));
    // Its buckets may reach into what finer ones have: no step counts twice.
    for (size_t finer = level; finer < coarser; ++finer) parts[finer] = Without(parts[finer], parts[coarser]);
  }
  for (size_t finer = level; finer > 0; --finer) take(finer - 1, missing);
  std::vector<LevelRange> ranges;
  for (size_t i = 0; i < parts.size(); ++i) {
    for (const StepRange& range : parts[i]) ranges.push_back({.level = kLevels[i], .steps = range});
  }
  return ranges;
}

// Cuts the parts into points; a bucket belongs to the point in which it begins, one that begins before `start`, the
// first step asked for, to the first.
std::vector<StepRange> CutPoints(const std::vector<LevelRange>& parts, int64_t start, int64_t point_steps) {
  std::vector<StepRange> points;
  int64_t last_point = -1;
  for (const LevelRange& part : parts) {
    for (int64_t first = part.steps.first; first <= part.steps.last;) {
      const int64_t point = std::max(first, start) / point_steps;
      // Buckets up to the next cut, the last of them whole.
      const int64_t cut = (point + 1) * point_steps;
      const int64_t last = std::min(part.steps.last, first + CeilOf(cut - first, part.level) * part.level - 1);
      if (point == last_point) {
        points.back().last = last;
      } else {
        points.push_back({.first = first, .last = last});
      }
      last_point = point;
      first = last + 1;
    }
  }
  return points;
}

size_t PointOf(const std::vector<StepRange>& points, int64_t step) {
  const auto after = std::upper_bound(points.begin(), points.end(), step,
                                      [](int64_t at, const StepRange& point) { return at < point.first; });
  return static_cast<size_t>(after - points.begin()) - 1;
}

// The series of an answer, and where they are found in reports and rows.
class SeriesSet {
 public:
  // By group, then index.
  explicit SeriesSet(absl::Span<const Series> series) : choice_(ChoiceFor(series)) {
    for (size_t i = 0; i < series.size(); ++i) {
      Group& group = groups_[static_cast<size_t>(series[i].group)];
      if (group.indices.empty()) group.first_place = i;
      group.indices.push_back(series[i].index);
      group.places.resize(series[i].index + 1, kNone);
      group.places[series[i].index] = i;
    }
  }

  const ReportChoice& choice() const { return choice_; }
  const std::vector<uint32_t>& IndicesOf(TierGroup group) const { return GroupOf(group).indices; }
  // Of the series with the first of these indices; the others follow.
  size_t FirstPlaceOf(TierGroup group) const { return GroupOf(group).first_place; }
  // kNone: it is not one of them.
  static constexpr size_t kNone = ~size_t{0};
  size_t PlaceOf(TierGroup group, size_t index) const {
    const std::vector<size_t>& places = GroupOf(group).places;
    return index < places.size() ? places[index] : kNone;
  }

 private:
  struct Group {
    std::vector<uint32_t> indices;
    size_t first_place = 0;
    std::vector<size_t> places;  // by index
  };
  const Group& GroupOf(TierGroup group) const { return groups_[static_cast<size_t>(group)]; }

  ReportChoice choice_;
  std::array<Group, kTierGroups> groups_;
};

// Calls for the reports of a block that are in `steps`, in their order, or for what is wanted of them: those of its
// batches, and those that are in none yet, which win. Until `each` returns false; DATA_LOSS: it cannot be read.
absl::Status ReadBlock(int64_t block, const StepRange& steps, const ReportChoice& choice, BlockSource* source,
                       absl::FunctionRef<bool(const v1::StepReport&)> each) {
  const StepRange window = Common(steps, {.first = block, .last = block + kBlockSteps - 1});
  bool more = true, has_batch = false;
  std::vector<v1::StepReport> open;
  size_t next = 0;
  const auto open_up_to = [&](int64_t step) {
    for (; more && next < open.size() && open[next].step() <= step; ++next) more = each(open[next]);
  };
  absl::Status status;
  GW_RETURN_IF_ERROR(source->ForEachBatch(block, [&](absl::string_view batch) {
    if (!std::exchange(has_batch, true)) {
      source->ForEachOpen(window, choice, [&open](const v1::StepReport& report) { open.push_back(report); });
    }
    if (!more || !status.ok()) return;
    status = DecodeReports(batch, choice, [&](const v1::StepReport& report) {
      open_up_to(report.step());
      const bool is_replaced = next > 0 && open[next - 1].step() == report.step();
      if (more && !is_replaced && window.Has(report.step())) more = each(report);
    });
  }));
  GW_RETURN_IF_ERROR(status);
  open_up_to(window.last);
  if (!has_batch) source->ForEachOpen(window, choice, [&](const auto& report) { more = more && each(report); });
  return absl::OkStatus();
}

// What could not be read, by level.
using Damage = KeptByLevel;

// Adds up what a plan says, for some series.
class PlanReader {
 public:
  PlanReader(const QueryPlan& plan, const SeriesSet& series, AggregateMask aggregates, BlockSource* source,
             std::vector<SeriesAnswer>* answer)
      : plan_(plan), series_(series), aggregates_(aggregates), source_(*source), answer_(*answer) {}

  // What is damaged is left out, and added to `damage`. Once.
  absl::Status Read(Damage* damage) {
    for (const LevelRange& part : plan_.parts) {
      GW_RETURN_IF_ERROR(part.level == 1 ? ReadReports(part.steps, &(*damage)[0]) : ReadTiers(part, damage));
    }
    return absl::OkStatus();
  }
  // Those of which a row is damaged.
  const std::array<bool, kTierGroups>& damaged_groups() const { return damaged_groups_; }

 private:
  absl::Status ReadReports(const StepRange& steps, StepRanges* damaged) {
    const auto add = [&](const v1::StepReport& report) {
      Add(report);
      return true;
    };
    for (int64_t block = steps.first / kBlockSteps * kBlockSteps; block <= steps.last; block += kBlockSteps) {
      const absl::Status status = ReadBlock(block, steps, series_.choice(), &source_, add);
      if (absl::IsDataLoss(status)) {
        damaged->push_back({.first = block, .last = block + kBlockSteps - 1});
      } else {
        GW_RETURN_IF_ERROR(status);
      }
    }
    return absl::OkStatus();
  }

  void Add(const v1::StepReport& report) {
    const size_t point = PointOf(plan_.points, report.step());
    VisitSeries(report, [&](TierGroup group, size_t index, std::optional<double> value, bool has_non_finite) {
      const size_t place = series_.PlaceOf(group, index);
      if (place != SeriesSet::kNone) answer_[place].points[point].Add(value, has_non_finite);
    });
  }

  absl::Status ReadTiers(const LevelRange& part, Damage* damage) {
    const auto level = static_cast<size_t>(std::find(kLevels.begin(), kLevels.end(), part.level) - kLevels.begin());
    for (int i = 0; i < kTierGroups; ++i) {
      const auto group = static_cast<TierGroup>(i);
      if (series_.IndicesOf(group).empty()) continue;
      const auto add = [&](const StepRange& steps, absl::string_view bytes) {
        const absl::StatusOr<Tier> tier = DecodeTier(bytes, aggregates_, &series_.IndicesOf(group));
        if (tier.ok() && tier->group == group && static_cast<int64_t>(tier->buckets) * part.level == steps.steps()) {
          Add(*tier, steps.first, part);
        } else {
          (*damage)[level].push_back(steps);
          damaged_groups_[static_cast<size_t>(i)] = true;
        }
      };
      GW_RETURN_IF_ERROR(source_.ForEachRow(part.level, group, part.steps, add));
    }
    return absl::OkStatus();
  }

  void Add(const Tier& tier, int64_t first_step, const LevelRange& part) {
    // By bucket: its point.
    std::vector<std::pair<size_t, size_t>> wanted;
    for (size_t bucket = 0; bucket < tier.buckets; ++bucket) {
      const int64_t step = first_step + static_cast<int64_t>(bucket) * part.level;
      if (part.steps.Has(step)) wanted.emplace_back(bucket, PointOf(plan_.points, step));
    }
    const size_t first_place = series_.FirstPlaceOf(tier.group);
    for (size_t i = 0; i < tier.series; ++i) {
      std::vector<Bucket>& points = answer_[first_place + i].points;
      for (const auto& [bucket, point] : wanted) points[point].Merge(tier.At(i, bucket));
    }
  }

  const QueryPlan& plan_;
  const SeriesSet& series_;
  const AggregateMask aggregates_;
  BlockSource& source_;
  std::vector<SeriesAnswer>& answer_;
  std::array<bool, kTierGroups> damaged_groups_ = {};
};

// Leaves the chosen ones alone: what is made of reports has all.
void Mask(AggregateMask aggregates, Bucket* bucket) {
  const Bucket empty;
  if ((aggregates & MaskOf(Aggregate::kMin)) == 0) bucket->min = empty.min;
  if ((aggregates & MaskOf(Aggregate::kMax)) == 0) bucket->max = empty.max;
  if ((aggregates & MaskOf(Aggregate::kLast)) == 0) bucket->last = empty.last;
  if ((aggregates & MaskOf(Aggregate::kSum)) == 0) bucket->sum = empty.sum;
}

// What is kept of a range, without what could not be read.
class Readable {
 public:
  // Up to the last step of each level.
  Readable(const BlockSource& source, const std::array<int64_t, kLevels.size()>& last_steps) {
    for (size_t i = 0; i < kLevels.size(); ++i) {
      kept_[i] = Common(source.Kept(kLevels[i]), {.first = 0, .last = last_steps[i]});
      last_steps_[i] = kept_[i].empty() ? -1 : kept_[i].back().last;
    }
  }

  const KeptByLevel& kept() const { return kept_; }
  // By level: the last step that is kept, read or not.
  const std::array<int64_t, kLevels.size()>& last_steps() const { return last_steps_; }
  const StepRanges& damaged() const { return damaged_; }
  // From the first to the last step of any level.
  StepRange Extent() const {
    StepRange extent = {.first = std::numeric_limits<int64_t>::max(), .last = -1};
    for (const StepRanges& ranges : kept_) {
      if (ranges.empty()) continue;
      extent.first = std::min(extent.first, ranges.front().first);
      extent.last = std::max(extent.last, ranges.back().last);
    }
    return extent;
  }
  void AddDamaged(const StepRanges& steps) {
    damaged_.insert(damaged_.end(), steps.begin(), steps.end());
    damaged_ = Together(std::move(damaged_));
  }
  // Whether that changes what is kept.
  bool Remove(Damage damage) {
    const KeptByLevel before = kept_;
    for (size_t i = 0; i < kLevels.size(); ++i) {
      damaged_.insert(damaged_.end(), damage[i].begin(), damage[i].end());
      kept_[i] = Without(kept_[i], Together(std::move(damage[i])));
    }
    damaged_ = Together(std::move(damaged_));
    return kept_ != before;
  }

 private:
  KeptByLevel kept_;
  std::array<int64_t, kLevels.size()> last_steps_;
  StepRanges damaged_;
};

// The parts as far as they are kept, and finer levels where they are not; to `missing` what none has.
std::vector<LevelRange> WithFiner(const std::vector<LevelRange>& parts, const KeptByLevel& kept, StepRanges* missing) {
  std::vector<LevelRange> finer;
  for (const LevelRange& part : parts) {
    StepRanges left = {part.steps};
    for (size_t level = kLevels.size(); level-- > 0 && !left.empty();) {
      if (kLevels[level] > part.level) continue;
      for (const StepRange& range : std::exchange(left, {})) {
        const StepRanges there = Common(kept[level], range);
        for (const StepRange& steps : there) finer.push_back({.level = kLevels[level], .steps = steps});
        for (const StepRange& steps : Without({range}, there)) left.push_back(steps);
      }
    }
    missing->insert(missing->end(), left.begin(), left.end());
  }
  std::sort(finer.begin(), finer.end(),
            [](const LevelRange& a, const LevelRange& b) { return a.steps.first < b.steps.first; });
  return finer;
}

// Reads the series of one group, of which rows are damaged, again: at the same points, from finer levels where these
// are kept. What is not is told as damaged.
absl::Status ReadGroupAgain(const QueryPlan& plan, TierGroup group, AggregateMask aggregates, Readable* readable,
                            BlockSource* source, std::vector<SeriesAnswer>* answer) {
  std::vector<SeriesAnswer> of_group;
  std::vector<Series> series;
  for (const SeriesAnswer& one : *answer) {
    if (one.series.group != group) continue;
    series.push_back(one.series);
    of_group.push_back({.series = one.series, .points = {}, .newest = std::nullopt});
  }
  const SeriesSet set(series);
  QueryPlan finer = plan;
  StepRanges missing;
  Readable left = *readable;
  for (bool again = true; again;) {
    missing.clear();
    finer.parts = WithFiner(plan.parts, left.kept(), &missing);
    for (SeriesAnswer& one : of_group) one.points.assign(plan.points.size(), Bucket());
    Damage damage;
    GW_RETURN_IF_ERROR(PlanReader(finer, set, aggregates, source, &of_group).Read(&damage));
    again = left.Remove(std::move(damage));
  }
  readable->AddDamaged(missing);
  auto next = of_group.begin();
  for (SeriesAnswer& one : *answer) {
    if (one.series.group == group) one.points = std::move((next++)->points);
  }
  return absl::OkStatus();
}

// How points are to be made.
struct PointsWanted {
  StepRange asked;
  int64_t max_points = 1;
  int64_t point_steps = 0;
  AggregateMask aggregates = kAllAggregates;
  // Other series have the same points on another page. Rows of tiers are of one group of series: those that are damaged
  // change no points then.
  bool has_pages = false;
};

// Answers for the series in `answer`, whose points it makes. Where something is damaged, once more without it.
absl::StatusOr<QueryPlan> ReadPoints(const PointsWanted& wanted, Readable* readable, BlockSource* source,
                                     std::vector<SeriesAnswer>* answer) {
  std::vector<Series> series;
  for (const SeriesAnswer& one : *answer) series.push_back(one.series);
  const SeriesSet set(series);
  while (true) {
    QueryPlan plan = PlanQuery(wanted.asked, wanted.max_points, readable->kept(), wanted.point_steps);
    for (SeriesAnswer& one : *answer) one.points.assign(plan.points.size(), Bucket());
    Damage damage;
    PlanReader reader(plan, set, wanted.aggregates, source, answer);
    GW_RETURN_IF_ERROR(reader.Read(&damage));
    if (wanted.has_pages) std::fill(damage.begin() + 1, damage.end(), StepRanges());
    if (readable->Remove(std::move(damage))) continue;
    for (size_t i = 0; i < kTierGroups; ++i) {
      if (!wanted.has_pages || !reader.damaged_groups()[i]) continue;
      const auto group = static_cast<TierGroup>(i);
      GW_RETURN_IF_ERROR(ReadGroupAgain(plan, group, wanted.aggregates, readable, source, answer));
    }
    for (SeriesAnswer& one : *answer) {
      for (Bucket& bucket : one.points) Mask(wanted.aggregates, &bucket);
    }
    return plan;
  }
}

absl::Status ReadNewest(const StepRange& asked, Readable* readable, BlockSource* source,
                        std::vector<SeriesAnswer>* answer) {
  const StepRange newest = {.first = std::max(asked.first, asked.last - kNewestSteps + 1), .last = asked.last};
  std::vector<SeriesAnswer> last(answer->size());
  for (size_t i = 0; i < last.size(); ++i) last[i].series = (*answer)[i].series;
  const PointsWanted wanted = {.asked = newest, .aggregates = MaskOf(Aggregate::kLast)};
  GW_RETURN_IF_ERROR(ReadPoints(wanted, readable, source, &last).status());
  for (size_t i = 0; i < last.size(); ++i) {
    for (const Bucket& bucket : last[i].points) {
      if (!bucket.empty()) (*answer)[i].newest = bucket.last;
    }
  }
  return absl::OkStatus();
}

// Of a point of a series, as it is sent.
size_t BytesOf(AggregateMask aggregates) {
  size_t bytes = 0;
  for (const Aggregate aggregate : {Aggregate::kMin, Aggregate::kMax, Aggregate::kLast, Aggregate::kSum}) {
    if ((aggregates & MaskOf(aggregate)) != 0) bytes += sizeof(double);
  }
  for (const Aggregate aggregate : {Aggregate::kCount, Aggregate::kNonFinite}) {
    if ((aggregates & MaskOf(aggregate)) != 0) bytes += 2;  // most of them, as a varint
  }
  return bytes;
}

// The series of the page, of all that match.
std::vector<SeriesAnswer> SeriesOfPage(const StatisticsQuestion& question, const std::vector<Series>& all) {
  std::vector<SeriesAnswer> page;
  size_t bytes = 0;
  for (size_t i = question.page.series; i < all.size(); ++i) {
    bytes += all[i].name.size() + 16 + static_cast<size_t>(question.max_points) * BytesOf(question.aggregates);
    if (!page.empty() && bytes > question.page_bytes) break;
    page.push_back({.series = all[i], .points = {}, .newest = std::nullopt});
  }
  return page;
}

// Collects histograms block by block until the page is full.
class HistogramReader {
 public:
  HistogramReader(const StatisticsQuestion& question, const std::vector<Series>& series, BlockSource* source)
      : page_bytes_(question.page_bytes), source_(*source), choice_(ReportChoice::Nothing()) {
    for (const Series& one : series) {
      if (!IsOfTensors(one.group)) continue;
      choice_.tensors.resize(std::max<size_t>(choice_.tensors.size(), one.index + 1), false);
      choice_.tensors[one.index] = true;
    }
    choice_.tensor = TensorField("tensor");
    choice_.histograms = true;
  }

  // The step behind the last one looked at; that behind `asked` if all were.
  absl::StatusOr<int64_t> Read(const StepRange& asked, Readable* readable, std::vector<HistogramAt>* histograms) {
    if (choice_.tensors.empty()) return asked.last + 1;
    const StepRanges kept = Common(readable->kept()[0], asked);
    int64_t blocks = 0;
    for (const StepRange& range : kept) {
      for (int64_t block = range.first / kBlockSteps * kBlockSteps; block <= range.last; block += kBlockSteps) {
        if (full_) return next_;
        if (++blocks > kPageBlocks) return block;
        GW_RETURN_IF_ERROR(Read(block, range, readable, histograms));
      }
    }
    return full_ ? next_ : asked.last + 1;
  }

 private:
  absl::Status Read(int64_t block, const StepRange& steps, Readable* readable, std::vector<HistogramAt>* histograms) {
    const absl::Status status = ReadBlock(block, steps, choice_, &source_, [&](const v1::StepReport& report) {
      Add(report, histograms);
      return !full_;
    });
    if (!absl::IsDataLoss(status)) return status;
    Damage damage;
    damage[0].push_back({.first = block, .last = block + kBlockSteps - 1});
    readable->Remove(std::move(damage));
    return absl::OkStatus();
  }

  // All of a step, or nothing of it.
  void Add(const v1::StepReport& report, std::vector<HistogramAt>* histograms) {
    for (const v1::TensorStats& tensor : report.tensors()) {
      if (!tensor.has_histogram() || !choice_.WantsTensor(static_cast<uint64_t>(tensor.tensor()))) continue;
      histograms->push_back({.step = report.step(), .tensor = tensor.tensor(), .histogram = tensor.histogram()});
      bytes_ += tensor.histogram().ByteSizeLong() + 8;
    }
    next_ = report.step() + 1;
    full_ = bytes_ >= page_bytes_;
  }

  const size_t page_bytes_;
  BlockSource& source_;
  ReportChoice choice_;
  size_t bytes_ = 0;
  int64_t next_ = 0;
  bool full_ = false;
};

std::vector<LostSteps> GapsOf(const StepRange& asked, const StepRanges& damaged, const BlockSource& source) {
  std::vector<LostSteps> gaps = source.Lost(asked);
  StepRanges told;
  for (const LostSteps& gap : gaps) told.push_back(gap.steps);
  for (const StepRange& range : Without(Common(damaged, asked), Together(std::move(told)))) {
    gaps.push_back({.steps = range, .reason = kDamaged});
  }
  std::stable_sort(gaps.begin(), gaps.end(),
                   [](const LostSteps& a, const LostSteps& b) { return a.steps.first < b.steps.first; });
  return gaps;
}

// The histograms of the page, which has told all series; what comes next.
absl::StatusOr<std::optional<PageStart>> ReadHistograms(const StatisticsQuestion& question,
                                                        const std::vector<Series>& series, const StepRange& asked,
                                                        Readable* readable, BlockSource* source,
                                                        std::vector<HistogramAt>* histograms) {
  const StepRange left = {.first = std::max(asked.first, question.page.histogram_step), .last = asked.last};
  GW_ASSIGN_OR_RETURN(const int64_t next, HistogramReader(question, series, source).Read(left, readable, histograms));
  if (next > asked.last) return std::nullopt;
  return PageStart{.series = series.size(), .histogram_step = next, .last_steps = readable->last_steps()};
}

}  // namespace

int64_t ChoosePointSteps(const StepRange& steps, int64_t unit, int64_t max_points) {
  if (max_points == 1) return RoundOut(steps, unit).last + 1;
  const auto cut = [&steps](int64_t width) { return steps.last / width - steps.first / width + 1; };
  int64_t width = unit * std::max<int64_t>(1, CeilOf(CeilOf(steps.steps(), max_points), unit));
  while (cut(width) > max_points) width += unit;
  return width;
}

QueryPlan PlanQuery(const StepRange& asked, int64_t max_points, const KeptByLevel& kept, int64_t point_steps) {
  const size_t level = ChooseLevel(asked.steps(), max_points);
  QueryPlan plan{.level = kLevels[level],
                 .point_steps = point_steps > 0 ? point_steps : ChoosePointSteps(asked, kLevels[level], max_points),
                 .parts = ChooseParts(asked, level, kept),
                 .points = {}};
  std::sort(plan.parts.begin(), plan.parts.end(),
            [](const LevelRange& a, const LevelRange& b) { return a.steps.first < b.steps.first; });
  plan.points = CutPoints(plan.parts, asked.first, plan.point_steps);
  return plan;
}

absl::StatusOr<StatisticsAnswer> AnswerQuestion(const StatisticsQuestion& question, const SeriesNames& names,
                                                BlockSource* source) {
  GW_ASSIGN_OR_RETURN(const std::vector<Series> all, FindSeries(question.series, names));
  if (question.page.series > all.size()) return absl::InvalidArgumentError("the page is not of this question");
  const StepRange wanted = {.first = std::max<int64_t>(0, question.steps.first), .last = question.steps.last};
  Readable readable(*source, question.page.last_steps);
  const StepRange asked = Common(wanted, readable.Extent());
  StatisticsAnswer answer;
  if (asked.empty()) {
    answer.gaps = source->Lost(wanted);
    return answer;
  }
  answer.series = SeriesOfPage(question, all);
  if (question.max_points > 0 && !answer.series.empty()) {
    const PointsWanted points = {.asked = asked,
                                 .max_points = question.max_points,
                                 .point_steps = question.point_steps,
                                 .aggregates = question.aggregates,
                                 .has_pages = answer.series.size() < all.size()};
    GW_ASSIGN_OR_RETURN(QueryPlan plan, ReadPoints(points, &readable, source, &answer.series));
    answer.level = plan.level;
    answer.parts = std::move(plan.parts);
    answer.points = std::move(plan.points);
  }
  if (question.newest && !answer.series.empty()) {
    GW_RETURN_IF_ERROR(ReadNewest(asked, &readable, source, &answer.series));
  }
  const size_t told = question.page.series + answer.series.size();
  if (told < all.size()) {
    answer.next = PageStart{.series = told, .histogram_step = 0, .last_steps = readable.last_steps()};
  } else if (question.histograms) {
    GW_ASSIGN_OR_RETURN(answer.next, ReadHistograms(question, all, asked, &readable, source, &answer.histograms));
  }
  answer.gaps = GapsOf(wanted, readable.damaged(), *source);
  return answer;
}

absl::Status ReadReports(absl::Span<const int64_t> steps, const ReportChoice& choice, BlockSource* source,
                         absl::FunctionRef<void(const v1::StepReport&)> each) {
  const StepRanges kept = source->Kept(1);
  for (auto next = steps.begin(); next != steps.end();) {
    const int64_t block = *next / kBlockSteps * kBlockSteps;
    const auto end = std::find_if(next, steps.end(), [block](int64_t step) { return step >= block + kBlockSteps; });
    const StepRange window = {.first = *next, .last = *std::prev(end)};
    const auto take = [&](const v1::StepReport& report) {
      while (next != end && *next < report.step()) ++next;
      if (next != end && *next == report.step()) each(report);
      return report.step() < window.last;
    };
    if (!Common(kept, window).empty()) {
      const absl::Status status = ReadBlock(block, window, choice, source, take);
      if (!absl::IsDataLoss(status)) GW_RETURN_IF_ERROR(status);
    }
    next = end;
  }
  return absl::OkStatus();
}

}  // namespace gradwatch::server
