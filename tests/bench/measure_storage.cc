// Measures what statistics cost that last, from outside: bytes on the disk, processor time and acknowledgements under
// load, questions, catching up, and what a trainer pays for being watched. Prints; asserts nothing. See README.md.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/history/history_database.h"
#include "tests/bench/load_trainer.h"
#include "tests/bench/raw_subscribers.h"
#include "tests/bench/run_and_reap.h"
#include "tests/bench/sections.h"
#include "tests/bench/setting.h"
#include "tests/support/process.h"
#include "tests/support/shipped_jobs.h"

namespace gradwatch::testing {
namespace {

constexpr int kTensors = 6;
constexpr double kReportsASecond = 50'000;
// In which a block of reports is packed that no more come to, and a little.
constexpr absl::Duration kUntilPacked = absl::Seconds(35);

void Print(const std::string& line) {
  std::fputs(line.c_str(), stdout);
  std::fflush(stdout);
}

// A server on its processor, and this program on the other.
std::unique_ptr<Setting> StartApart(std::vector<std::string> arguments = {}) {
  PinToProcessor(getpid(), kServerProcessor);
  auto setting = std::make_unique<Setting>(std::move(arguments));
  PinToProcessor(getpid(), kTrainerProcessor);
  return setting;
}

// --- Bytes ---

struct StoredJob {
  const char* name;
  const char* file;
  std::vector<std::string> set;
};

v1::JobSpec SpecOf(const StoredJob& job, int64_t steps) {
  auto spec = client::ReadJobSpec(absl::StrCat(GRADWATCH_SOURCE_DIR, "/deploy/jobs/", job.file));
  Check(spec.ok(), spec.status().ToString());
  for (const std::string& assignment : job.set) {
    Check(client::SetField(&*spec, assignment).ok(), assignment);
  }
  spec->set_steps(steps);
  spec->mutable_retention()->set_max_bytes(0);
  return *spec;
}

// What the folder takes of the disk when nothing that is deleted is left in it.
int64_t CompactedBytes(const std::string& folder) {
  auto database = server::HistoryDatabase::Open(folder);
  Check(database.ok(), database.status().ToString());
  const absl::Status compacted = (*database)->Compact("", "\xff");
  Check(compacted.ok(), compacted.ToString());
  const auto usage = (*database)->Usage();
  Check(usage.ok(), usage.status().ToString());
  return usage->files;
}

void MeasureBytes(int steps) {
  const StoredJob jobs[] = {
      {"char-rnn", "char_rnn.yaml", {"controls.clip.mode=global_norm", "controls.clip.threshold=1"}},
      {"mnist-dense", "mnist_dense.yaml", {}},
      {"etth1", "etth1.yaml", {}}};
  std::vector<std::string> arguments = {"--max-running-jobs", "3"};
  for (const std::string& folder : JobDataFolders()) arguments.insert(arguments.end(), {"--data-root", folder});
  Setting setting(std::move(arguments));
  for (const StoredJob& job : jobs) setting.Create(job.name, SpecOf(job, steps));
  for (const StoredJob& job : jobs) {
    Check(setting.outside->AwaitEnd(job.name, absl::Hours(12)), absl::StrCat(job.name, " does not end"));
  }
  Pause(kUntilPacked);
  double reports = 0, ranges = 0, tensor_steps = 0;
  for (const StoredJob& stored : jobs) {
    v1::Job job;
    Check(setting.outside->Get(stored.name, &job), "GetJob");
    const double count = static_cast<double>(job.steps_done()) * job.tensors_size();
    Print(absl::StrFormat("%-12s %7d reports of %2d tensors: %5.1f B of reports, %4.1f B of ranges a tensor and step\n",
                          stored.name, job.steps_done(), job.tensors_size(),
                          static_cast<double>(job.statistics().report_bytes()) / count,
                          static_cast<double>(job.statistics().range_bytes()) / count));
    reports += static_cast<double>(job.statistics().report_bytes());
    ranges += static_cast<double>(job.statistics().range_bytes());
    tensor_steps += count;
  }
  Check(setting.server->Terminate() == 0, "SIGTERM: " + setting.server->Errors());
  const double disk = static_cast<double>(CompactedBytes(setting.server->data_file("history")));
  const double share = disk / (reports + ranges);  // of the disk, a byte that is stored takes so many
  Print(absl::StrFormat("on the disk, after compaction, %.3f times as much: %.1f B of reports, %.1f B with ranges\n",
                        share, share * reports / tensor_steps, disk / tensor_steps));
}

// --- A steady load ---

// External jobs, each with a trainer and a connection of its own.
class Load {
 public:
  // `max_bytes`: of reports that are kept of each; 0: all.
  Load(const std::string& address, int jobs, const MadeReports* reports, int64_t max_bytes = 0) {
    for (int i = 0; i < jobs; ++i) {
      outsides_.push_back(std::make_unique<Outside>(address));
      const std::string job_id = absl::StrCat("job-", i);
      const std::string token = CreateExternalJob(*outsides_.back(), job_id, max_bytes);
      trainers_.push_back(std::make_unique<LoadTrainer>(*outsides_.back(), job_id, token, reports));
    }
    done_.resize(trainers_.size());
  }

