// gradwatch clip set and clip unset: change how the gradients of a running job are limited, and say from which step it
// holds.
#ifndef GRADWATCH_CLIENT_CLI_CLIP_SET_H_
#define GRADWATCH_CLIENT_CLI_CLIP_SET_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "client/cli/adjusting.h"
#include "client/cli/session.h"
#include "client/cli/waiting_edits.h"

namespace gradwatch::cli {

struct ClipSetOptions {
  AdjustingOptions adjusting;
  absl::optional<double> max_norm;
  absl::optional<double> max_value;
  absl::optional<double> factor;                                       // of mode adaptive
  std::vector<std::string> numbers;                                    // NAME=VALUE, of the mode's own message
  v1::ClipMode mode = v1::CLIP_MODE_UNSPECIFIED;                       // unspecified: as the limit says
  std::string tensors;                                                 // empty: all tensors without their own limit
  v1::NonFiniteAction non_finite = v1::NON_FINITE_ACTION_UNSPECIFIED;  // unspecified: unchanged
};

struct ClipUnsetOptions {
  AdjustingOptions adjusting;
  std::string tensors;
};

CLI::App* AddClipSet(CLI::App& parent, ClipSetOptions* options);
// Takes away the limit that some tensors have of their own.
CLI::App* AddClipUnset(CLI::App& parent, ClipUnsetOptions* options);

// The edit that the options ask for, and nothing that they do not: --max-norm alone leaves a mode that reads a norm to
// whoever sets it, and --mode alone a limit of the same kind. `present`: what the edit will find; where that is not
// sure, as until a step that is named, --max-norm sets the mode, too, and --mode the limit. INVALID_ARGUMENT if the
// options say nothing, contradict each other, or need a limit.
absl::StatusOr<v1::AdjustJobRequest> MakeClipRequest(const ClipSetOptions& options, const FoundMode& present);

absl::StatusOr<ExitCode> RunClipSet(const ClipSetOptions& options, Session& session);
absl::StatusOr<ExitCode> RunClipUnset(const ClipUnsetOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_CLIP_SET_H_
