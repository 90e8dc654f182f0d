// What the sections of measure_server and measure_storage share: a server with a folder of its own, jobs for it, and
// percentiles.
#ifndef GRADWATCH_TESTS_BENCH_SETTING_H_
#define GRADWATCH_TESTS_BENCH_SETTING_H_

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/lib/spec_reader.h"
#include "tests/support/fake_trainer.h"
#include "tests/support/outside.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::testing {

constexpr int64_t kForEver = 1'000'000'000;

inline void Pause(absl::Duration duration) { absl::Notification().WaitForNotificationWithTimeout(duration); }
inline double Seconds(absl::Time since) { return absl::ToDoubleSeconds(absl::Now() - since); }
inline double Mebibytes(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// What went wrong in a section; it unwinds, so that no process is left behind.
struct Failed {
  std::string what;
};
inline void Check(bool ok, const std::string& what) {
  if (!ok) throw Failed{what};
}
inline void Check(const grpc::Status& status, const std::string& what) {
  Check(status.ok(), absl::StrCat(what, ": ", status.error_message()));
}

inline double Percentile(std::vector<double> values, double percent) {
  if (values.empty()) return -1;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(static_cast<double>(values.size()) * percent / 100))];
}
inline double Median(std::vector<double> values) { return Percentile(std::move(values), 50); }

inline v1::JobSpec Parse(const std::string& yaml) {
  const auto spec = client::ParseJobSpec(yaml, client::SpecSyntax::kYaml, "spec");
  Check(spec.ok(), spec.status().ToString());
  return *spec;
}
// A network whose step takes longer the larger it is: about 5 ms at 384.
inline v1::JobSpec Spec(int64_t steps, int size) {
  return Parse(absl::StrCat("steps: ", steps, "\nmodel:\n  layers:\n    - dense: {units: ", size,
                            "}\n    - activation: {function: relu}\n    - dense: {units: 4}\n"
                            "  loss: {function: softmax_cross_entropy}\ndata:\n  batch_size: ",
                            size, "\n  gaussian_clusters: {classes: 4, features: ", size,
                            "}\noptimizer: {learning_rate: 0.001}\n"));
}

// A server with a folder of its own, and what is said to it.
struct Setting {
  explicit Setting(std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.end(), {"--data-root", folder.path(), "--worker", WriteFakeWorker(folder.path())});
    server = std::make_unique<ServerProcess>(folder.path(), ServerProcess::Options{std::move(arguments), {}, {}});
    Check(server->Start(), server->Errors());
    outside = std::make_unique<Outside>(server->address());
  }
  int64_t StepsDone(const std::string& job_id) const {
    v1::Job job;
    Check(outside->Get(job_id, &job), "GetJob");
    return job.steps_done();
  }
  void Create(const std::string& job_id, const v1::JobSpec& spec) const {
    Check(outside->Create(job_id, spec), "CreateJob");
  }

  TempDir folder;
  std::unique_ptr<ServerProcess> server;
  std::unique_ptr<Outside> outside;
};

// Steps a second of a job; `load`: processors that the server took meanwhile.
inline double StepRate(const Setting& setting, absl::Duration duration, double* load) {
  const absl::Duration processor = ProcessorTime(setting.server->pid());
  const int64_t first = setting.StepsDone("job");
  const absl::Time begin = absl::Now();
  Pause(duration);
  const int64_t last = setting.StepsDone("job");
  *load = absl::ToDoubleSeconds(ProcessorTime(setting.server->pid()) - processor) / Seconds(begin);
  return static_cast<double>(last - first) / Seconds(begin);
}

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_BENCH_SETTING_H_
