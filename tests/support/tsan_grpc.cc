// Makes calls over gRPC visible to the thread sanitizer; linked into every program of the tsan build, and only there.
//
// What a thread did before it sent something happened before what another does once it has received something: so for
// a client and a server in one program, as in tests. Debian's gRPC is built without the sanitizer, which therefore sees
// no such order. The functions below stand before gRPC's own, as in tsan_absl_mutex.cc. Which message was received is
// not looked at: one clock for all of them.
#include <dlfcn.h>
#include <grpc/grpc.h>

#include <cstdlib>

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}

namespace {

char clock_of_all_calls;

template <typename Function>
Function* Next(const char* symbol) {
  void* found = dlsym(RTLD_NEXT, symbol);
  if (found == nullptr) std::abort();
  return reinterpret_cast<Function*>(found);
}

}  // namespace

extern "C" {

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* operations, size_t count, void* tag,
                                      void* reserved) {
  static const auto next = Next<decltype(grpc_call_start_batch)>("grpc_call_start_batch");
  __tsan_release(&clock_of_all_calls);
  return next(call, operations, count, tag, reserved);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline, void* reserved) {
  static const auto next = Next<decltype(grpc_completion_queue_next)>("grpc_completion_queue_next");
  const grpc_event event = next(queue, deadline, reserved);
  __tsan_acquire(&clock_of_all_calls);
  return event;
}

grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue, void* tag, gpr_timespec deadline, void* reserved) {
  static const auto next = Next<decltype(grpc_completion_queue_pluck)>("grpc_completion_queue_pluck");
  const grpc_event event = next(queue, tag, deadline, reserved);
  __tsan_acquire(&clock_of_all_calls);
  return event;
}

}  // extern "C"
