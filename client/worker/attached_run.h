// The life of a worker that a server started: attach, build the model, train, tell the end.
#ifndef GRADWATCH_CLIENT_WORKER_ATTACHED_RUN_H_
#define GRADWATCH_CLIENT_WORKER_ATTACHED_RUN_H_

#include <signal.h>

#include <cstdint>
#include <string>

#include "client/worker/attachment.h"
#include "client/worker/exit_code.h"
#include "core/stats/report_ring.h"

namespace gradwatch::worker {

struct AttachedRunOptions {
  std::string server;  // address of the server
  std::string job_id;
  int32_t attempt = 0;
  std::string attach_token;
  // Memory for reports that are not sent yet; less where the job has fewer steps. No estimate counts what is beyond
  // kReportRingBytes.
  size_t report_bytes = core::kReportRingBytes;
  std::string last_words;  // file for what the server could not be told; empty: none, the server is waited for
  AttachmentOptions attachment;
};

// Runs the attempt on the calling thread. `stop_signals` are blocked everywhere; they stop the run gracefully.
// 0: the server knows how the run ended, whatever that was, or will: it lies in the file. Else it does not, and
// standard error says why. A server that goes away changes nothing about the training.
ExitCode RunAttached(const AttachedRunOptions& options, sigset_t stop_signals);

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_ATTACHED_RUN_H_
