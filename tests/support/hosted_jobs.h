// The jobs of deploy/jobs and ../shared/cases/causes by what becomes of them: healthy ones, that no critical alert may
// disturb, and broken ones.
#ifndef GRADWATCH_TESTS_SUPPORT_HOSTED_JOBS_H_
#define GRADWATCH_TESTS_SUPPORT_HOSTED_JOBS_H_

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/lib/spec_reader.h"
#include "core/base/status_macros.h"
#include "core/train/control_edit.h"
#include "tests/support/shared_data.h"
#include "tests/support/shipped_jobs.h"
#include "tests/support/watched_run.h"

namespace gradwatch::testing {

struct HostedJob {
  std::string name;                        // letters, digits and '_'
  std::string path;                        // empty: ../shared is absent
  std::vector<std::string> set{};          // "path=value", as of --set
  std::vector<core::ControlEdit> edits{};  // while it runs
};

// For the names of tests.
inline void PrintTo(const HostedJob& job, std::ostream* out) { *out << job.name; }

inline std::string ShippedPath(const std::string& file) { return absl::StrCat(GRADWATCH_SOURCE_DIR, "/", file); }
inline HostedJob DeployJob(const std::string& name) { return {name, ShippedPath("deploy/jobs/" + name + ".yaml")}; }
inline HostedJob CauseJob(const std::string& name, const std::string& file, std::vector<std::string> set = {}) {
  return {name, SharedFile("cases/causes/" + file + ".yaml"), std::move(set)};
}

// Of ten classes, whose data are made up.
inline HostedJob CuredJob() {
  return {
      "learning_rate_cured", ShippedPath("deploy/jobs/explode_learning_rate.yaml"), {"optimizer.learning_rate=0.1"}};
}

inline std::vector<HostedJob> HealthyJobs() {
  std::vector<HostedJob> jobs;
  for (const char* name : {"adding", "etth1", "mnist_conv", "mnist_dense", "mnist_residual", "shakespeare_lstm",
                           "shakespeare_rnn", "shakespeare_transformer"}) {
    jobs.push_back(DeployJob(name));
  }
  jobs.push_back(CuredJob());
  for (const char* name : {"f1ok", "f2ok", "f3ok", "f4reluok", "f6nobn"}) jobs.push_back(CauseJob(name, name));
  jobs.push_back(CauseJob("f5ok", "f5", {"data.bad_batch.scale=1"}));
  jobs.push_back(CauseJob("csv_standardized", "csv", {"data.csv.standardize=true"}));
  std::vector<std::string> gain_one;  // of its 12 dense layers, with activations between them
  for (int layer = 0; layer <= 22; layer += 2) {
    gain_one.push_back(absl::StrCat("model.layers[", layer, "].dense.weight_init.gain=1"));
  }
  jobs.push_back(CauseJob("big_gain_1", "big", std::move(gain_one)));
  for (const std::string name : {"catapult", "edge_of_stability"}) {
    jobs.push_back({name, ShippedPath("tests/bench/healthy/" + name + ".yaml")});
  }
  return jobs;
}

// A healthy job that is destroyed and goes on: its rate is a hundred times as high for a hundred steps from `at` on,
// and three steps after `at` it is clipped, too late for what it had learnt and before anything overflows.
inline HostedJob Ruined(HostedJob job, int64_t at) {
  job.edits.resize(3);
  job.edits[0] = {.edit = 1, .values = {}, .paths = {"learning_rate_scale"}, .at_step = at};
  job.edits[0].values.set_learning_rate_scale(100);
  job.edits[1] = {.edit = 2, .values = {}, .paths = {"clip.mode", "clip.threshold"}, .at_step = at + 3};
  job.edits[1].values.mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
  job.edits[1].values.mutable_clip()->set_threshold(1);
  job.edits[2] = {.edit = 3, .values = {}, .paths = {"learning_rate_scale"}, .at_step = at + 100};
  job.edits[2].values.set_learning_rate_scale(1);
  return job;
}
inline HostedJob RuinedJob() { return Ruined(CauseJob("res", "res", {"steps=5000"}), 1000); }

inline std::vector<HostedJob> BrokenJobs() {
  std::vector<HostedJob> jobs;
  for (const char* name : {"char_rnn", "explode_bad_batch", "explode_batch_norm", "explode_depth",
                           "explode_initial_scale", "explode_learning_rate", "explode_recurrent_radius"}) {
    jobs.push_back(DeployJob(name));
  }
  for (const char* name : {"big", "csv", "f1", "f2", "f3", "f4relu", "f5", "f6"}) jobs.push_back(CauseJob(name, name));
  jobs.push_back(RuinedJob());
  return jobs;
}

// Runs a job for `steps`, or for its own if that is 0. NOT_FOUND: it or its data are not here.
inline absl::StatusOr<WatchedRun> RunHosted(const HostedJob& job, int64_t steps) {
  if (job.path.empty()) return absl::NotFoundError("no ../shared/cases/causes");
  GW_ASSIGN_OR_RETURN(v1::JobSpec spec, client::ReadJobSpec(job.path));
  for (const std::string& assignment : job.set) GW_RETURN_IF_ERROR(client::SetField(&spec, assignment));
  if (steps > 0) spec.set_steps(steps);
  std::vector<std::string> folders = JobDataFolders();
  if (const std::string causes = SharedFile("cases/causes"); !causes.empty()) folders.push_back(causes);
  GW_ASSIGN_OR_RETURN(const core::DataRoots roots, core::DataRoots::Create(folders));
  WatchOptions options;
  options.edits = job.edits;
  return WatchRun(spec, roots, options);
}

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_HOSTED_JOBS_H_
