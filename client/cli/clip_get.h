// gradwatch clip get: how the gradients of a job are limited, and which edits of its controls wait; what became of one.
#ifndef GRADWATCH_CLIENT_CLI_CLIP_GET_H_
#define GRADWATCH_CLIENT_CLI_CLIP_GET_H_

#include <CLI/App.hpp>
#include <cstdint>
#include <string>

#include "client/cli/session.h"

namespace gradwatch::cli {

struct ClipGetOptions {
  std::string job_id;
  int64_t edit = 0;  // what became of this one; 0: what holds and what waits
};

CLI::App* AddClipGet(CLI::App& parent, ClipGetOptions* options);
// Of an edit: waits, applied, never held or may have held; success, whichever it is. NOT_FOUND: the job has no such
// edit.
absl::StatusOr<ExitCode> RunClipGet(const ClipGetOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_CLIP_GET_H_
