#include "tests/support/allocation_count.h"

#include <malloc.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GW_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define GW_SANITIZED 1
#endif
#endif

#ifdef GW_SANITIZED

namespace gradwatch::testing {
bool CountsAllocations() { return false; }
int64_t AllocationCount() { return 0; }
int64_t AllocatedBytes() { return 0; }
int64_t PeakAllocatedBytes() { return 0; }
void RestartPeak() {}
}  // namespace gradwatch::testing

#else

namespace {
thread_local int64_t count = 0, bytes = 0, peak = 0;

void* Taken(void* block) {
  ++count;
  bytes += static_cast<int64_t>(malloc_usable_size(block));
  peak = std::max(peak, bytes);
  return block;
}
}  // namespace

// The program's own definitions come before those of the C library, for all libraries of the process. The C library
// keeps its functions under these second names.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t number, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void __libc_free(void* block);

void* malloc(size_t size) noexcept { return Taken(__libc_malloc(size)); }
void* calloc(size_t number, size_t size) noexcept { return Taken(__libc_calloc(number, size)); }
void* realloc(void* old, size_t size) noexcept {
  const auto old_bytes = static_cast<int64_t>(malloc_usable_size(old));
  void* const block = __libc_realloc(old, size);
  if (block != nullptr || size == 0) bytes -= old_bytes;
  return Taken(block);
}
void* memalign(size_t alignment, size_t size) noexcept { return Taken(__libc_memalign(alignment, size)); }
void* aligned_alloc(size_t alignment, size_t size) noexcept { return Taken(__libc_memalign(alignment, size)); }
int posix_memalign(void** result, size_t alignment, size_t size) noexcept {
  *result = Taken(__libc_memalign(alignment, size));
  return *result == nullptr ? ENOMEM : 0;
}
void free(void* block) noexcept {
  bytes -= static_cast<int64_t>(malloc_usable_size(block));
  __libc_free(block);
}
}

namespace gradwatch::testing {
bool CountsAllocations() { return true; }
int64_t AllocationCount() { return count; }
int64_t AllocatedBytes() { return bytes; }
int64_t PeakAllocatedBytes() { return peak; }
void RestartPeak() { peak = bytes; }
}  // namespace gradwatch::testing

#endif
