#include "server/api/statistics_answer.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/api/watch_start.h"
#include "server/base/paging.h"
#include "server/history/encoded_report.h"
#include "server/history/statistics_query.h"

namespace gradwatch::server {
namespace {

using Request = v1::QueryStatisticsRequest;
using Response = v1::QueryStatisticsResponse;

constexpr int kMaxPoints = 10'000;
constexpr int kStandardPoints = 1000;
constexpr int kMaxGlobs = 32;
constexpr size_t kLongestGlob = 256;
// More gaps are told as one, so that no page is too large to be taken; half of them may be damage.
constexpr size_t kMaxGaps = 1000;

absl::Status Check(const Request& request) {
  core::FieldErrors errors;
  if (request.attempt() < 0) errors.Add("attempt", absl::StrCat(request.attempt(), " is negative"));
  if (request.first_step() < 0) errors.Add("first_step", absl::StrCat(request.first_step(), " is negative"));
  if (request.has_last_step() && request.last_step() < std::max<int64_t>(request.first_step(), 0)) {
    errors.Add("last_step", absl::StrCat(request.last_step(), " is before the first step"));
  }
  if (request.max_points() < 0 || request.max_points() > kMaxPoints) {
    errors.Add("max_points", absl::StrCat(request.max_points(), " is not in [0, ", kMaxPoints, "]"));
  }
  if (request.series_size() > kMaxGlobs) {
    errors.Add("series", absl::StrCat(request.series_size(), " are more than ", kMaxGlobs));
  }
  for (int i = 0; i < request.series_size(); ++i) {
    const size_t length = request.series(i).size();
    if (length > 0 && length <= kLongestGlob) continue;
    errors.Add(absl::StrCat("series[", i, "]"), absl::StrCat("must have 1 to ", kLongestGlob, " characters"));
  }
  for (int i = 0; i < request.aggregates_size(); ++i) {
    const int aggregate = request.aggregates(i);
    if (aggregate != Request::AGGREGATE_UNSPECIFIED && Request::Aggregate_IsValid(aggregate)) continue;
    errors.Add(absl::StrCat("aggregates[", i, "]"), absl::StrCat(aggregate, " is not an aggregate"));
  }
  return errors.ToStatus();
}

// Which lists of a series are told.
struct Wanted {
  bool min = false, max = false, last = false, mean = false, count = false;
};

Wanted WantedOf(const Request& request) {
  if (request.aggregates().empty()) return {.min = true, .max = true, .last = true};
  Wanted wanted;
  for (const int aggregate : request.aggregates()) {
    wanted.min |= aggregate == Request::AGGREGATE_MIN;
    wanted.max |= aggregate == Request::AGGREGATE_MAX;
    wanted.last |= aggregate == Request::AGGREGATE_LAST;
    wanted.mean |= aggregate == Request::AGGREGATE_MEAN;
    wanted.count |= aggregate == Request::AGGREGATE_COUNT;
  }
  return wanted;
}

// `page_token` is read elsewhere.
StatisticsQuestion QuestionOf(const Request& request) {
  StatisticsQuestion question;
  question.steps.first = request.first_step();
  if (request.has_last_step()) question.steps.last = request.last_step();
  question.series.assign(request.series().begin(), request.series().end());
  question.newest = request.newest();
  question.histograms = request.histograms();
  const bool points_are_asked_for = !request.newest() && !request.histograms();
  question.max_points = request.max_points() == 0 && points_are_asked_for ? kStandardPoints : request.max_points();
  const Wanted wanted = WantedOf(request);
  question.aggregates = MaskOf(Aggregate::kNonFinite);
  if (wanted.min) question.aggregates |= MaskOf(Aggregate::kMin);
  if (wanted.max) question.aggregates |= MaskOf(Aggregate::kMax);
  if (wanted.last) question.aggregates |= MaskOf(Aggregate::kLast);
  if (wanted.mean) question.aggregates |= MaskOf(Aggregate::kSum);
  if (wanted.count || wanted.mean) question.aggregates |= MaskOf(Aggregate::kCount);
  return question;
}

// What a page token belongs to: the request but for the token, of this very job.
std::string Describe(const v1::Job& job, Request request) {
  request.clear_page_token();
  request.DiscardUnknownFields();
  return absl::StrCat("statistics/", job.uid(), "/", request.SerializeAsString());
}

// A token tells the attempt, then what a PageStart does.
constexpr size_t kTokenNumbers = 3 + kLevels.size();

std::string TokenOf(int32_t attempt, const PageStart& page, absl::string_view list) {
  std::vector<int64_t> place = {attempt, static_cast<int64_t>(page.series), page.histogram_step};
  place.insert(place.end(), page.last_steps.begin(), page.last_steps.end());
  return MakePageToken(place, list);
}

absl::Status ReadToken(const Request& request, absl::string_view list, int32_t* attempt, PageStart* page) {
  if (request.page_token().empty()) return absl::OkStatus();
  GW_ASSIGN_OR_RETURN(const std::vector<int64_t> place, ReadPagePlace(request.page_token(), list, kTokenNumbers));
  *attempt = static_cast<int32_t>(std::clamp<int64_t>(place[0], 0, std::numeric_limits<int32_t>::max()));
  page->series = static_cast<size_t>(std::max<int64_t>(place[1], 0));
  page->histogram_step = place[2];
  std::copy(place.begin() + 3, place.end(), page->last_steps.begin());
  return absl::OkStatus();
}

void AddPoints(const StatisticsAnswer& answer, Response* response) {
  for (const StepRange& point : answer.points) {
    response->add_first_steps(point.first);
    response->add_last_steps(point.last);
  }
  for (const LevelRange& part : answer.parts) {
    v1::StatisticsPart* const told = response->add_parts();
    told->set_first_step(part.steps.first);
    told->set_last_step(part.steps.last);
    told->set_stored_steps(part.level);
  }
}

double MeanOf(const Bucket& bucket) {
  return bucket.count == 0 ? std::numeric_limits<double>::quiet_NaN() : bucket.sum / static_cast<double>(bucket.count);
}

void AddSeries(const SeriesAnswer& series, const Wanted& wanted, Response* response) {
  v1::StatisticsSeries* const told = response->add_series();
  told->set_name(series.series.name);
  if (series.newest.has_value()) told->set_newest(*series.newest);
  bool has_non_finite = false;
  for (const Bucket& bucket : series.points) {
    if (wanted.min) told->add_min(bucket.min);
    if (wanted.max) told->add_max(bucket.max);
    if (wanted.last) told->add_last(bucket.last);
    if (wanted.mean) told->add_mean(MeanOf(bucket));
    if (wanted.count) told->add_count(bucket.count);
    told->add_non_finite(bucket.non_finite);
    has_non_finite |= bucket.non_finite > 0;
  }
  if (!has_non_finite) told->clear_non_finite();
}

// At most half of kMaxGaps: the rest of them as one, whose reason begins with `what`.
void Shorten(absl::string_view what, std::vector<LostSteps>* gaps) {
  constexpr size_t kMost = kMaxGaps / 2;
  if (gaps->size() <= kMost) return;
  const auto rest = gaps->begin() + kMost - 1;
  const auto later = [](const LostSteps& a, const LostSteps& b) { return a.steps.last < b.steps.last; };
  rest->steps.last = std::max_element(rest, gaps->end(), later)->steps.last;
  rest->reason = absl::StrCat(what, "some of these steps, in ", gaps->end() - rest, " ranges");
  gaps->resize(kMost);
}

// Damage is not hidden among many gaps of other kinds.
std::vector<LostSteps> Shortened(std::vector<LostSteps> gaps) {
  if (gaps.size() <= kMaxGaps) return gaps;
  std::vector<LostSteps> damage, others;
  for (LostSteps& gap : gaps) {
    (absl::StartsWith(gap.reason, kDamagedReason) ? damage : others).push_back(std::move(gap));
  }
  Shorten(absl::StrCat(kDamagedReason, ": "), &damage);
  Shorten("", &others);
  gaps.clear();
  std::merge(damage.begin(), damage.end(), others.begin(), others.end(), std::back_inserter(gaps),
             [](const LostSteps& a, const LostSteps& b) { return a.steps.first < b.steps.first; });
  return gaps;
}

void AddGaps(int32_t attempt, std::vector<LostSteps> gaps, Response* response) {
  for (LostSteps& gap : Shortened(std::move(gaps))) {
    v1::StatisticsLost* const told = response->add_gaps();
    told->set_attempt(attempt);
    told->set_first_step(gap.steps.first);
    told->set_last_step(gap.steps.last);
    told->set_reason(std::move(gap.reason));
  }
}

Response ToResponse(int32_t attempt, StatisticsAnswer answer, const Wanted& wanted) {
  Response response;
  response.set_attempt(attempt);
  AddPoints(answer, &response);
  for (const SeriesAnswer& series : answer.series) AddSeries(series, wanted, &response);
  AddGaps(attempt, std::move(answer.gaps), &response);
  for (HistogramAt& histogram : answer.histograms) {
    v1::StepHistogram* const told = response.add_histograms();
    told->set_step(histogram.step);
    told->set_tensor(histogram.tensor);
    *told->mutable_histogram() = std::move(histogram.histogram);
  }
  return response;
}

// A source that is read as long as the answer is wanted.
class WantedSource final : public ForwardingSource {
 public:
  WantedSource(absl::FunctionRef<absl::Status()> wanted, BlockSource* source)
      : ForwardingSource(source), wanted_(wanted) {}

