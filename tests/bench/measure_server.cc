// Measures the server under load, from outside: quick calls beside large dry-runs, jobs that have ended, subscribers
// that stop reading, and how long alerts take beside busy jobs. Prints; asserts nothing. See README.md.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/notification.h"
#include "tests/bench/alert_latency.h"
#include "tests/bench/raw_subscribers.h"
#include "tests/bench/run_and_reap.h"
#include "tests/bench/sections.h"
#include "tests/bench/setting.h"
#include "tests/support/fake_trainer.h"
#include "tests/support/large_table.h"

namespace gradwatch::testing {
namespace {

// --- Quick calls beside dry-runs ---

// Milliseconds of GetJob calls, one each 3 ms, for a time. A call that fails is told, and counts with the time it took.
std::vector<double> TimeGetJob(const Outside& outside, absl::Duration duration) {
  std::vector<double> milliseconds;
  for (const absl::Time end = absl::Now() + duration; absl::Now() < end; Pause(absl::Milliseconds(3))) {
    v1::Job job;
    const absl::Time begin = absl::Now();
    const grpc::Status status = outside.Get("job", &job, absl::Minutes(2));
    if (!status.ok()) std::cout << "GetJob failed: " << status.error_message() << std::endl;
    milliseconds.push_back(Seconds(begin) * 1e3);
  }
  return milliseconds;
}

void PrintCalls(const char* what, const std::vector<double>& milliseconds) {
  absl::PrintF("GetJob %-28s p50 %7.2f ms  p99 %7.2f ms  longest %7.1f ms  (%d calls)\n", what,
               Percentile(milliseconds, 50), Percentile(milliseconds, 99), Percentile(milliseconds, 100),
               milliseconds.size());
  std::fflush(stdout);
}

void ResetPeak(pid_t pid) { std::ofstream(absl::StrCat("/proc/", pid, "/clear_refs")) << "5"; }

void MeasureDryRuns(int megabytes) {
  constexpr int kAtOnce = 4;
  constexpr absl::Duration kEach = absl::Seconds(15);
  Setting setting;
  WriteTable(setting.folder.File("table.csv"), int64_t{megabytes} * 1'000'000);
  const v1::JobSpec table = TableJob("table.csv");
  setting.Create("job", Spec(1, 16));
  Check(setting.outside->AwaitEnd("job"), "the job does not end");
  PrintCalls("alone", TimeGetJob(*setting.outside, kEach));
  {
    std::vector<std::unique_ptr<Process>> busy;
    for (int i = 0; i < kAtOnce; ++i) {
      busy.push_back(std::make_unique<Process>(std::vector<std::string>{"/bin/sh", "-c", "while :; do :; done"}));
    }
    PrintCalls("beside four busy processes", TimeGetJob(*setting.outside, kEach));
  }
  const int64_t before = ResidentBytes(setting.server->pid());
  ResetPeak(setting.server->pid());
  absl::Notification over;
  std::atomic<int> runs{0}, accepted{0};
  std::vector<std::thread> dry_runs;
  for (int i = 0; i < kAtOnce; ++i) {
    dry_runs.emplace_back([&] {
      const Outside own(setting.server->address());
      while (!over.HasBeenNotified()) {
        if (own.Create("", table, /*validate_only=*/true, absl::Minutes(3)).ok()) ++accepted;
        ++runs;
      }
    });
  }
  const std::vector<double> during = TimeGetJob(*setting.outside, kEach * 2);
  over.Notify();
  for (std::thread& dry_run : dry_runs) dry_run.join();
  PrintCalls(absl::StrFormat("beside four dry-runs of %d MB", megabytes).c_str(), during);
  absl::PrintF("%d dry-runs, %d accepted; memory of the server: %.1f MiB before, at most %.1f MiB more\n", runs.load(),
               accepted.load(), Mebibytes(before), Mebibytes(PeakResidentBytes(setting.server->pid()) - before));
}

// --- Jobs that have ended ---

void MeasureEndedJobs(int jobs) {
  Setting setting({"--max-running-jobs", "4"});
  setting.Create("first", Spec(200, 16));
  Check(setting.outside->AwaitEnd("first"), "the job does not end");
  const int64_t before = ResidentBytes(setting.server->pid());
  const absl::Time begin = absl::Now();
  const v1::JobSpec spec = Spec(500, 16);
  for (int i = 0; i < jobs; ++i) {
    setting.Create(absl::StrCat("ended-", i), spec);
    // A few wait in the queue, so that the server never waits for this program.
    if (i >= 16) Check(setting.outside->AwaitEnd(absl::StrCat("ended-", i - 16)), "the job does not end");
  }
  for (int i = std::max(0, jobs - 16); i < jobs; ++i) {
    Check(setting.outside->AwaitEnd(absl::StrCat("ended-", i)), "the job does not end");
  }
  Pause(absl::Seconds(5));  // what is given back once a second is given back
  const int64_t after = ResidentBytes(setting.server->pid());
  absl::PrintF("%d jobs of 500 steps ended in %.0f s; memory of the server: %.1f MiB before, %.1f MiB more after\n",
               jobs, Seconds(begin), Mebibytes(before), Mebibytes(after - before));
  for (const bool killed : {false, true}) {
    if (killed) {
      setting.server->Kill();
    } else {
      Check(setting.server->Terminate() == 0, "SIGTERM: " + setting.server->Errors());
    }
    const absl::Time start = absl::Now();
    Check(setting.server->Start(), setting.server->Errors());
    const double port_file = Seconds(start);
    const Outside fresh(setting.server->address());
    v1::Job job;
    Check(fresh.Get("ended-0", &job), "GetJob");
    absl::PrintF("started again after %s: port file after %.3f s, a GetJob answered after %.3f s, %.1f MiB\n",
                 killed ? "kill -9" : "SIGTERM", port_file, Seconds(start),
                 Mebibytes(ResidentBytes(setting.server->pid())));
    std::fflush(stdout);
  }
}

// --- Subscribers that stop reading ---

// A job whose trainer has a processor for itself; this program, the server and all else share the other.
void StartPinnedJob(const Setting& setting) {
  setting.Create("job", Spec(kForEver, 384));
  Check(setting.outside->AwaitStep("job", 10), "the job does not run");
  for (const pid_t worker : setting.server->Workers("job")) PinToProcessor(worker, kTrainerProcessor);
}

void MeasureStepRate(int subscribers, int pairs, absl::Duration duration) {
  Setting setting;
  StartPinnedJob(setting);
  std::vector<double> ratios;
  for (int pair = 0; pair < pairs; ++pair) {
    double server_alone = 0, server_beside = 0;
    const double alone = StepRate(setting, duration, &server_alone);
    RawSubscribers stopped(setting.server->address(), "job", subscribers, kForEver);
    Check(stopped.AwaitOpen(absl::Minutes(1)), "streams do not begin: " + stopped.totals().first_error);
    const double beside = StepRate(setting, duration, &server_beside);
    ratios.push_back(beside / alone);
    absl::PrintF(
        "steps a second: %.1f alone, %.1f beside %d stopped subscribers: %+.2f %% (server: %.3f, %.3f cores)\n", alone,
        beside, subscribers, 100 * (ratios.back() - 1), server_alone, server_beside);
    std::fflush(stdout);
  }
  absl::PrintF("step rate beside %d stopped subscribers, median of %d pairs: %+.2f %%\n", subscribers, pairs,
               100 * (Median(ratios) - 1));
}

// The probe's process: alerts of a job of their own, one each 20 ms, and how long each takes to a subscriber that
// reads. Prints "sent" for each, and "told MILLISECONDS" when it has come.
int ProbeAlerts(const std::string& address, const std::string& folder) {
  const Outside outside(address);
  FakeTrainer trainer(outside, folder, "fake");
  if (!trainer.attached()) return 1;
  grpc::ClientContext context;
  v1::WatchAlertsRequest request;
  request.set_job_id("fake");
  const auto reader = outside.alerts->WatchAlerts(&context, request);
  v1::WatchAlertsResponse response;
  if (!reader->Read(&response)) return 1;
  absl::Mutex mutex;
  std::vector<absl::Time> sent;
  std::thread listener([&] {
    while (reader->Read(&response)) {
      absl::MutexLock lock(&mutex);
      for (const v1::Event& event : response.events()) {
        if (event.alert_changed().alert().state() != v1::ALERT_STATE_FIRING) continue;
        std::cout << "told " << Seconds(sent[event.alert_changed().alert().episode() - 1]) * 1e3 << std::endl;
      }
    }
  });
  for (int32_t episode = 1; true; ++episode) {
    {
      absl::MutexLock lock(&mutex);
      sent.push_back(absl::Now());
      std::cout << "sent" << std::endl;
    }
    if (!trainer.Alert(episode)) break;
    Pause(absl::Milliseconds(20));
  }
  context.TryCancel();
  listener.join();
  return 0;
}

// A process of its own: threads of gRPC in one process work for each other, and those of hundreds of subscribers would
// be measured, not the server.
class AlertProbe {
 public:
  explicit AlertProbe(const Setting& setting) {
    setting.Create("fake", Spec(kForEver, 16));
    process_ = std::make_unique<Process>(
        std::vector<std::string>{"/proc/self/exe", "probe-alerts", setting.server->address(), setting.folder.path()});
    Check(process_->ReadUntil("sent").has_value(), "the probe of alerts: " + process_->Errors());
    reader_ = std::thread([this] { Read(); });
  }
  ~AlertProbe() {
    process_->Signal(SIGKILL);
    reader_.join();
  }

