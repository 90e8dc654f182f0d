// What a question about statistics takes: 100,000 steps of 300 tensors, in memory, so that no disk is in it.
//
// usage: measure_statistics_query [STEPS [TENSORS]]; prints a line for each question: milliseconds of the fastest and
// of the median of 20 times, rows and batches read.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/history/statistics_query.h"
#include "tests/server/history/memory_history.h"

namespace gradwatch::server {
namespace {

using Clock = std::chrono::steady_clock;

// Noise that changes slowly, as training gives it.
void Fill(std::mt19937& random, int64_t step, int tensors, v1::StepReport* report) {
  const auto noise = [&random] { return 1 + 1e-7f * static_cast<float>(random() >> 12); };
  report->set_attempt(1);
  report->set_step(step);
  report->set_loss(std::exp(-1e-5 * static_cast<double>(step)) * noise());
  report->set_grad_norm(3 * noise());
  report->set_learning_rate(0.1);
  report->set_step_seconds(0.01 * noise());
  while (report->tensors_size() < tensors) report->add_tensors();
  for (int i = 0; i < tensors; ++i) {
    v1::TensorStats* const tensor = report->mutable_tensors(i);
    tensor->set_tensor(i);
    tensor->set_l2_norm(static_cast<float>(1 + i) * noise());
    tensor->set_max_abs(0.3f * noise());
    tensor->set_mean(1e-4f * noise());
    tensor->set_mean_abs(1e-2f * noise());
    tensor->set_std_dev(2e-2f * noise());
    tensor->set_zero_count(0);
    tensor->set_denormal_count(0);
    tensor->set_weight_norm(10 + 1e-5f * static_cast<float>(step));
    tensor->set_update_norm(1e-2f * noise());
  }
}

struct Shape {
  int64_t steps = 100'000;
  int tensors = 300;
};

void Measure(const char* what, const StatisticsQuestion& question, const SeriesNames& names, MemoryHistory* history) {
  std::vector<double> times;
  StatisticsAnswer answer;
  for (int i = 0; i < 20; ++i) {
    history->rows_read = history->batches_read = 0;
    const auto start = Clock::now();
    auto answered = AnswerQuestion(question, names, history);
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    if (!answered.ok()) {
      std::printf("%s: %s\n", what, answered.status().ToString().c_str());
      return;
    }
    answer = *std::move(answered);
  }
  std::sort(times.begin(), times.end());
  std::printf("%-52s %7.2f %7.2f ms, level %4lld, %3zu series x %4zu points, %3lld rows, %2lld batches\n", what,
              times.front(), times[times.size() / 2], static_cast<long long>(answer.level), answer.series.size(),
              answer.points.size(), static_cast<long long>(history->rows_read),
              static_cast<long long>(history->batches_read));
}

void Run(const Shape& shape) {
  MemoryHistory history;
  std::mt19937 random(1);
  v1::StepReport report;
  const auto start = Clock::now();
  for (int64_t step = 0; step < shape.steps; ++step) {
    Fill(random, step, shape.tensors, &report);
    history.Add(report);
    // Reports of old steps are not asked for: their batches would only fill memory.
    if (step % 10'000 == 0) history.Forget(step - 10'000);
  }
  std::printf("%lld steps of %d tensors taken in within %.1f s\n", static_cast<long long>(shape.steps), shape.tensors,
              std::chrono::duration<double>(Clock::now() - start).count());
  SeriesNames names;
  for (int i = 0; i < shape.tensors; ++i) names.tensors.push_back(absl::StrCat("layer", i, ".weight"));

  StatisticsQuestion question;
  question.page_bytes = size_t{16} << 20;
  question.series = {"loss", "grad_norm"};
  Measure("loss and norm, all steps, 1,000 points", question, names, &history);
  question.series = {"tensor/layer7.weight/norm"};
  Measure("norm of one tensor, all steps, 1,000 points", question, names, &history);
  question.series = {"tensor/*/norm"};
  question.max_points = 500;
  question.aggregates = MaskOf(Aggregate::kMax);
  Measure("heatmap, largest of 500 points", question, names, &history);
  question.aggregates = kAllAggregates;
  Measure("heatmap, all aggregates of 500 points", question, names, &history);
  question.max_points = 0;
  question.newest = true;
  Measure("newest norms of all tensors", question, names, &history);
  question.newest = false;
  question.max_points = 1000;
  question.steps = {.first = shape.steps - 2300, .last = shape.steps - 1301};
  question.series = {"loss"};
  Measure("1,000 steps of the loss", question, names, &history);
  question.series = {"tensor/layer7.weight/norm"};
  Measure("1,000 steps of the norm of one tensor", question, names, &history);
  question.series = {"tensor/*/norm"};
  Measure("1,000 steps of the norms of all tensors", question, names, &history);
}

}  // namespace
}  // namespace gradwatch::server

int main(int argc, char** argv) {
  gradwatch::server::Shape shape;
  if (argc > 1) shape.steps = std::atoll(argv[1]);
  if (argc > 2) shape.tensors = std::atoi(argv[2]);
  gradwatch::server::Run(shape);
  return 0;
}
