// A fixed team of threads that share the loops of one thread, with a fixed partition: which part a thread does depends
// on numbers alone, never on timing.
#ifndef GRADWATCH_CORE_BASE_WORKERS_H_
#define GRADWATCH_CORE_BASE_WORKERS_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace gradwatch::core {

// For use by one thread at a time, which takes part in the work. Nothing allocates after construction.
//
// Threads that wait for work spin for some microseconds, so that the loops of a training step find them awake, and then
// sleep.
class Workers {
 public:
  // `threads` counts the caller: threads - 1 are started, named "train-1", "train-2", ... With 1 every call is a loop.
  explicit Workers(int threads);
  // Ends and joins the threads.
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  int threads() const { return static_cast<int>(team_.size()) + 1; }

  // Calls function(part) for every part from 0 to parts - 1 and returns when all are done. Thread t does the parts t,
  // t + threads(), ... in this order. The function must not call Run.
  template <typename Function>
  void Run(int parts, const Function& function) {
    if (parts <= 1 || team_.empty()) {
      for (int part = 0; part < parts; ++part) function(part);
      return;
    }
    RunOnTeam({parts, &function, [](const void* f, int part) { (*static_cast<const Function*>(f))(part); }});
  }

 private:
  struct Job {
    int parts = 0;
    const void* function = nullptr;
    void (*call)(const void* function, int part) = nullptr;
  };

  void RunOnTeam(const Job& job);
  void DoParts(const Job& job, int thread) const;
  void Work(int thread);

  Job job_;                           // written while all threads wait
  std::atomic<uint32_t> jobs_{0};     // given out so far
  std::atomic<uint32_t> working_{0};  // threads that are not done with the last one
  bool ending_ = false;               // written as job_ is
  std::vector<std::thread> team_;
};

// Calls function(part) for every part, on the team if there is one.
template <typename Function>
void RunParts(Workers* workers, int parts, const Function& function) {
  if (workers != nullptr) return workers->Run(parts, function);
  for (int part = 0; part < parts; ++part) function(part);
}

// Where a part of a range begins: part `part` of `parts` holds [PartBegin(part), PartBegin(part + 1)) of 0 ... size
// - 1. Sizes of parts differ by at most 1.
inline int64_t PartBegin(int64_t size, int64_t part, int64_t parts) { return size * part / parts; }

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_WORKERS_H_
