// gradwatch clip unset: takes away the limit that some tensors have of their own.
#ifndef GRADWATCH_CLIENT_CLI_CLIP_UNSET_H_
#define GRADWATCH_CLIENT_CLI_CLIP_UNSET_H_

#include <CLI/App.hpp>
#include <string>

#include "client/cli/adjusting.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

struct ClipUnsetOptions {
  AdjustingOptions adjusting;
  std::string tensors;
};

CLI::App* AddClipUnset(CLI::App& parent, ClipUnsetOptions* options);
absl::StatusOr<ExitCode> RunClipUnset(const ClipUnsetOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_CLIP_UNSET_H_
