// What measuring a tensor costs, by level and size, beside what reading its memory once costs: which of the two limits
// it. Prints a table; times are the shortest of many runs, so that a busy machine shows as little as it can.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "core/base/engine_variant.h"
#include "core/base/random.h"
#include "core/stats/tensor_statistics.h"
#include "core/stats/vector_sums.h"
#include "core/tensor/arena.h"

namespace gradwatch::core {
namespace {

// Gigabytes that the longest runs read all together.
constexpr double kTotalBytes = 2e9;

template <typename Body>
double ShortestNanoseconds(int64_t size, Body body) {
  using Clock = std::chrono::steady_clock;
  const int runs = static_cast<int>(std::clamp(kTotalBytes / 4 / static_cast<double>(size), 30.0, 3000.0));
  double shortest = 1e18;
  for (int run = 0; run < runs; ++run) {
    const auto start = Clock::now();
    body(run);
    shortest = std::min(shortest, std::chrono::duration<double, std::nano>(Clock::now() - start).count());
  }
  return shortest;
}

// Touches every cache line once and does next to nothing with it.
double ReadLines(const float* values, int64_t size) {
  constexpr int64_t kLine = 16;
  float sum[4] = {};
  for (int64_t i = 0; i + 4 * kLine <= size; i += 4 * kLine) {
    for (int line = 0; line < 4; ++line) sum[line] += values[i + line * kLine];
  }
  return sum[0] + sum[1] + sum[2] + sum[3];
}

void PrintRow(int64_t size) {
  Arena<float> gradient(size), last(size);
  Random random(1, RandomStream::kSyntheticData, 0);
  for (float& value : gradient.span()) value = static_cast<float>(1e-3 * random.NextNormal());
  const std::span<const float> values(gradient.data(), static_cast<size_t>(size));
  TensorStatistics statistics;
  volatile double sink = 0;
  const auto full = [&](int64_t step, float* last_gradient) {
    FullPass<float> pass = {.step = step, .last_gradient = last_gradient};
    MeasureFull(values, &pass, &statistics);
  };
  const double times[] = {
      ShortestNanoseconds(size, [&](int) { sink = ReadLines(values.data(), size); }),
      ShortestNanoseconds(size, [&](int) { MeasureNorm(values, &statistics); }),
      ShortestNanoseconds(size, [&](int run) { full(run, nullptr); }),
      ShortestNanoseconds(size, [&](int run) { full(run, last.data()); }),
      ShortestNanoseconds(size, [&](int) { sink = SumOfSquares(values.data(), size); }),
  };
  std::printf("%10ld", static_cast<long>(size));
  for (const double time : times) std::printf(" %8.3f", time / static_cast<double>(size));
  std::printf(" %12.0f %12.1f\n", times[2], 4 * static_cast<double>(size) / times[2]);
}

int Run() {
  std::printf("engine %s; nanoseconds an element\n", std::string(EngineVariant()).c_str());
  std::printf("%10s %8s %8s %8s %8s %8s %12s %12s\n", "elements", "read", "norm", "full", "+cosine", "squares",
              "full, ns", "full, GB/s");
  for (const int64_t size : {10, 64, 640, 4096, 50176, 1 << 18, 1 << 20, 1 << 22, 1 << 24}) PrintRow(size);
  return 0;
}

}  // namespace
}  // namespace gradwatch::core

int main() { return gradwatch::core::Run(); }
