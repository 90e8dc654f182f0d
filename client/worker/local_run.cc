#include "client/worker/local_run.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "client/lib/spec_reader.h"
#include "client/worker/local_observer.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/spec/job_spec.h"
#include "core/spec/resource_limits.h"

namespace gradwatch::worker {
namespace {

std::vector<std::string> DefaultDataRoots(const std::string& spec_path) {
  const std::filesystem::path folder = std::filesystem::path(spec_path).parent_path();
  return {folder.empty() ? "." : folder.string(), "."};
}

// Of this program alone; getrusage() would count what was there before it was executed.
int64_t PeakResidentBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kibibytes = 0;
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes << 10;
  }
  return 0;
}

}  // namespace

absl::StatusOr<LocalRun> LocalRun::Prepare(const LocalRunOptions& options) {
  GW_ASSIGN_OR_RETURN(v1::JobSpec spec, client::ReadJobSpec(options.spec_path));
  if (spec.has_external()) {
    return core::InvalidField("external",
                              "this job is trained by a foreign program that attaches to a server by itself: there is "
                              "nothing here to train");
  }
  if (options.steps.has_value()) spec.set_steps(*options.steps);
  if (options.report_level.has_value()) spec.mutable_controls()->set_statistics(*options.report_level);
  GW_ASSIGN_OR_RETURN(
      const core::DataRoots roots,
      core::DataRoots::Create(options.data_roots.empty() ? DefaultDataRoots(options.spec_path) : options.data_roots));
  GW_ASSIGN_OR_RETURN(const core::ValidatedJob job, core::ValidateJob(spec, roots, core::SpecLimits()));

  LocalRun run;
  GW_ASSIGN_OR_RETURN(run.trainer_, core::Trainer::Create(job.spec, roots, {.job_id = "local", .job_uid = "local"},
                                                          &core::RealClock()));
  run.controls_ =
      std::make_unique<core::LiveControls>(core::ControlSnapshot{.revision = 1, .controls = job.spec.controls()});
  run.steps_ = job.spec.steps();
  run.estimate_ = job.estimate;
  run.data_note_ = job.data.note();
  run.show_progress_ = options.show_progress;
  return run;
}

RunSummary LocalRun::Run() {
  LocalObserver observer(steps_, show_progress_, &core::RealClock());
  RunSummary summary;
  summary.data_note = data_note_;
  summary.result = trainer_->Run(*controls_, observer);
  summary.steps_per_second = observer.StepsPerSecond();
  summary.alerts = observer.alerts();
  summary.parameters = estimate_.parameters();
  v1::ResourceEstimate alone = estimate_;
  alone.clear_report_bytes();  // nobody is told
  summary.estimated_bytes = core::EstimatedBytes(alone);
  summary.peak_bytes = PeakResidentBytes();
  return summary;
}

}  // namespace gradwatch::worker
