#include "client/cli/compare.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/event_text.h"
#include "client/cli/plot.h"
#include "client/cli/statistics_reader.h"
#include "client/lib/number_option.h"
#include "client/lib/resuming_stream.h"

namespace gradwatch::cli {
namespace {

constexpr absl::Duration kTimeout = absl::Minutes(1);

// Points of a curve: as many as the widest terminal shows.
constexpr int kPoints = 2000;
constexpr int kMostPoints = 10'000;

// What was read of a job.
struct History {
  Curve curve;
  int64_t steps = 0;  // with a loss
  int64_t non_finite = 0;
  int64_t validations = 0;
  int64_t steps_lost = 0;
};

// Steps of a curve and what lies in them.
struct Piece {
  int attempt;
  int64_t first_step, last_step;
  double min, max, last;
  int64_t finite, non_finite;
};
using Pieces = std::vector<Piece>;

Pieces PiecesOf(int attempt, const v1::QueryStatisticsResponse& answer) {
  Pieces pieces;
  if (answer.series().empty()) return pieces;
  const v1::StatisticsSeries& series = answer.series(0);
  for (int i = 0; i < answer.first_steps_size(); ++i) {
    const int64_t non_finite = series.non_finite().empty() ? 0 : series.non_finite(i);
    if (series.count(i) + non_finite == 0) continue;
    pieces.push_back({attempt, answer.first_steps(i), answer.last_steps(i), series.min(i), series.max(i),
                      series.last(i), series.count(i), non_finite});
  }
  return pieces;
}

// What the piece tells of fewer steps, where nothing finer is kept: its extremes may be those of the others.
Piece Cut(Piece piece, int64_t first_step, int64_t last_step) {
  piece.first_step = std::max(piece.first_step, first_step);
  piece.last_step = std::min(piece.last_step, last_step);
  const int64_t steps = piece.last_step - piece.first_step + 1;
  piece.non_finite = std::min(piece.non_finite, steps);
  piece.finite = std::min(piece.finite, steps - piece.non_finite);
  return piece;
}

// In the order of steps: a spike and what is not finite are in it, wherever in the piece they were.
void AddPoints(const Piece& piece, std::vector<CurvePoint>* points) {
  const int64_t middle = piece.first_step + (piece.last_step - piece.first_step) / 2;
  if (piece.finite + piece.non_finite > 1) {
    if (piece.finite > 0) points->push_back({piece.first_step, piece.max});
    if (piece.non_finite > 0) points->push_back({middle, std::numeric_limits<double>::quiet_NaN()});
    if (piece.finite > 0) points->push_back({middle, piece.min});
  }
  points->push_back({piece.last_step, piece.last});
}

// Reads the curves of a job from what is stored of it.
class CurveReader {
 public:
  CurveReader(const std::string& job_id, int attempts, const Session& session)
      : job_id_(job_id), attempts_(attempts), session_(session) {}

  absl::StatusOr<History> Read() {
    history_.curve.name = job_id_;
    const absl::StatusOr<Pieces> losses = ReadSeries("loss", &history_.curve.points);
    if (!losses.ok()) return losses.status();
    for (const Piece& piece : *losses) {
      history_.steps += piece.finite + piece.non_finite;
      history_.non_finite += piece.non_finite;
    }
    steps_lost_ = nullptr;  // the same for all series
    const absl::StatusOr<Pieces> validations = ReadSeries("validation_loss", &history_.curve.validation);
    if (!validations.ok()) return validations.status();
    for (const Piece& piece : *validations) history_.validations += piece.finite + piece.non_finite;
    return std::move(history_);
  }

 private:
  absl::StatusOr<Pieces> Ask(const char* series, int attempt, int64_t first_step, absl::optional<int64_t> last_step,
                             int points) const {
    v1::QueryStatisticsRequest request;
    request.set_job_id(job_id_);
    request.set_attempt(attempt);
    request.set_first_step(first_step);
    if (last_step.has_value()) request.set_last_step(*last_step);
    request.set_max_points(points);
    request.add_series(series);
    for (const auto aggregate :
         {v1::QueryStatisticsRequest::AGGREGATE_MIN, v1::QueryStatisticsRequest::AGGREGATE_MAX,
          v1::QueryStatisticsRequest::AGGREGATE_LAST, v1::QueryStatisticsRequest::AGGREGATE_COUNT}) {
      request.add_aggregates(aggregate);
    }
    const auto answer = ReadStatistics(session_, request);
    if (!answer.ok()) return answer.status();
    for (const v1::StatisticsLost& gap : answer->gaps()) {
      if (steps_lost_ != nullptr && !last_step.has_value()) *steps_lost_ += gap.last_step() - gap.first_step() + 1;
    }
    return PiecesOf(attempt, *answer);
  }

