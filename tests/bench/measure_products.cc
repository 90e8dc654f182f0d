// Speed of the engine's product of floats c [rows, cols] = a b, and of one core's multiply-add instructions. Reads
// lines "rows cols depth threads seconds" and answers each with billions of operations per second; "peak" is answered
// with what the instructions alone reach. tests/bench/products asks in turn with the machine's BLAS.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>

#include "core/base/random.h"
#include "core/base/workers.h"
#include "core/tensor/arena.h"
#include "core/tensor/matrix_product.h"
#include "core/tensor/vector.h"

namespace gradwatch::core {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point from) { return std::chrono::duration<double>(Clock::now() - from).count(); }

void FillRandom(Arena<float>* arena) {
  Random random(1, RandomStream::kSyntheticData, 0);
  for (float& x : arena->span()) x = static_cast<float>(random.NextNormal());
}

// The fastest of the runs that fit into `seconds`: others disturb, nobody helps.
double ProductGigaflops(const ProductExtents& extents, int threads, double seconds) {
  Arena<float> a(extents.rows * extents.depth), b(extents.depth * extents.cols), c(extents.rows * extents.cols);
  FillRandom(&a);
  FillRandom(&b);
  const int64_t memory_size = ProductMemory<float>(extents);
  Arena<float> memory(memory_size * threads);
  Workers workers(threads);
  const ProductContext<float> context(memory.data(), memory_size, &workers);
  const double operations =
      2e-9 * static_cast<double>(extents.rows * extents.cols) * static_cast<double>(extents.depth);
  const int64_t times = std::max<int64_t>(1, static_cast<int64_t>(0.02 / operations));  // some 0.2 ms or more
  double shortest = 1e18;
  for (const auto start = Clock::now(); Seconds(start) < seconds;) {
    const auto begin = Clock::now();
    for (int64_t i = 0; i < times; ++i) {
      Multiply<float>(ProductForm::kPlain, extents, a.data(), b.data(), {c.data()}, context);
    }
    shortest = std::min(shortest, Seconds(begin) / static_cast<double>(times));
  }
  return operations / shortest;
}

// Independent multiply-adds of whole registers and nothing else. In the instructions of the best variant, whichever of
// them this program was built for.
#if defined(__x86_64__)
template <typename V>
GW_INLINE double MultiplyAddGigaflops() {
  const V factor = V{} + 0.5f;
  constexpr int kSums = 12, kTimes = 200'000;
  double best = 0;
  for (int run = 0; run < 20; ++run) {
    V sums[kSums];
    for (int j = 0; j < kSums; ++j) sums[j] = V{} + static_cast<float>(j);
    const auto begin = Clock::now();
    for (int i = 0; i < kTimes; ++i) {
#pragma GCC unroll 12
      for (int j = 0; j < kSums; ++j) sums[j] = sums[j] * factor + factor;
    }
    const double seconds = Seconds(begin);
    volatile float sink = 0;
    for (const V& sum : sums) sink = sink + sum[0];
    best = std::max(best, 2e-9 * kTimes * kSums * static_cast<double>(sizeof(V) / sizeof(float)) / seconds);
  }
  return best;
}

typedef float Float16 __attribute__((vector_size(64)));
typedef float Float8 __attribute__((vector_size(32)));
typedef float Float4 __attribute__((vector_size(16)));

__attribute__((target("avx512f"))) double PeakOfAvx512() { return MultiplyAddGigaflops<Float16>(); }
__attribute__((target("avx2,fma"))) double PeakOfAvx2() { return MultiplyAddGigaflops<Float8>(); }

double PeakGigaflops() {
  if (__builtin_cpu_supports("avx512f")) return PeakOfAvx512();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return PeakOfAvx2();
  return MultiplyAddGigaflops<Float4>();
}
#else
double PeakGigaflops() { return 0; }
#endif

int Run() {
  std::string line;
  while (std::getline(std::cin, line)) {
    ProductExtents extents;
    int threads = 0;
    double seconds = 0;
    if (line == "peak") {
      std::printf("%.2f\n", PeakGigaflops());
    } else if (std::istringstream(line) >> extents.rows >> extents.cols >> extents.depth >> threads >> seconds) {
      std::printf("%.2f\n", ProductGigaflops(extents, threads, seconds));
    } else {
      std::fprintf(stderr, "measure_products: not a question: %s\n", line.c_str());
      return 2;
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace gradwatch::core

int main() { return gradwatch::core::Run(); }