  // Milliseconds of all alerts that were told since the last call.
  std::vector<double> Take(int* waiting) {
    absl::MutexLock lock(&mutex_);
    *waiting = waiting_;
    return std::exchange(milliseconds_, {});
  }

 private:
  void Read() {
    while (const auto line = process_->ReadLine()) {
      absl::string_view text = *line;
      absl::MutexLock lock(&mutex_);
      double milliseconds = 0;
      if (!absl::ConsumePrefix(&text, "told ")) {
        ++waiting_;
      } else if (absl::SimpleAtod(text, &milliseconds)) {
        --waiting_;
        milliseconds_.push_back(milliseconds);
      }
    }
  }

  std::unique_ptr<Process> process_;
  absl::Mutex mutex_;
  std::vector<double> milliseconds_ ABSL_GUARDED_BY(mutex_);
  int waiting_ ABSL_GUARDED_BY(mutex_) = 1;  // that were sent and not told; one was sent before
  std::thread reader_;
};

void PrintAlerts(const char* what, const std::vector<double>& milliseconds, int unanswered) {
  absl::PrintF("alerts %s: %d, p50 %.1f ms, p99 %.1f ms, longest %.1f ms; %d not told yet\n", what, milliseconds.size(),
               Percentile(milliseconds, 50), Percentile(milliseconds, 99), Percentile(milliseconds, 100), unanswered);
  std::fflush(stdout);
}

void MeasureCatchUp(int subscribers, int64_t reports) {
  Setting setting;
  StartPinnedJob(setting);
  RawSubscribers stopped(setting.server->address(), "job", subscribers, reports - 1);
  Check(stopped.AwaitOpen(absl::Minutes(1)), "streams do not begin: " + stopped.totals().first_error);
  const absl::Time begin = absl::Now();
  // A minute at least, and until all reports are there.
  Check(setting.outside->AwaitStep("job", reports, absl::Minutes(10)), "the job does not run");
  while (Seconds(begin) < 60) Pause(absl::Seconds(1));
  absl::PrintF("%d subscribers stopped for %.0f s; memory of the server %.1f MiB\n", subscribers, Seconds(begin),
               Mebibytes(ResidentBytes(setting.server->pid())));
  AlertProbe probe(setting);
  Pause(absl::Seconds(5));
  int unanswered = 0;
  PrintAlerts("while they stand still", probe.Take(&unanswered), unanswered);
  const absl::Duration processor = ProcessorTime(setting.server->pid());
  const absl::Time release = absl::Now();
  stopped.Release();
  const bool done = stopped.AwaitDone(absl::Minutes(5));
  const double seconds = Seconds(release);
  const std::vector<double> alerts = probe.Take(&unanswered);
  const RawSubscribers::Totals totals = stopped.totals();
  absl::PrintF(
      "%d of %d subscribers caught up %d reports each in %.1f s%s: %d reports, %.0f MB, %d lost, %d missing, %d "
      "streams "
      "resumed; the server worked for %.1f s, memory %.1f MiB\n",
      totals.done, subscribers, reports, seconds, done ? "" : " (given up)", totals.reports,
      static_cast<double>(totals.bytes) / 1e6, totals.lost, totals.missing, totals.resumed,
      absl::ToDoubleSeconds(ProcessorTime(setting.server->pid()) - processor),
      Mebibytes(ResidentBytes(setting.server->pid())));
  if (totals.failed > 0) absl::PrintF("%d streams failed: %s\n", totals.failed, totals.first_error);
  PrintAlerts("meanwhile", alerts, unanswered);
}

void MeasureTermination(int subscribers, int rounds) {
  Setting setting;
  StartPinnedJob(setting);
  for (int round = 0; round < rounds; ++round) {
    const int64_t begin = setting.StepsDone("job");
    RawSubscribers stopped(setting.server->address(), "job", subscribers, kForEver);
    Check(stopped.AwaitOpen(absl::Minutes(1)), "streams do not begin: " + stopped.totals().first_error);
    Check(setting.outside->AwaitStep("job", begin + 500, absl::Minutes(2)), "the job does not run");
    const absl::Time term = absl::Now();
    const auto code = setting.server->Terminate();
    absl::PrintF("SIGTERM with %d stopped subscribers: exit code %d after %.2f s\n", subscribers, code.value_or(-1000),
                 Seconds(term));
    std::fflush(stdout);
    Check(setting.server->Start(), setting.server->Errors());
    Check(setting.outside->AwaitAnswer(), "it does not answer");
  }
}

constexpr Section kSections[] = {
    {"dry-runs", "MEGABYTES of each table", 300, MeasureDryRuns},
    {"ended-jobs", "JOBS", 2000, MeasureEndedJobs},
    {"step-rate", "SUBSCRIBERS", 500, [](int size) { MeasureStepRate(size, /*pairs=*/7, absl::Seconds(15)); }, true},
    {"catch-up", "SUBSCRIBERS", 500, [](int size) { MeasureCatchUp(size, 10'000); }, true},
    {"alert-latency", "SECONDS of each number of jobs", 60, MeasureAlertLatency},
    {"termination", "SUBSCRIBERS", 500, [](int size) { MeasureTermination(size, /*rounds=*/3); }, true},
};

}  // namespace
}  // namespace gradwatch::testing

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "probe-alerts") return gradwatch::testing::ProbeAlerts(argv[2], argv[3]);
  if (argc == 3 && std::string(argv[1]) == "probe-latency") return gradwatch::testing::ProbeAlertLatency(argv[2]);
  return gradwatch::testing::RunAndReap([&] {
    return gradwatch::testing::RunSection("measure_server", gradwatch::testing::kSections, {argv + 1, argv + argc});
  });
}
