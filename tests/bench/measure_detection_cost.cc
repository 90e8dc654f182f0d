// What judging a step costs: all default rules on made-up quiet steps of few and many tensors, and beside the steps of
// real jobs, whose records they get when the trainer has just filled them, with the caches as training leaves them.
//
// usage: measure_detection_cost SECONDS [JOB.yaml ...]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/lib/spec_reader.h"
#include "core/base/clock.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"
#include "core/detect/detector.h"
#include "core/spec/job_spec.h"
#include "core/train/trainer.h"
#include "tests/support/allocation_count.h"

namespace gradwatch::testing {
namespace {

using Clock = std::chrono::steady_clock;

double Nanoseconds(Clock::duration duration) { return std::chrono::duration<double, std::nano>(duration).count(); }

double Quantile(std::vector<double> values, double q) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

// What asking for the time twice takes by itself.
double ClockNanoseconds() {
  std::vector<double> times;
  for (int i = 0; i < 100'000; ++i) {
    const auto start = Clock::now();
    times.push_back(Nanoseconds(Clock::now() - start));
  }
  return Quantile(std::move(times), 0.5);
}

int64_t Bytes(const std::vector<std::string>& names) {
  return core::DetectorBytes(core::ResolveRules(v1::RuleSet()), names);
}

// The default rules, and what they took for each step and from the heap.
class TimedDetector {
 public:
  explicit TimedDetector(const std::vector<std::string>& names)
      : detector_(v1::RuleSet(), names, core::AlertIdentity()) {
    alerts_.reserve(1000);
  }
  void Judge(const core::StepRecord& record) {
    const size_t told = alerts_.size();
    const int64_t before = CountsAllocations() ? AllocationCount() : 0;
    const auto start = Clock::now();
    detector_.JudgeGradients(record, record.time, &alerts_);
    detector_.JudgeUpdate(record, record.time, &alerts_);
    const auto end = Clock::now();
    if (alerts_.size() > told) return;  // no quiet step
    if (CountsAllocations()) allocations_ += AllocationCount() - before;
    times_.push_back(Nanoseconds(end - start));
  }
  const std::vector<double>& times() const { return times_; }
  int64_t allocations() const { return allocations_; }

 private:
  core::Detector detector_;
  std::vector<v1::Alert> alerts_;
  std::vector<double> times_;  // of quiet steps, nanoseconds
  int64_t allocations_ = 0;
};

// Steps of a healthy network: everything scatters by a tenth around what it was.
class QuietSteps {
 public:
  explicit QuietSteps(size_t tensors) : random_(1, core::RandomStream::kSyntheticData, 0) {
    record_.step = -1;
    record_.tensors.resize(tensors);
    record_.learning_rate = 0.01;
  }
  const core::StepRecord& Next() {
    double squares = 0;
    for (core::TensorStatistics& tensor : record_.tensors) {
      tensor.l2_norm = Scatter();
      tensor.max_abs = tensor.l2_norm / 10;
      tensor.mean_abs = tensor.std_dev = tensor.l2_norm / 100;
      tensor.weight_norm = 10;
      tensor.update_norm = record_.learning_rate * tensor.l2_norm;
      squares += tensor.l2_norm * tensor.l2_norm;
    }
    record_.grad_norm = std::sqrt(squares);
    record_.loss = 2 * Scatter();
    ++record_.step;
    return record_;
  }

 private:
  double Scatter() { return std::exp(0.1 * random_.NextNormal()); }

