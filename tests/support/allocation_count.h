// Counts what the current thread takes from the heap, for tests of code that must not.
#ifndef GRADWATCH_TESTS_SUPPORT_ALLOCATION_COUNT_H_
#define GRADWATCH_TESTS_SUPPORT_ALLOCATION_COUNT_H_

#include <cstdint>

namespace gradwatch::testing {

// Whether this build counts: not under a sanitizer, which has its own heap.
bool CountsAllocations();

// Allocations of this thread so far, by malloc and its kin or by new, in any library. A program that calls this gets
// its heap functions wrapped.
int64_t AllocationCount();

// Bytes that this thread has taken so far and not given back, as the heap rounds them, and the most that they were
// since the thread called RestartPeak.
int64_t AllocatedBytes();
int64_t PeakAllocatedBytes();
void RestartPeak();

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_ALLOCATION_COUNT_H_
