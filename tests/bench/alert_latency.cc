#include "tests/bench/alert_latency.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "core/base/timestamp.h"
#include "tests/bench/setting.h"

namespace gradwatch::testing {
namespace {

constexpr char kRule[] = "norm";
constexpr int64_t kTrialSteps = 100'000;
// An alert fires on one step in so many, and is resolved when so many in a row were quiet.
constexpr int64_t kFiresEvery = 10'000, kQuietSteps = 1'000;

// A small network at full speed that learns next to nothing, so that its norm has one distribution for ever.
v1::JobSpec NoisySpec(int64_t steps, double max_norm) {
  return Parse(absl::StrCat("steps: ", steps,
                            "\nseed: 1\nmodel:\n  layers:\n    - dense: {units: 16}\n"
                            "    - activation: {function: relu}\n    - dense: {units: 4}\n"
                            "  loss: {function: softmax_cross_entropy}\ndata:\n  batch_size: 16\n"
                            "  gaussian_clusters: {classes: 4, features: 16}\noptimizer: {learning_rate: 0.000000001}\n"
                            "rules: {preset: none, rules: [{name: ",
                            kRule, ", norm_limit: {max_norm: ", max_norm, "}, resolve_after_steps: ", kQuietSteps,
                            "}]}\n"));
}

// The norm that the network exceeds on one step of kFiresEvery.
double RareNorm() {
  Setting setting;
  setting.Create("trial", NoisySpec(kTrialSteps, 1e30));
  Check(setting.outside->AwaitEnd("trial"), "the trial does not end");
  v1::WatchJobRequest request;
  request.set_job_id("trial");
  request.set_from_beginning(true);
  std::vector<double> norms;
  const bool whole = setting.outside->Watch(request, [&norms](const v1::WatchJobResponse& response) {
    for (const v1::StepReport& report : response.reports()) norms.push_back(report.grad_norm());
    return response.has_ended();
  });
  Check(whole && norms.size() == kTrialSteps, "the trial's reports are not whole");
  return Percentile(std::move(norms), 100 - 100.0 / kFiresEvery);
}

// Does something twenty times a second on a thread of its own, and keeps how many milliseconds each took.
class Sampler {
 public:
  explicit Sampler(std::function<void()> sample) : thread_([this, sample = std::move(sample)] { Run(sample); }) {}
  std::vector<double> Finish() {
    over_.Notify();
    thread_.join();
    return std::move(milliseconds_);
  }

 private:
  void Run(const std::function<void()>& sample) {
    while (!over_.WaitForNotificationWithTimeout(absl::Milliseconds(50))) {
      const absl::Time begin = absl::Now();
      sample();
      milliseconds_.push_back(Seconds(begin) * 1e3);
    }
  }

  absl::Notification over_;
  std::vector<double> milliseconds_;
  std::thread thread_;
};

// 4 KiB of a file that is as long before as after, as a write-ahead log that is written over.
class SyncedFile {
 public:
  explicit SyncedFile(const std::string& path) : file_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    Check(file_ >= 0, path);
    for (int i = 0; i < kPages; ++i) Write(i);
    Check(fsync(file_) == 0, "fsync");
  }
  ~SyncedFile() { close(file_); }
  SyncedFile(const SyncedFile&) = delete;
  SyncedFile& operator=(const SyncedFile&) = delete;

  void WriteNext() {
    Write(next_++ % kPages);
    if (fdatasync(file_) != 0) std::cerr << "fdatasync failed" << std::endl;
  }

 private:
  static constexpr int kPages = 1024, kPage = 4096;
  void Write(int page) const {
    const std::vector<char> bytes(kPage, static_cast<char>(page));
    if (pwrite(file_, bytes.data(), kPage, off_t{page} * kPage) != kPage) std::cerr << "pwrite failed" << std::endl;
  }

  const int file_;
  int next_ = 0;
};

class LatencyProbe {
 public:
  explicit LatencyProbe(const std::string& address)
      : process_(std::make_unique<Process>(std::vector<std::string>{"/proc/self/exe", "probe-latency", address})) {
    Check(process_->ReadUntil("ready").has_value(), "the probe of alerts: " + process_->Errors());
    reader_ = std::thread([this] { Read(); });
  }
  ~LatencyProbe() {
    process_->Signal(SIGKILL);
    reader_.join();
  }

