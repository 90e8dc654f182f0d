// A run without a server: for benchmarks, for trying a spec out, and for comparing results bit for bit.
#ifndef GRADWATCH_CLIENT_WORKER_LOCAL_RUN_H_
#define GRADWATCH_CLIENT_WORKER_LOCAL_RUN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/worker/run_summary.h"
#include "core/train/live_controls.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::worker {

struct LocalRunOptions {
  std::string spec_path;
  std::optional<int64_t> steps;                     // instead of the spec's
  std::optional<v1::StatisticsLevel> report_level;  // instead of the spec's
  std::vector<std::string> data_roots;              // empty: the folder of the spec, and the working folder
  bool show_progress = false;                       // on standard error
};

// A run that is ready to start.
class LocalRun {
 public:
  // Reads the spec and the data and builds the model. INVALID_ARGUMENT: the spec; NOT_FOUND: it or a data file.
  static absl::StatusOr<LocalRun> Prepare(const LocalRunOptions& options);

  // What was taken for granted when the data was read; empty if nothing was.
  const std::string& data_note() const { return data_note_; }
  // Runs on the calling thread. Call once.
  RunSummary Run();
  // Any thread, also during Run: ends the run after the present step.
  void Stop() { controls_->SetCommand(core::LiveControls::Command::kStop); }

 private:
  LocalRun() = default;

  int64_t steps_ = 0;
  v1::ResourceEstimate estimate_;
  std::string data_note_;
  bool show_progress_ = false;
  std::unique_ptr<core::LiveControls> controls_;
  std::unique_ptr<core::Trainer> trainer_;
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_LOCAL_RUN_H_
