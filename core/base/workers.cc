#include "core/base/workers.h"

#include <string>

#include "core/base/thread_name.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace gradwatch::core {
namespace {

// Looks at an atomic before sleep: first some 15 us of them close together, then some 500 us that let others have the
// core. Waking a thread that sleeps takes 10 to 20 us.
constexpr int kCloseLooks = 1000;
constexpr int kLooks = kCloseLooks + 1500;

void Breathe(int look) {
  if (look >= kCloseLooks) {
    std::this_thread::yield();
    return;
  }
#ifdef __x86_64__
  _mm_pause();
#endif
}

// Waits until `value` is not `old` and returns it.
uint32_t AwaitChange(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int look = 0; look < kLooks; ++look) {
    if (const uint32_t now = value.load(std::memory_order_acquire); now != old) return now;
    Breathe(look);
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

Workers::Workers(int threads) {
  for (int thread = 1; thread < threads; ++thread) {
    team_.emplace_back([this, thread] {
      NameThisThread("train-" + std::to_string(thread));
      Work(thread);
    });
  }
}

Workers::~Workers() {
  if (team_.empty()) return;
  ending_ = true;
  jobs_.fetch_add(1, std::memory_order_release);
  jobs_.notify_all();
  for (std::thread& thread : team_) thread.join();
}

void Workers::RunOnTeam(const Job& job) {
  job_ = job;
  working_.store(static_cast<uint32_t>(team_.size()), std::memory_order_relaxed);
  jobs_.fetch_add(1, std::memory_order_release);
  jobs_.notify_all();
  DoParts(job, 0);
  for (uint32_t left = working_.load(std::memory_order_acquire); left != 0;) left = AwaitChange(working_, left);
}

void Workers::DoParts(const Job& job, int thread) const {
  for (int part = thread; part < job.parts; part += threads()) job.call(job.function, part);
}

void Workers::Work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    seen = AwaitChange(jobs_, seen);
    if (ending_) return;
    DoParts(job_, thread);
    if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) working_.notify_all();
  }
}

}  // namespace gradwatch::core
