#include "client/cli/compare.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/event_text.h"
#include "client/cli/plot.h"
#include "client/lib/number_option.h"
#include "client/lib/resuming_stream.h"

namespace gradwatch::cli {
namespace {

constexpr absl::Duration kTimeout = absl::Minutes(1);

// What was read of a job.
struct History {
  Curve curve;
  int64_t steps_lost = 0;
};

// Collects the curve of a job from its stream, up to where the job was when the stream began.
class CurveReader {
 public:
  explicit CurveReader(const std::string& job_id) { history_.curve.name = job_id; }

  // Returns whether everything was read.
  bool Take(const v1::WatchJobResponse& response) {
    if (response.has_started() && !started_) {
      started_ = true;
      events_left_ = response.started().last_event() > 0;
      last_event_ = response.started().last_event();
      last_step_ = response.started().job().steps_done() - 1;
      attempt_ = response.started().job().attempt();
    }
    for (const v1::Event& event : response.events()) TakeEvent(event);
    for (const v1::StepReport& report : response.reports()) TakeReport(report);
    for (const v1::StatisticsLost& lost : response.lost()) TakeLost(lost);
    if (last_step_ < 0) steps_left_ = false;
    return response.has_ended() || response.has_bookmark_time() || (started_ && !events_left_ && !steps_left_);
  }

  History Finish() {
    for (const auto& [step, loss] : losses_) history_.curve.points.push_back({step, loss});
    for (const auto& [step, loss] : validation_) history_.curve.validation.push_back({step, loss});
    return std::move(history_);
  }

 private:
  void TakeEvent(const v1::Event& event) {
    if (event.number() >= last_event_) events_left_ = false;
    if (event.has_adjusted()) history_.curve.control_steps.push_back(event.adjusted().adjustment().effective_step());
    if (BeginsToFire(event)) history_.curve.alert_steps.push_back(event.alert_changed().alert().step());
  }

  void TakeReport(const v1::StepReport& report) {
    losses_[report.step()] = report.loss();  // a later attempt did the step again: it counts
    if (report.has_validation()) validation_[report.step()] = report.validation().loss();
    Reach(report.attempt(), report.step());
  }

  void TakeLost(const v1::StatisticsLost& lost) {
    history_.steps_lost += lost.last_step() - lost.first_step() + 1;
    Reach(lost.attempt(), lost.last_step());
  }

  void Reach(int attempt, int64_t step) {
    if (attempt > attempt_ || (attempt == attempt_ && step >= last_step_)) steps_left_ = false;
  }

  History history_;
  std::map<int64_t, double> losses_, validation_;
  bool started_ = false, events_left_ = true, steps_left_ = true;
  int64_t last_event_ = 0, last_step_ = -1;
  int attempt_ = 0;
};

absl::StatusOr<History> ReadHistory(const std::string& job_id, const Session& session) {
  const absl::StatusOr<v1::Job> job = session.GetJob(job_id);
  if (!job.ok()) return job.status();
  v1::WatchJobRequest request;
  request.set_job_id(job_id);
  request.set_from_beginning(true);
  // Only losses are needed, and a filter must match some tensor: one is less than all.
  if (!job->tensors().empty()) request.add_tensors(job->tensors(0).name());
  client::ResumeOptions options;
  options.deadline = session.Deadline(kTimeout);
  auto stream = client::WatchJob(session.connection(), request, options);
  CurveReader reader(job_id);
  while (true) {
    const auto response = stream->Next();
    if (!response.ok()) return response.status();
    if (!response->has_value() || reader.Take(**response)) return reader.Finish();
  }
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
  object.Add("job", curve.name).Add("steps", static_cast<int64_t>(curve.points.size()));
  if (!curve.points.empty()) {
    object.Add("first_loss", curve.points.front().loss).Add("last_loss", curve.points.back().loss);
  }
  AddBest(curve.points, &object);
  const int64_t non_finite = std::count_if(curve.points.begin(), curve.points.end(),
                                           [](const CurvePoint& point) { return !std::isfinite(point.loss); });
  object.Add("non_finite_losses", non_finite).AddRaw("alert_steps", StepsJson(curve.alert_steps));
  object.AddRaw("control_steps", StepsJson(curve.control_steps)).Add("steps_lost", history.steps_lost);
  if (curve.validation.empty()) return object;
  JsonObject validation;
  const CurvePoint& last = curve.validation.back();
  validation.Add("times", static_cast<int64_t>(curve.validation.size()));
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
