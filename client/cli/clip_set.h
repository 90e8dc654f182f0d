// gradwatch clip set: changes how the gradients of a running job are limited, and says from which step it holds.
#ifndef GRADWATCH_CLIENT_CLI_CLIP_SET_H_
#define GRADWATCH_CLIENT_CLI_CLIP_SET_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "client/cli/adjusting.h"
#include "client/cli/session.h"

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

CLI::App* AddClipSet(CLI::App& parent, ClipSetOptions* options);

// The edit that the options ask for: only what they name. Where that depends on what the job has now (--max-norm keeps
// the mode tensor_norm, --mode alone the threshold), it has the job's etag. INVALID_ARGUMENT if they say nothing or
// contradict each other.
absl::StatusOr<v1::AdjustJobRequest> MakeClipRequest(const ClipSetOptions& options, const v1::Job& job);

absl::StatusOr<ExitCode> RunClipSet(const ClipSetOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_CLIP_SET_H_