  // So many reports a second of all jobs together, for a time. As the worker does, one sends what it has when that is a
  // batch, or each 20 ms.
  void Run(double rate, absl::Duration duration) {
    const double each = rate / static_cast<double>(trainers_.size());
    const absl::Time begin = absl::Now();
    const std::vector<int64_t> first = done_;
    for (int64_t slice = 1; slice * kSlice <= duration; ++slice) {
      Pause(begin + slice * kSlice - absl::Now());
      const auto due = static_cast<int64_t>(each * absl::ToDoubleSeconds(slice * kSlice));
      for (size_t i = 0; i < trainers_.size(); ++i) {
        const int64_t steps = first[i] + due - done_[i];
        const bool has_turn = static_cast<int64_t>(i) % kSlices == slice % kSlices;
        if (steps >= kBatch || (has_turn && steps > 0)) Do(i, steps);
      }
    }
  }
  int64_t done() const {
    int64_t sum = 0;
    for (const int64_t steps : done_) sum += steps;
    return sum;
  }
  int64_t acknowledged() const {
    int64_t sum = 0;
    for (const auto& trainer : trainers_) sum += trainer->acknowledged();
    return sum;
  }
  std::vector<double> TakeLatencies() {
    std::vector<double> all;
    for (const auto& trainer : trainers_) {
      const std::vector<double> some = trainer->TakeLatencies();
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }
  void AwaitAcknowledged() {
    for (const auto& trainer : trainers_) {
      Check(trainer->AwaitAcknowledged(absl::Minutes(5)), "a trainer: " + trainer->status().error_message());
    }
  }

 private:
  static constexpr absl::Duration kSlice = absl::Milliseconds(1);
  static constexpr int64_t kSlices = 20;
  static constexpr int64_t kBatch = 24;

  void Do(size_t trainer, int64_t steps) {
    trainers_[trainer]->Do(steps);
    done_[trainer] += steps;
  }

  std::vector<std::unique_ptr<Outside>> outsides_;
  std::vector<std::unique_ptr<LoadTrainer>> trainers_;
  std::vector<int64_t> done_;
};

void MeasureRateOf(int jobs) {
  constexpr absl::Duration kWarmUp = absl::Seconds(10), kTime = absl::Seconds(60);
  const auto setting = StartApart();
  const MadeReports reports(kTensors, 4096);
  Load load(setting->server->address(), jobs, &reports);
  load.Run(kReportsASecond, kWarmUp);
  load.TakeLatencies();
  const absl::Duration processor = ProcessorTime(setting->server->pid());
  const int64_t first = load.acknowledged();
  const absl::Time begin = absl::Now();
  load.Run(kReportsASecond, kTime);
  const double seconds = Seconds(begin);
  const auto count = static_cast<double>(load.acknowledged() - first);
  const double busy = absl::ToDoubleMicroseconds(ProcessorTime(setting->server->pid()) - processor);
  const std::vector<double> latencies = load.TakeLatencies();
  Print(absl::StrFormat(
      "%3d jobs: %6.0f reports a second, server %5.2f us each (%.2f cores), acknowledged p50 %6.1f ms, p99 %6.1f ms, "
      "longest %6.1f ms, %d behind, memory %.0f MiB\n",
      jobs, count / seconds, busy / count, busy / 1e6 / seconds, Percentile(latencies, 50), Percentile(latencies, 99),
      Percentile(latencies, 100), load.done() - load.acknowledged(), Mebibytes(ResidentBytes(setting->server->pid()))));
  load.AwaitAcknowledged();
}

void MeasureRate(int jobs) {
  for (const int each : {1, 30, 300}) {
    if (jobs == 0 || jobs == each) MeasureRateOf(each);
  }
  if (jobs != 0 && jobs != 1 && jobs != 30 && jobs != 300) MeasureRateOf(jobs);
}

void MeasureMemory(int minutes) {
  const auto setting = StartApart();
  const MadeReports reports(kTensors, 4096);
  Load load(setting->server->address(), 300, &reports);
  for (int minute = 1; minute <= minutes; ++minute) {
    load.Run(kReportsASecond, absl::Minutes(1));
    Print(absl::StrFormat("after %2d min: %10d reports, memory of the server %.0f MiB, at most %.0f MiB\n", minute,
                          load.acknowledged(), Mebibytes(ResidentBytes(setting->server->pid())),
                          Mebibytes(PeakResidentBytes(setting->server->pid()))));
  }
  load.AwaitAcknowledged();
}

// What is kept of one job with a budget of its own, or of three with one together, while ten times as much comes; the
// figures of each second.
void MeasureBudgetOf(int jobs, int64_t budget, int minutes) {
  const bool is_shared = jobs > 1;
  const auto setting = StartApart({"--statistics-budget", absl::StrCat(is_shared ? budget >> 20 : 0)});
  const MadeReports reports(kTensors, 4096);
  Load load(setting->server->address(), jobs, &reports, is_shared ? 0 : budget);
  double most_reports = 0, most_ranges = 0, most_disk = 0, least_reports = 1e9;
  for (int second = 1; second <= 60 * minutes; ++second) {
    load.Run(20'000, absl::Seconds(1));
    v1::ServerInfo info;
    Check(setting->outside->jobs->GetServerInfo(Outside::Context().get(), {}, &info), "GetServerInfo");
    const v1::StoreInfo& store = info.statistics();
    most_reports = std::max(most_reports, static_cast<double>(store.report_bytes()));
    most_ranges = std::max(most_ranges, static_cast<double>(store.range_bytes()));
    most_disk = std::max(most_disk, static_cast<double>(store.disk_bytes()));
    const bool is_half_over = second > 30 * minutes;
    if (is_half_over) least_reports = std::min(least_reports, static_cast<double>(store.report_bytes()));
  }
  const auto part = static_cast<double>(budget);
  Print(absl::StrFormat(
      "%d jobs, budget %d MiB, %d reports: kept %.3f to %.3f of it, ranges at most %.3f, disk at most %.3f\n", jobs,
      budget >> 20, load.done(), least_reports / part, most_reports / part, most_ranges / part, most_disk / part));
  load.AwaitAcknowledged();
}

void MeasureBudgets(int minutes) {
  MeasureBudgetOf(1, int64_t{48} << 20, minutes);
  MeasureBudgetOf(3, int64_t{48} << 20, minutes);
}

// --- What is stored, asked and read ---

// Does all steps of a job at full speed, and waits until they are packed.
void FillJob(const Setting& setting, const std::string& job_id, int64_t steps, const MadeReports& reports) {
  const absl::Time begin = absl::Now();
  const std::string token = CreateExternalJob(*setting.outside, job_id);
  LoadTrainer trainer(*setting.outside, job_id, token, &reports);
  trainer.Do(steps);
  Check(trainer.AwaitAcknowledged(absl::Hours(1)), "the trainer: " + trainer.status().error_message());
  Print(absl::StrFormat("%d reports of %d tensors stored in %.1f s\n", steps, reports.tensors(), Seconds(begin)));
  Pause(kUntilPacked);
}

// Milliseconds that a question takes, with all pages of its answer.
double Ask(const Outside& outside, v1::QueryStatisticsRequest request) {
  const absl::Time begin = absl::Now();
  do {
    v1::QueryStatisticsResponse page;
    Check(outside.watches->QueryStatistics(Outside::Context().get(), request, &page), "QueryStatistics");
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return Seconds(begin) * 1e3;
}

// Nothing of the folder is in the kernel's memory. What is not written yet stays there: the server was ended.
void ForgetFiles(const std::string& folder) {
  sync();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const int file = open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    close(file);
  }
}

double AskCold(Setting* setting, const v1::QueryStatisticsRequest& request) {
  Check(setting->server->Terminate() == 0, "SIGTERM: " + setting->server->Errors());
  ForgetFiles(setting->server->data_file(""));
  Check(setting->server->Start(), setting->server->Errors());
  Check(setting->outside->AwaitAnswer(), "it does not answer");
  return Ask(*setting->outside, request);
}

void MeasureQuestion(const std::string& what, const v1::QueryStatisticsRequest& request, Setting* setting) {
  constexpr int kWarm = 20, kCold = 5;
  std::vector<double> warm, cold;
  Ask(*setting->outside, request);
  for (int i = 0; i < kWarm; ++i) warm.push_back(Ask(*setting->outside, request));
  for (int i = 0; i < kCold; ++i) cold.push_back(AskCold(setting, request));
  Print(absl::StrFormat("%-44s warm: median %6.1f ms, longest %6.1f ms; cold: median %6.1f ms, longest %6.1f ms\n",
                        what, Median(warm), Percentile(warm, 100), Median(cold), Percentile(cold, 100)));
}

void MeasureQuestions(int steps) {
  const auto setting = StartApart();
  const MadeReports reports(300, 1024);
  FillJob(*setting, "job", steps, reports);
  v1::QueryStatisticsRequest request;
  request.set_job_id("job");
  request.set_max_points(1000);
  request.add_series("loss");
  request.add_series("grad_norm");
  MeasureQuestion("loss and norm, all steps, 1,000 points", request, setting.get());
  request.clear_series();
  request.add_series("tensor/*/norm");
  request.add_aggregates(v1::QueryStatisticsRequest::AGGREGATE_MAX);
  request.set_max_points(500);
  MeasureQuestion("heatmap, 300 tensors x 500 points", request, setting.get());
  request.clear_aggregates();
  request.set_series(0, "tensor/layer7.weight/norm");
  request.set_max_points(1000);
  request.set_first_step(steps / 2);
  request.set_last_step(steps / 2 + 999);
  MeasureQuestion("1,000 raw steps of the norm of one tensor", request, setting.get());
}

void MeasureCatchUp(int count) {
  const auto setting = StartApart();
  FillJob(*setting, "job", count, MadeReports(kTensors, 4096));
  RawSubscribers subscriber(setting->server->address(), "job", 1, count - 1);
  Check(subscriber.AwaitOpen(absl::Minutes(1)), "the stream does not begin: " + subscriber.totals().first_error);
  const absl::Duration processor = ProcessorTime(setting->server->pid());
  const absl::Time begin = absl::Now();
  subscriber.Release();
  Check(subscriber.AwaitDone(absl::Minutes(10)), "the stream does not end");
  const double seconds = Seconds(begin);
  const RawSubscribers::Totals totals = subscriber.totals();
  Print(absl::StrFormat(
      "a watch from the beginning: %.0f reports a second, %.0f MB a second, %d lost, %d missing; server "
      "%.2f us a report\n",
      static_cast<double>(totals.reports) / seconds, static_cast<double>(totals.bytes) / 1e6 / seconds, totals.lost,
      totals.missing, absl::ToDoubleMicroseconds(ProcessorTime(setting->server->pid()) - processor) / count));
}

// --- What a trainer pays ---

std::string AttachedSpec() { return absl::StrCat(GRADWATCH_SOURCE_DIR, "/tests/bench/workloads/mlp_small.yaml"); }

// Steps a second of a worker on its own, on the trainer's processor.
double RateAlone(int64_t steps) {
  Process worker(
      {"gradwatch-worker", "train", AttachedSpec(), "--report", "full", "--steps", absl::StrCat(steps), "-o", "json"});
  PinToProcessor(worker.pid(), kTrainerProcessor);
  const auto line = worker.ReadUntil("steps_per_second", absl::Minutes(10));
  Check(line.has_value(), "the worker: " + worker.Errors());
  const std::string key = "\"steps_per_second\":";
  double rate = 0;
  const size_t found = line->find(key);
  Check(found != std::string::npos, "the worker said " + *line);
  const std::string text = line->substr(found + key.size());
  Check(absl::SimpleAtod(text.substr(0, text.find_first_of(",}")), &rate), "the worker said " + *line);
  return rate;
}

// Steps a second of the same job attached to a server on the other processor.
double RateAttached(absl::Duration duration, double* load) {
  Setting setting;
  auto spec = client::ReadJobSpec(AttachedSpec());
  Check(spec.ok(), spec.status().ToString());
  spec->set_steps(kForEver);
  setting.Create("job", *spec);
  Check(setting.outside->AwaitStep("job", 10), "the job does not run");
  for (const pid_t worker : setting.server->Workers("job")) PinToProcessor(worker, kTrainerProcessor);
  Pause(absl::Seconds(3));
  return StepRate(setting, duration, load);
}

void MeasureAttached(int seconds) {
  constexpr int kPairs = 7;
  std::vector<double> ratios;
  for (int pair = 0; pair < kPairs; ++pair) {
    const double alone = RateAlone(int64_t{9000} * seconds);
    double load = 0;
    const double attached = RateAttached(absl::Seconds(seconds), &load);
    ratios.push_back(attached / alone);
    Print(absl::StrFormat("steps a second: %.0f alone, %.0f attached: %+.2f %% (server: %.3f cores)\n", alone, attached,
                          100 * (ratios.back() - 1), load));
  }
  Print(absl::StrFormat("a job attached to a server, median of %d pairs: %+.2f %%\n", kPairs,
                        100 * (Median(ratios) - 1)));
}

constexpr Section kSections[] = {
    {"bytes", "STEPS of each of three jobs", 340'000, MeasureBytes},
    {"rate", "JOBS; 0: 1, 30 and 300, one after the other", 0, MeasureRate},
    {"memory", "MINUTES", 10, MeasureMemory},
    {"budgets", "MINUTES", 3, MeasureBudgets},
    {"questions", "STEPS", 100'000, MeasureQuestions},
    {"catch-up", "REPORTS", 1'000'000, MeasureCatchUp},
    {"attached", "SECONDS of each run", 15, MeasureAttached, true},
};

}  // namespace
}  // namespace gradwatch::testing

int main(int argc, char** argv) {
  return gradwatch::testing::RunAndReap([&] {
    return gradwatch::testing::RunSection("measure_storage", gradwatch::testing::kSections, {argv + 1, argv + argc});
  });
}