  absl::Status ForEachBatch(int64_t block, absl::FunctionRef<void(absl::string_view)> each) override {
    GW_RETURN_IF_ERROR(wanted_());
    return ForwardingSource::ForEachBatch(block, each);
  }
  absl::Status ForEachRow(int64_t level, TierGroup group, const StepRange& window,
                          absl::FunctionRef<void(const StepRange&, absl::string_view)> each) override {
    GW_RETURN_IF_ERROR(wanted_());
    return ForwardingSource::ForEachRow(level, group, window, each);
  }

 private:
  const absl::FunctionRef<absl::Status()> wanted_;
};

}  // namespace

absl::StatusOr<Response> QueryStatistics(StatisticsStore* store, const v1::Job& job, const Request& request,
                                         absl::FunctionRef<absl::Status()> wanted) {
  GW_RETURN_IF_ERROR(Check(request));
  const std::string list = Describe(job, request);
  StatisticsQuestion question = QuestionOf(request);
  int32_t attempt = request.attempt() == 0 ? job.attempt() : request.attempt();
  GW_RETURN_IF_ERROR(ReadToken(request, list, &attempt, &question.page));
  if (attempt > job.attempt()) {
    return core::WithReason(absl::NotFoundError(absl::StrCat("the job has no attempt ", attempt)), "ATTEMPT_NOT_FOUND");
  }
  const SeriesNames names = {.tensors = TensorNames(job), .layers = store->LayerNames(job.uid())};
  GW_ASSIGN_OR_RETURN(const auto source, store->Source(job.uid(), attempt));
  WantedSource wanted_source(wanted, source.get());
  GW_ASSIGN_OR_RETURN(StatisticsAnswer answer, AnswerQuestion(question, names, &wanted_source));
  const std::optional<PageStart> next = answer.next;
  Response response = ToResponse(attempt, std::move(answer), WantedOf(request));
  if (next.has_value()) response.set_next_page_token(TokenOf(attempt, *next, list));
  return response;
}

}  // namespace gradwatch::server
