// A measurement that leaves no process behind.
#ifndef GRADWATCH_TESTS_BENCH_RUN_AND_REAP_H_
#define GRADWATCH_TESTS_BENCH_RUN_AND_REAP_H_

#include <functional>

namespace gradwatch::testing {

// Runs `run` in a process of its own. Whatever ends that, a signal to this one too, nothing that it started is left
// behind: orphans become children of this process. The exit code.
int RunAndReap(const std::function<int()>& run);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_BENCH_RUN_AND_REAP_H_