  // The series over all attempts; where it begins, ends and is best step by step, if these are kept.
  absl::StatusOr<Pieces> ReadSeries(const char* series, std::vector<CurvePoint>* points) {
    Pieces all;
    for (int attempt = 1; attempt <= attempts_; ++attempt) {
      absl::StatusOr<Pieces> pieces = Ask(series, attempt, 0, absl::nullopt, kPoints);
      if (pieces.ok()) pieces = Refined(series, attempt, *std::move(pieces));
      if (pieces.ok()) pieces = Over(series, all, *pieces);
      if (!pieces.ok()) return pieces;
      all = *std::move(pieces);
    }
    for (const Piece& piece : all) AddPoints(piece, points);
    return all;
  }

  // The pieces of earlier attempts, as far as `later`, which did its steps again, has left of them.
  absl::StatusOr<Pieces> Over(const char* series, const Pieces& earlier, const Pieces& later) const {
    if (later.empty()) return earlier;
    Pieces all, behind;
    for (const Piece& piece : earlier) {
      absl::Status status = AddPart(series, piece, 0, later.front().first_step - 1, &all);
      if (status.ok()) {
        status = AddPart(series, piece, later.back().last_step + 1, std::numeric_limits<int64_t>::max(), &behind);
      }
      if (!status.ok()) return status;
    }
    all.insert(all.end(), later.begin(), later.end());
    all.insert(all.end(), behind.begin(), behind.end());
    return all;
  }

