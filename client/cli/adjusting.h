// Sends a change of controls and waits for the step from which it holds: shared by `clip set` and `adjust`.
#ifndef GRADWATCH_CLIENT_CLI_ADJUSTING_H_
#define GRADWATCH_CLIENT_CLI_ADJUSTING_H_

#include <CLI/App.hpp>
#include <functional>
#include <string>

#include "absl/types/optional.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

// What both commands take besides the new values.
struct AdjustingOptions {
  std::string job_id;
  std::string if_etag;
  absl::optional<int64_t> at_step;
  bool no_wait = false;
};

void AddAdjustingOptions(CLI::App& app, AdjustingOptions* options);

// Makes the values and the mask of a request for the job as it is now; it may refuse.
using MakeAdjustment = std::function<absl::StatusOr<v1::AdjustJobRequest>(const v1::Job&)>;

// Reads the job, sends what `make` makes of it, guarded by the job's etag, and again if somebody else was faster
// (unless the user gave an etag). Then waits for the Adjusted event, 60 s unless --timeout says otherwise, and prints
// old values, new values and the step. A change that holds as part of a later one holds. FAILED_PRECONDITION, with the
// reason: it never held, or what it asked for was overwritten before it did.
absl::StatusOr<ExitCode> Adjust(const AdjustingOptions& options, const MakeAdjustment& make, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_ADJUSTING_H_
