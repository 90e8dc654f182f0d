// gradwatch clip get: how the gradients of a job are limited, and which edits of its controls wait.
#ifndef GRADWATCH_CLIENT_CLI_CLIP_GET_H_
#define GRADWATCH_CLIENT_CLI_CLIP_GET_H_

#include <CLI/App.hpp>
#include <string>

#include "client/cli/session.h"

namespace gradwatch::cli {

struct ClipGetOptions {
  std::string job_id;
};

CLI::App* AddClipGet(CLI::App& parent, ClipGetOptions* options);
absl::StatusOr<ExitCode> RunClipGet(const ClipGetOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_CLIP_GET_H_