  // What of the piece lies between these steps: of one that reaches beyond them it is asked for.
  absl::Status AddPart(const char* series, const Piece& piece, int64_t first_step, int64_t last_step,
                       Pieces* parts) const {
    const int64_t first = std::max(first_step, piece.first_step), last = std::min(last_step, piece.last_step);
    if (last < first) return absl::OkStatus();
    if (first == piece.first_step && last == piece.last_step) {
      parts->push_back(piece);
      return absl::OkStatus();
    }
    const absl::StatusOr<Pieces> fine = Ask(series, piece.attempt, first, last, kMostPoints);
    if (!fine.ok()) return fine.status();
    for (const Piece& part : *fine) {
      if (part.first_step <= last && first <= part.last_step) parts->push_back(Cut(part, first, last));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Pieces> Refined(const char* series, int attempt, Pieces pieces) const {
    if (pieces.empty()) return pieces;
    const auto lowest = [](const Piece& a, const Piece& b) { return a.finite > 0 && !(b.min <= a.min); };
    const size_t best = static_cast<size_t>(std::min_element(pieces.begin(), pieces.end(), lowest) - pieces.begin());
    std::vector<size_t> places = {pieces.size() - 1, best, 0};  // from behind: what is put in moves what follows
    places.erase(std::unique(places.begin(), places.end()), places.end());
    for (const size_t place : places) {
      const Piece& piece = pieces[place];
      if (piece.finite + piece.non_finite == 1 && piece.first_step == piece.last_step) continue;
      absl::StatusOr<Pieces> fine = Ask(series, attempt, piece.first_step, piece.last_step, kMostPoints);
      if (!fine.ok()) return fine;
      if (fine->empty()) continue;
      pieces.insert(pieces.erase(pieces.begin() + static_cast<int64_t>(place)), fine->begin(), fine->end());
    }
    return pieces;
  }

  const std::string& job_id_;
  const int attempts_;
  const Session& session_;
  History history_;
  int64_t* steps_lost_ = &history_.steps_lost;
};

// Adds where controls changed and alerts fired, up to where the job is when the stream begins.
absl::Status ReadMarks(const std::string& job_id, const Session& session, Curve* curve) {
  v1::WatchJobRequest request;
  request.set_job_id(job_id);
  request.set_from_beginning(true);
  request.set_events_only(true);
  client::ResumeOptions options;
  options.deadline = session.Deadline(kTimeout);
  auto stream = client::WatchJob(session.connection(), request, options);
  int64_t last_event = 0;
  std::set<std::string> fired;
  while (true) {
    const auto response = stream->Next();
    if (!response.ok()) return response.status();
    if (!response->has_value()) return absl::OkStatus();
    if ((*response)->has_started()) last_event = (*response)->started().last_event();
    int64_t number = last_event == 0 ? 0 : -1;
    for (const v1::Event& event : (*response)->events()) {
      if (event.has_adjusted()) curve->control_steps.push_back(event.adjusted().adjustment().effective_step());
      const v1::Alert& alert = event.alert_changed().alert();  // told again where its severity changes
      if (BeginsToFire(event) && fired.insert(alert.alert_id()).second) curve->alert_steps.push_back(alert.step());
      number = event.number();
    }
    if (number >= last_event || (*response)->has_ended() || (*response)->has_bookmark_time()) return absl::OkStatus();
  }
}

absl::StatusOr<History> ReadHistory(const std::string& job_id, const Session& session) {
  const absl::StatusOr<v1::Job> job = session.GetJob(job_id);
  if (!job.ok()) return job.status();
  absl::StatusOr<History> history = CurveReader(job_id, job->attempt(), session).Read();
  if (!history.ok()) return history;
  const absl::Status marks = ReadMarks(job_id, session, &history->curve);
  if (!marks.ok()) return marks;
  return history;
}

std::string StepsJson(const std::vector<int64_t>& steps) {
  std::vector<std::string> texts;
  for (const int64_t step : steps) texts.push_back(std::to_string(step));
  return JsonArray(texts);
}

void AddBest(const std::vector<CurvePoint>& points, JsonObject* object) {
  if (const CurvePoint* best = BestPoint(points); best != nullptr) {
    object->Add("best_loss", best->loss).Add("best_step", best->step);
  }
}

JsonObject HistoryJson(const History& history) {
  const Curve& curve = history.curve;
  JsonObject object;
  object.Add("job", curve.name).Add("steps", history.steps);
  if (!curve.points.empty()) {
    object.Add("first_loss", curve.points.front().loss).Add("last_loss", curve.points.back().loss);
  }
  AddBest(curve.points, &object);
  object.Add("non_finite_losses", history.non_finite).AddRaw("alert_steps", StepsJson(curve.alert_steps));
  object.AddRaw("control_steps", StepsJson(curve.control_steps)).Add("steps_lost", history.steps_lost);
  if (curve.validation.empty()) return object;
  JsonObject validation;
  const CurvePoint& last = curve.validation.back();
  validation.Add("times", history.validations);
  validation.Add("last_loss", last.loss).Add("last_step", last.step);
  AddBest(curve.validation, &validation);
  return object.Add("validation", validation);
}

}  // namespace

CLI::App* AddCompare(CLI::App& parent, CompareOptions* options) {
  CLI::App* app = parent.add_subcommand("compare", "Draw the loss curves of jobs side by side");
  app->add_option("JOB", options->job_ids, "The jobs")->required();
  app->add_flag("--plain", options->plain, "ASCII only");
  client::AddWholeOption(*app, "--width", options->width, "Columns; unset: the terminal's",
                         {.least = 24, .most = 1000, .name = "a whole number from 24 to 1000"});
  client::AddWholeOption(*app, "--height", options->height, "Lines of a curve",
                         {.least = 3, .most = 100, .name = "a whole number from 3 to 100"})
      ->capture_default_str();
  return app;
}

absl::StatusOr<ExitCode> RunCompare(const CompareOptions& options, Session& session) {
  std::vector<Curve> curves;
  std::vector<std::string> objects;
  for (const std::string& job_id : options.job_ids) {
    absl::StatusOr<History> history = ReadHistory(job_id, session);
    if (!history.ok()) return history.status();
    if (history->steps_lost > 0) {
      session.Note(
          absl::StrCat("gradwatch: the statistics of ", history->steps_lost, " steps of ", job_id, " are lost"));
    }
    objects.push_back(HistoryJson(*history).Build());
    curves.push_back(std::move(history->curve));
  }
  session.Print(JsonObject().AddRaw("jobs", JsonArray(objects)), [&] {
    PlotOptions plot;
    plot.width = options.width > 0 ? options.width : session.io().width;
    plot.height = options.height;
    plot.plain = options.plain;
    return PlotCurves(curves, plot);
  });
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
