// Where the cost of full statistics goes in a job's own steps: the pass over the gradients, or the weights and updates
// in the optimizer's pass. Both levels take turns, step by step, so that each finds the caches as training leaves them.
// The same work is timed once more where nothing has to come from memory: what that takes is instructions, the rest
// memory.
//
// usage: measure_statistics JOB.yaml SECONDS; prints one line of numbers for tests/bench/statistics.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/lib/spec_reader.h"
#include "core/base/status_macros.h"
#include "core/data/data_source.h"
#include "core/nn/loss_function.h"
#include "core/nn/network.h"
#include "core/optim/optimizer.h"
#include "core/spec/job_spec.h"
#include "core/stats/gradient_statistics.h"
#include "core/stats/tensor_statistics.h"
#include "core/stats/vector_sums.h"

namespace gradwatch::core {
namespace {

using Clock = std::chrono::steady_clock;

double Microseconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::micro>(to - from).count();
}

double Median(std::vector<double> times) {
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

// What the parts of a step took, step after step: forward and back with the gradients' measurement, and the update.
struct Times {
  std::vector<double> step, gradients, update;
};

struct Job {
  v1::JobSpec spec;
  std::unique_ptr<DataSource> data;
  std::unique_ptr<Network<float>> network;
  std::unique_ptr<Optimizer<float>> optimizer;
  StepRecord record, other_record;  // of the present level, and of the other one
};

absl::StatusOr<Job> MakeJob(const std::string& path) {
  GW_ASSIGN_OR_RETURN(const v1::JobSpec read, client::ReadJobSpec(path));
  GW_ASSIGN_OR_RETURN(const DataRoots roots, DataRoots::Create({"."}));
  GW_ASSIGN_OR_RETURN(ValidatedJob valid, ValidateJob(read, roots, SpecLimits()));
  Job job;
  job.spec = valid.spec;
  GW_ASSIGN_OR_RETURN(
      job.data, OpenData(job.spec.data(), job.spec.seed(), roots, 0, TargetOf(job.spec.model().loss().function())));
  GW_ASSIGN_OR_RETURN(job.network,
                      Network<float>::Create(job.spec.model(), job.data->shape(), job.spec.data().batch_size(), 1));
  job.network->Initialize(job.spec.seed());
  job.optimizer = MakeOptimizer<float>(job.spec.optimizer(), &job.network->layout());
  job.record.tensors.resize(job.network->layout().segments().size());
  job.other_record = job.record;
  return job;
}

void RunStep(Job* job, v1::StatisticsLevel level, Times* times) {
  const auto start = Clock::now();
  GradientMeasurement<float> measurement(job->network->layout(), job->network->gradients(), level, nullptr,
                                         &job->record);
  const auto measure = [&](size_t first, size_t end) { measurement.Measure(first, end); };
  const GradientsReady ready(measure);
  job->network->LossAndGradients(job->data->Fill(job->record.step), job->record.step, &ready);
  measurement.Finish();
  const auto update = Clock::now();
  job->optimizer->Step(job->spec.optimizer().learning_rate(), job->network->gradients(), job->network->parameters(),
                       &job->record);
  const auto end = Clock::now();
  job->other_record.step = ++job->record.step;
  times->step.push_back(Microseconds(start, end));
  times->gradients.push_back(Microseconds(start, update));
  times->update.push_back(Microseconds(update, end));
}

// The shortest time of `body`, repeated until nothing has to come from memory.
template <typename Body>
double HotMicroseconds(Body body) {
  double shortest = 1e18;
  for (int run = 0; run < 20; ++run) {
    constexpr int kTimes = 10;
    const auto start = Clock::now();
    for (int i = 0; i < kTimes; ++i) body();
    shortest = std::min(shortest, Microseconds(start, Clock::now()) / kTimes);
  }
  return shortest;
}

// Instructions alone, all tensors together, in microseconds.
struct Instructions {
  double per_tensor = 0;  // of the gradients' pass, whatever the size
  double gradients = 0;   // the rest of that pass
  double squares = 0;     // of weights and updates
};

Instructions MeasureInstructions(Job* job) {
  constexpr int64_t kHot = 4096;  // elements that the first-level cache holds
  Instructions sum;
  FullPass<float> pass = {.step = 1};
  const auto& segments = job->network->layout().segments();
  volatile double sink = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    TensorStatistics* const statistics = &job->record.tensors[i];
    const int64_t size = std::min(segments[i].size, kHot), small = std::min<int64_t>(size, 16);
    const auto gradient = job->network->gradients().subspan(segments[i].offset, size);
    const auto extra = [&](std::span<const float> part) {
      return HotMicroseconds([&] { MeasureFull(part, &pass, statistics); }) -
             HotMicroseconds([&] { MeasureNorm(part, statistics); });
    };
    const double fixed = extra(gradient.subspan(0, small)), whole = extra(gradient);
    const double times = static_cast<double>(segments[i].size) / static_cast<double>(size);
    sum.per_tensor += fixed;
    sum.gradients += (whole - fixed) * times;
    const float* const weights = job->network->parameters().data() + segments[i].offset;
    sum.squares += 2 * times * HotMicroseconds([&] { sink = SumOfSquares(weights, size); });
  }
  return sum;
}

int Run(const std::string& path, double seconds) {
  absl::StatusOr<Job> job = MakeJob(path);
  if (!job.ok()) {
    std::fprintf(stderr, "measure_statistics: %s\n", job.status().ToString().c_str());
    return 1;
  }
  Times none, full;
  const auto start = Clock::now();
  while (Microseconds(start, Clock::now()) < 1e6 * seconds || none.step.size() < 10) {
    RunStep(&*job, v1::STATISTICS_LEVEL_NORM, &none);
    std::swap(job->record, job->other_record);
    RunStep(&*job, v1::STATISTICS_LEVEL_FULL, &full);
    std::swap(job->record, job->other_record);
  }
  const Instructions hot = MeasureInstructions(&*job);
  std::printf(
      "{\"step\": %g, \"gradients\": %g, \"update\": %g, \"per_tensor_instructions\": %g, "
      "\"gradient_instructions\": %g, \"square_instructions\": %g, \"tensors\": %zu}\n",
      Median(none.step), Median(full.gradients) - Median(none.gradients), Median(full.update) - Median(none.update),
      hot.per_tensor, hot.gradients, hot.squares, job->record.tensors.size());
  return 0;
}

}  // namespace
}  // namespace gradwatch::core

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: measure_statistics JOB.yaml SECONDS\n");
    return 2;
  }
  return gradwatch::core::Run(argv[1], std::atof(argv[2]));
}
