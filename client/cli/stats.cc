#include "client/cli/stats.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/cli/option_types.h"
#include "client/cli/report_text.h"
#include "client/cli/statistics_reader.h"
#include "client/cli/text.h"
#include "client/lib/glob.h"
#include "client/lib/number_option.h"
#include "client/lib/printable.h"
#include "client/lib/suggestion.h"

namespace gradwatch::cli {
namespace {

using Rows = std::vector<std::vector<std::string>>;
using Response = v1::QueryStatisticsResponse;

constexpr int kPointsForPeople = 20;
constexpr int kPointsForPrograms = 1000;
constexpr int kMaxPoints = 10'000;
constexpr int kGapsTold = 3;

v1::QueryStatisticsRequest MakeRequest(const StatsOptions& options, const v1::Job& job, const Session& session) {
  v1::QueryStatisticsRequest request;
  request.set_job_id(options.job_id);
  request.set_attempt(options.attempt);
  if (options.from_step.has_value()) request.set_first_step(*options.from_step);
  if (options.to_step.has_value()) request.set_last_step(*options.to_step);
  for (const std::string& glob : options.series) request.add_series(glob);
  request.set_newest(options.newest);
  request.set_histograms(options.histograms);
  if (options.histograms && options.series.empty() && job.tensors_size() > 0) request.add_series("tensor/*/norm");
  if (options.newest || options.histograms) return request;
  const int standard = session.output() == Output::kTable ? kPointsForPeople : kPointsForPrograms;
  request.set_max_points(options.points > 0 ? options.points : standard);
  for (const auto aggregate : {v1::QueryStatisticsRequest::AGGREGATE_MIN, v1::QueryStatisticsRequest::AGGREGATE_MEAN,
                               v1::QueryStatisticsRequest::AGGREGATE_MAX, v1::QueryStatisticsRequest::AGGREGATE_LAST,
                               v1::QueryStatisticsRequest::AGGREGATE_COUNT}) {
    request.add_aggregates(aggregate);
  }
  return request;
}

// How values are written: for people, or for programs.
struct Writer {
  std::string (*number)(double);
  const char* nothing;
};
constexpr Writer kForPeople = {.number = NumberText, .nothing = "-"};
constexpr Writer kForPrograms = {.number = ExactText, .nothing = ""};

// A row for each point in which a series has something.
Rows PointRows(const Response& answer, const Writer& writer) {
  Rows rows;
  for (const v1::StatisticsSeries& series : answer.series()) {
    for (int i = 0; i < answer.first_steps_size(); ++i) {
      const int64_t count = series.count(i), non_finite = series.non_finite().empty() ? 0 : series.non_finite(i);
      if (count + non_finite == 0) continue;
      const auto finite = [&](double value) { return count > 0 ? writer.number(value) : std::string(writer.nothing); };
      rows.push_back({series.name(), absl::StrCat(answer.first_steps(i)), absl::StrCat(answer.last_steps(i)),
                      finite(series.min(i)), finite(series.mean(i)), finite(series.max(i)),
                      writer.number(series.last(i)), absl::StrCat(non_finite)});
    }
  }
  return rows;
}

// The largest first, before them what is not finite.
Rows NewestRows(const Response& answer, const Writer& writer) {
  std::vector<const v1::StatisticsSeries*> known;
  for (const v1::StatisticsSeries& series : answer.series()) {
    if (series.has_newest()) known.push_back(&series);
  }
  const auto rank = [](const v1::StatisticsSeries* series) {
    return std::isfinite(series->newest()) ? series->newest() : INFINITY;
  };
  std::stable_sort(known.begin(), known.end(), [&rank](const auto* a, const auto* b) { return rank(a) > rank(b); });
  Rows rows;
  for (const v1::StatisticsSeries* series : known) rows.push_back({series->name(), writer.number(series->newest())});
  return rows;
}

// A row for each bucket that is not empty: how many elements of one sign have a magnitude in [from, to).
void AddBuckets(const std::vector<std::string>& place, const char* sign, int offset,
                const google::protobuf::RepeatedField<int64_t>& counts, int64_t stride, const Writer& writer,
                Rows* rows) {
  for (int i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    std::vector<std::string> row = place;
    row.insert(row.end(), {sign, writer.number(std::ldexp(1, offset + i)), writer.number(std::ldexp(1, offset + i + 1)),
                           absl::StrCat(counts[i] * stride)});
    rows->push_back(std::move(row));
  }
}

Rows HistogramRows(const Response& answer, const v1::Job& job, const Writer& writer) {
  Rows rows;
  for (const v1::StepHistogram& told : answer.histograms()) {
    const bool is_known = told.tensor() >= 0 && told.tensor() < job.tensors_size();
    const std::vector<std::string> place = {absl::StrCat(told.step()),
                                            is_known ? job.tensors(told.tensor()).name() : absl::StrCat(told.tensor())};
    const v1::Histogram& histogram = told.histogram();
    const int64_t stride = histogram.has_sample_stride() ? histogram.sample_stride() : 1;
    if (histogram.zero_count() > 0) {
      rows.push_back({place[0], place[1], "zero", "0", "0", absl::StrCat(histogram.zero_count())});
    }
    AddBuckets(place, "negative", histogram.negative_offset(), histogram.negative_counts(), stride, writer, &rows);
    AddBuckets(place, "positive", histogram.positive_offset(), histogram.positive_counts(), stride, writer, &rows);
  }
  return rows;
}

// As RFC 4180 has it, but for its line ends.
std::string CsvText(const Rows& rows) {
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    std::vector<std::string> cells;
    for (const std::string& cell : row) {
      const bool is_plain = cell.find_first_of(",\"") == std::string::npos;
      cells.push_back(is_plain ? cell : absl::StrCat("\"", absl::StrReplaceAll(cell, {{"\"", "\"\""}}), "\""));
    }
    absl::StrAppend(&text, absl::StrJoin(cells, ","), "\n");
  }
  return text;
}

// What a job may be asked for beside its tensors and layers.
std::vector<std::string> SeriesOfJobs() {
  return {"loss",          "validation_loss", "grad_norm",    "norm_after",
          "learning_rate", "threshold",       "step_seconds", "non_finite"};
}

std::vector<std::string> SeriesOfTensors(const std::string& job_id, const Session& session) {
  std::vector<std::string> names;
  const absl::StatusOr<v1::Job> job = session.GetJob(job_id);
  if (!job.ok()) return names;
  for (const v1::TensorInfo& tensor : job->tensors()) {
    for (const char* what : {"norm", "max_abs", "update_ratio", "mean"}) {
      names.push_back(absl::StrCat("tensor/", tensor.name(), "/", what));
    }
  }
  return names;
}

bool MatchesAny(const std::string& glob, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(),
                     [&glob](const std::string& name) { return client::GlobMatches(glob, name); });
}

