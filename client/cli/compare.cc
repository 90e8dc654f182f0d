#include "client/cli/compare.h"

#include <cmath>
#include <map>

#include "client/cli/plot.h"
#include "client/lib/resuming_stream.h"

namespace gradwatch::cli {
namespace {

constexpr absl::Duration kTimeout = absl::Minutes(1);
// Only losses are needed. No tensor has this name, since names hold no blanks.
constexpr char kNoTensors[] = "no tensors";

// Collects the curve of a job from its stream, up to where the job was when the stream began.
class CurveReader {
 public:
  explicit CurveReader(const std::string& job_id) { curve_.name = job_id; }

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
    for (const v1::StatisticsLost& lost : response.lost()) steps_left_ = steps_left_ && lost.last_step() < last_step_;
    if (last_step_ < 0) steps_left_ = false;
    return response.has_ended() || response.has_bookmark_time() || (started_ && !events_left_ && !steps_left_);
  }

  Curve Finish() {
    for (const auto& [step, loss] : losses_) curve_.points.push_back({step, loss});
    return std::move(curve_);
  }

 private:
  void TakeEvent(const v1::Event& event) {
    if (event.number() >= last_event_) events_left_ = false;
    if (event.has_adjusted()) curve_.control_steps.push_back(event.adjusted().adjustment().effective_step());
    if (event.has_alert_changed() && event.alert_changed().alert().state() == v1::ALERT_STATE_FIRING) {
      curve_.alert_steps.push_back(event.alert_changed().alert().step());
    }
  }

  void TakeReport(const v1::StepReport& report) {
    losses_[report.step()] = report.loss();  // a later attempt did the step again: it counts
    if (report.attempt() > attempt_ || (report.attempt() == attempt_ && report.step() >= last_step_)) {
      steps_left_ = false;
    }
  }

  Curve curve_;
  std::map<int64_t, double> losses_;
  bool started_ = false, events_left_ = true, steps_left_ = true;
  int64_t last_event_ = 0, last_step_ = -1;
  int attempt_ = 0;
};

absl::StatusOr<Curve> ReadCurve(const std::string& job_id, const Session& session) {
  v1::WatchJobRequest request;
  request.set_job_id(job_id);
  request.set_from_beginning(true);
  request.add_tensors(kNoTensors);
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

JsonObject CurveJson(const Curve& curve) {
  JsonObject object;
  object.Add("job", curve.name).Add("steps", static_cast<int64_t>(curve.points.size()));
  const CurvePoint* best = nullptr;
  int64_t non_finite = 0;
  for (const CurvePoint& point : curve.points) {
    if (!std::isfinite(point.loss)) ++non_finite;
    if (std::isfinite(point.loss) && (best == nullptr || point.loss < best->loss)) best = &point;
  }
  if (!curve.points.empty()) {
    object.Add("first_loss", curve.points.front().loss).Add("last_loss", curve.points.back().loss);
  }
  if (best != nullptr) object.Add("best_loss", best->loss).Add("best_step", best->step);
  object.Add("non_finite_steps", non_finite).AddRaw("alert_steps", StepsJson(curve.alert_steps));
  return object.AddRaw("control_steps", StepsJson(curve.control_steps));
}

}  // namespace

CLI::App* AddCompare(CLI::App& parent, CompareOptions* options) {
  CLI::App* app = parent.add_subcommand("compare", "Draw the loss curves of jobs side by side");
  app->add_option("JOB", options->job_ids, "The jobs")->required();
  app->add_flag("--plain", options->plain, "ASCII only");
  app->add_option("--width", options->width, "Columns; unset: the terminal's")->check(CLI::Range(24, 1000));
  app->add_option("--height", options->height, "Lines of a curve")->check(CLI::Range(3, 100))->capture_default_str();
  return app;
}

absl::StatusOr<ExitCode> RunCompare(const CompareOptions& options, Session& session) {
  std::vector<Curve> curves;
  for (const std::string& job_id : options.job_ids) {
    absl::StatusOr<Curve> curve = ReadCurve(job_id, session);
    if (!curve.ok()) return curve.status();
    curves.push_back(*std::move(curve));
  }
  std::vector<std::string> objects;
  for (const Curve& curve : curves) objects.push_back(CurveJson(curve).Build());
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