  core::Random random_;
  core::StepRecord record_;
};

std::vector<std::string> Names(size_t tensors) {
  std::vector<std::string> names;
  for (size_t i = 0; i < tensors; ++i) names.push_back(absl::StrCat("dense", i, ".weight"));
  return names;
}

void PrintMadeUp(size_t tensors, double seconds, double clock) {
  const std::vector<std::string> names = Names(tensors);
  TimedDetector detector(names);
  QuietSteps steps(tensors);
  const auto start = Clock::now();
  while (Nanoseconds(Clock::now() - start) < 1e9 * seconds || detector.times().size() < 1000) {
    detector.Judge(steps.Next());
  }
  std::printf("%10zu %10.0f %10.0f %10ld %12ld\n", tensors, Quantile(detector.times(), 0.5) - clock,
              Quantile(detector.times(), 0.99) - clock, static_cast<long>(Bytes(names)),
              static_cast<long>(detector.allocations()));
  std::fflush(stdout);
}

// Judges what a trainer without rules of its own has done, for so many seconds.
class Judge final : public core::Observer {
 public:
  Judge(const std::vector<std::string>& names, double seconds, core::LiveControls* live)
      : detector_(names),
        end_(Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds))),
        live_(live) {}
  void OnStep(const core::StepRecord& record) override {
    detector_.Judge(record);
    steps_.push_back(1e9 * record.step_seconds);
    if (Clock::now() >= end_) live_->SetCommand(core::LiveControls::Command::kStop);
  }
  void OnAlert(const v1::Alert& /*alert*/) override {}
  void OnEdit(const core::EditOutcome& /*outcome*/) override {}
  void OnPaused(int64_t /*steps_done*/) override {}
  void OnResumed(int64_t /*steps_done*/) override {}
  const TimedDetector& detector() const { return detector_; }
  const std::vector<double>& steps() const { return steps_; }  // nanoseconds

 private:
  TimedDetector detector_;
  const Clock::time_point end_;
  core::LiveControls* const live_;
  std::vector<double> steps_;
};

absl::Status PrintJob(const std::string& path, double seconds, double clock) {
  GW_ASSIGN_OR_RETURN(v1::JobSpec spec, client::ReadJobSpec(path));
  spec.mutable_rules()->set_preset("none");
  spec.set_steps(1'000'000'000);
  GW_ASSIGN_OR_RETURN(const core::DataRoots roots, core::DataRoots::Create({"."}));
  GW_ASSIGN_OR_RETURN(const core::ValidatedJob job, core::ValidateJob(spec, roots, core::SpecLimits()));
  GW_ASSIGN_OR_RETURN(const auto trainer,
                      core::Trainer::Create(job.spec, roots, core::AlertIdentity(), &core::RealClock()));
  std::vector<std::string> names;
  for (const v1::TensorInfo& tensor : job.tensors) names.push_back(tensor.name());
  core::LiveControls live({.controls = job.spec.controls()});
  Judge judge(names, seconds, &live);
  trainer->Run(live, judge);
  if (judge.detector().times().empty()) return absl::InternalError(absl::StrCat(path, ": no quiet step"));
  const double rules = Quantile(judge.detector().times(), 0.5) - clock, step = Quantile(judge.steps(), 0.5);
  std::printf("%-14s %8zu %12.1f %10.0f %8.2f%% %10ld %12ld\n", std::filesystem::path(path).stem().c_str(),
              names.size(), step / 1e3, rules, 100 * rules / step, static_cast<long>(Bytes(names)),
              static_cast<long>(judge.detector().allocations()));
  std::fflush(stdout);
  return absl::OkStatus();
}

int Run(double seconds, const std::vector<std::string>& jobs) {
  const double clock = ClockNanoseconds();
  std::printf("all default rules on made-up quiet steps, nanoseconds of a step (median, 99th percentile)\n");
  std::printf("%10s %10s %10s %10s %12s\n", "tensors", "median", "p99", "bytes", "allocations");
  for (const size_t tensors : {1, 5, 100, 1000}) PrintMadeUp(tensors, seconds, clock);
  if (jobs.empty()) return 0;
  std::printf("\nbeside the steps of jobs, medians\n");
  std::printf("%-14s %8s %12s %10s %9s %10s %12s\n", "job", "tensors", "step, us", "rules, ns", "share", "bytes",
              "allocations");
  for (const std::string& job : jobs) {
    const absl::Status status = PrintJob(job, seconds, clock);
    if (status.ok()) continue;
    std::fprintf(stderr, "measure_detection_cost: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace gradwatch::testing

int main(int argc, char** argv) {
  if (argc < 2 || std::atof(argv[1]) <= 0) {
    std::fprintf(stderr, "usage: measure_detection_cost SECONDS [JOB.yaml ...]\n");
    return 2;
  }
  return gradwatch::testing::Run(std::atof(argv[1]), {argv + 2, argv + argc});
}