  // Milliseconds of all alerts that were told since the last call.
  std::vector<double> Take() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(milliseconds_, {});
  }

 private:
  void Read() {
    while (const auto line = process_->ReadLine(absl::Minutes(10))) {
      absl::string_view text = *line;
      double milliseconds = 0;
      if (!absl::ConsumePrefix(&text, "told ") || !absl::SimpleAtod(text, &milliseconds)) continue;
      absl::MutexLock lock(&mutex_);
      milliseconds_.push_back(milliseconds);
    }
  }

  std::unique_ptr<Process> process_;
  absl::Mutex mutex_;
  std::vector<double> milliseconds_ ABSL_GUARDED_BY(mutex_);
  std::thread reader_;
};

std::string Row(const std::vector<double>& milliseconds) {
  std::string row;
  for (const double percent : {50.0, 90.0, 99.0, 100.0}) {
    absl::StrAppend(&row, absl::StrFormat("%8.2f", Percentile(milliseconds, percent)));
  }
  return row;
}

int64_t AllSteps(const Setting& setting, int jobs) {
  int64_t steps = 0;
  for (int i = 0; i < jobs; ++i) steps += setting.StepsDone(absl::StrCat("busy-", i));
  return steps;
}

void MeasureBeside(int jobs, double max_norm, absl::Duration duration) {
  Setting setting({"--max-running-jobs", absl::StrCat(jobs)});
  LatencyProbe probe(setting.server->address());
  const v1::JobSpec spec = NoisySpec(kForEver, max_norm);
  for (int i = 0; i < jobs; ++i) setting.Create(absl::StrCat("busy-", i), spec);
  for (int i = 0; i < jobs; ++i) {
    Check(setting.outside->AwaitStep(absl::StrCat("busy-", i), 100, absl::Minutes(5)), "a job does not run");
  }
  Pause(absl::Seconds(5));
  SyncedFile file(setting.folder.File("synced"));
  const Outside caller(setting.server->address());
  const int64_t first = AllSteps(setting, jobs);
  const absl::Time begin = absl::Now();
  probe.Take();
  Sampler syncs([&file] { file.WriteNext(); });
  Sampler calls([&caller] {
    v1::ServerInfo info;
    const grpc::Status status = caller.jobs->GetServerInfo(Outside::Context().get(), {}, &info);
    if (!status.ok()) std::cerr << "GetServerInfo: " << status.error_message() << std::endl;
  });
  Pause(duration);
  const std::vector<double> alerts = probe.Take();
  const double seconds = Seconds(begin);
  const std::vector<double> sync = syncs.Finish(), call = calls.Finish();
  absl::PrintF("%4d %8d %9.0f %s  %s  %s\n", jobs, alerts.size(),
               static_cast<double>(AllSteps(setting, jobs) - first) / seconds, Row(alerts), Row(sync), Row(call));
  std::fflush(stdout);
}

}  // namespace

void MeasureAlertLatency(int seconds) {
  const double max_norm = RareNorm();
  absl::PrintF("milliseconds%14s| %-32s| %-32s| %-32s\n", "", "alert, from its step", "write and sync of 4 KiB",
               "GetServerInfo");
  absl::PrintF("%4s %8s %9s", "jobs", "alerts", "steps/s");
  for (int i = 0; i < 3; ++i) absl::PrintF(" %8s%8s%8s%8s ", "p50", "p90", "p99", "longest");
  absl::PrintF("\n");
  for (const int jobs : {1, 16, 40}) MeasureBeside(jobs, max_norm, absl::Seconds(seconds));
}

int ProbeAlertLatency(const std::string& address) {
  const Outside outside(address);
  grpc::ClientContext context;
  const auto reader = outside.alerts->WatchAlerts(&context, v1::WatchAlertsRequest());
  v1::WatchAlertsResponse response;
  if (!reader->Read(&response)) return 1;
  std::cout << "ready" << std::endl;
  while (reader->Read(&response)) {
    const absl::Time now = absl::Now();
    for (const v1::Event& event : response.events()) {
      const v1::Alert& alert = event.alert_changed().alert();
      if (alert.rule() != kRule) continue;  // how many were not told, for example
      std::cout << "told " << absl::ToDoubleMilliseconds(now - core::FromTimestamp(alert.time())) << std::endl;
    }
  }
  return 0;
}

}  // namespace gradwatch::testing
