// Checks a spec for a server, as a process of its own within limits: what is in the files that a spec names can then
// hurt nobody else.
#ifndef GRADWATCH_CLIENT_WORKER_CHECK_H_
#define GRADWATCH_CLIENT_WORKER_CHECK_H_

#include <cstdint>

#include "client/worker/exit_code.h"

namespace gradwatch::worker {

struct CheckOptions {
  int64_t max_bytes = int64_t{1} << 30;  // of address space
  int64_t max_seconds = 30;              // of processor time
};

// Reads what is asked from standard input to its end (core/spec/spec_check.h) and writes the answer, good or bad, to
// standard output. Runs at low priority, and ends when whoever started it does.
// kSuccess: there is an answer. kFailure: there is none.
ExitCode RunCheck(const CheckOptions& options);

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_CHECK_H_