// Globs that match nothing, which neither a table nor a program is told by an answer without them. A hint.
void NoteUnknownSeries(const StatsOptions& options, const Response& answer, const Session& session) {
  std::vector<std::string> known = SeriesOfJobs();
  for (const v1::StatisticsSeries& series : answer.series()) known.push_back(series.name());
  bool asked = false;
  for (const std::string& glob : options.series) {
    if (MatchesAny(glob, known)) continue;
    if (!std::exchange(asked, true)) {
      for (std::string& name : SeriesOfTensors(options.job_id, session)) known.push_back(std::move(name));
    }
    if (MatchesAny(glob, known)) continue;
    session.Note(absl::StrCat("gradwatch: no series of ", options.job_id, " matches --series ", ShellQuoted(glob),
                              client::NearestSuggestion(glob, known)));
  }
}

// Prints rows as a table, or as CSV.
void PrintRows(const std::vector<std::string>& table_header, const std::vector<std::string>& csv_header, Rows rows,
               const Session& session) {
  const bool is_table = session.output() == Output::kTable;
  if (is_table && rows.empty()) return session.PrintText("no statistics of these steps");
  rows.insert(rows.begin(), is_table ? table_header : csv_header);
  for (std::vector<std::string>& row : rows) {
    for (std::string& cell : row) cell = client::Printable(cell);  // one line each, whatever a name has in it
  }
  session.PrintText(is_table ? TableText(rows) : CsvText(rows));
}

