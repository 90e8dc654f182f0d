// gradwatch clip cancel: withdraws an edit of a job's controls that waits.
#ifndef GRADWATCH_CLIENT_CLI_CLIP_CANCEL_H_
#define GRADWATCH_CLIENT_CLI_CLIP_CANCEL_H_

#include <CLI/App.hpp>
#include <cstdint>
#include <string>

#include "client/cli/session.h"

namespace gradwatch::cli {

struct ClipCancelOptions {
  std::string job_id;
  int64_t edit = 0;
  std::string if_etag;
};

CLI::App* AddClipCancel(CLI::App& parent, ClipCancelOptions* options);

// Waits for what becomes of the edit, 60 s unless --timeout says otherwise. FAILED_PRECONDITION: it was applied, with
// the step from which it holds, or dropped before.
absl::StatusOr<ExitCode> RunClipCancel(const ClipCancelOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_CLIP_CANCEL_H_