void PrintForm(const StatsOptions& options, const Response& answer, const v1::Job& job, const Session& session) {
  const Writer& writer = session.output() == Output::kTable ? kForPeople : kForPrograms;
  if (options.newest) {
    PrintRows({"SERIES", "NEWEST"}, {"series", "newest"}, NewestRows(answer, writer), session);
  } else if (options.histograms) {
    PrintRows({"STEP", "TENSOR", "SIGN", "FROM", "BELOW", "ELEMENTS"},
              {"step", "tensor", "sign", "from", "below", "elements"}, HistogramRows(answer, job, writer), session);
  } else {
    PrintRows({"SERIES", "FROM STEP", "TO STEP", "MIN", "MEAN", "MAX", "LAST", "NOT FINITE"},
              {"series", "first_step", "last_step", "min", "mean", "max", "last", "non_finite"},
              PointRows(answer, writer), session);
  }
}

// The table and CSV have no place for what is not there.
void NoteGaps(const Response& answer, const Session& session) {
  for (int i = 0; i < std::min(answer.gaps_size(), kGapsTold); ++i) {
    session.Note(absl::StrCat("gradwatch: ", LostText(answer.gaps(i))));
  }
  if (answer.gaps_size() <= kGapsTold) return;
  session.Note(
      absl::StrCat("gradwatch: and ", answer.gaps_size() - kGapsTold, " more ranges of steps; -o json tells all"));
}

// Not all histograms were read.
void NoteMore(const Response& answer, const Session& session) {
  const int64_t last = answer.histograms().empty() ? -1 : answer.histograms().rbegin()->step();
  session.Note(absl::StrCat("gradwatch: there are more histograms: --from-step ", last + 1));
}

}  // namespace

CLI::App* AddStats(CLI::App& parent, StatsOptions* options) {
  CLI::App* app = parent.add_subcommand("stats", "Print the statistics of a job, any of them over any steps");
  app->add_option("JOB", options->job_id, "The job")->required();
  app->add_option("--series", options->series,
                  "Series that match this glob; may be repeated; unset: the job's own. loss, validation_loss,\n"
                  "grad_norm, norm_after, learning_rate, threshold, step_seconds, non_finite; tensor/NAME/ with norm,\n"
                  "max_abs, update_ratio, mean; layer/NAME/ with output_mean, output_variance, saturated, dead,\n"
                  "backward_norm, backward_growth, largest_logit, attention_entropy")
      ->check(NotEmpty())
      ->allow_extra_args(false)
      ->take_all();
  AddCountOption(*app, "--attempt", options->attempt, "Of this attempt; unset: the present one");
  AddStepOption(*app, "--from-step", options->from_step, "From this step on");
  AddStepOption(*app, "--to-step", options->to_step, "Up to this step");
  auto* points = client::AddWholeOption(*app, "--points", options->points,
                                        "Points at most; a spike is in every answer; unset: 20, for programs 1000",
                                        {.least = 1, .most = kMaxPoints, .name = "a whole number from 1 to 10000"});
  auto* newest = app->add_flag("--newest", options->newest, "The newest value of each series instead, largest first")
                     ->excludes(points);
  app->add_flag("--histograms", options->histograms,
                "The histograms of the tensors of the series instead (no --series: of all tensors), of each step that\n"
                "has some, about 10000 of them; standard error says where the others begin")
      ->excludes(points)
      ->excludes(newest);
  app->footer(
      "With -o csv too. Points are closed ranges of steps, rounded outwards to the ranges in which older steps are\n"
      "stored; \"not finite\" counts steps on which the value, or an element of what it measures, was NaN or "
      "infinite.");
  return app;
}

absl::StatusOr<ExitCode> RunStats(const StatsOptions& options, Session& session) {
  if (options.from_step.value_or(0) > options.to_step.value_or(std::numeric_limits<int64_t>::max())) {
    return absl::InvalidArgumentError(
        absl::StrCat("--to-step ", *options.to_step, ": lies before --from-step ", *options.from_step));
  }
  v1::Job job;  // for the names of its tensors
  if (options.histograms) {
    absl::StatusOr<v1::Job> found = session.GetJob(options.job_id);
    if (!found.ok()) return found.status();
    job = *std::move(found);
  }
  const absl::StatusOr<Response> answer = ReadStatistics(session, MakeRequest(options, job, session));
  if (!answer.ok()) return answer.status();
  if (!answer->next_page_token().empty()) NoteMore(*answer, session);
  NoteUnknownSeries(options, *answer, session);
  const bool is_for_people = session.output() == Output::kTable || session.output() == Output::kCsv;
  if (!is_for_people) {
    session.Print(*answer, nullptr);
    return ExitCode::kSuccess;
  }
  PrintForm(options, *answer, job, session);
  NoteGaps(*answer, session);
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
