// Sends an edit of the controls and waits for the step from which it holds: shared by `clip set`, `clip unset`,
// `adjust`, `rules apply` and `rules set`.
#ifndef GRADWATCH_CLIENT_CLI_ADJUSTING_H_
#define GRADWATCH_CLIENT_CLI_ADJUSTING_H_

#include <CLI/App.hpp>
#include <functional>
#include <string>

#include "absl/types/optional.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

// What all of them take besides the new values.
struct AdjustingOptions {
  std::string job_id;
  std::string if_etag;
  absl::optional<int64_t> at_step;
  bool wait = false;     // also for a step that is not the next
  bool no_wait = false;  // not even for the next
};

// Of an edit that changes nothing: "unchanged: that holds already (revision 3)".
std::string UnchangedText(const v1::Job& job);

void AddAdjustingOptions(CLI::App& app, AdjustingOptions* options);

// Makes the values and the mask of a request; it may refuse. Where they depend on the controls that the job has now, it
// sets the job's etag as well.
using MakeAdjustment = std::function<absl::StatusOr<v1::AdjustJobRequest>(const v1::Job&)>;

// What else is to be said of an edit as it was accepted, before it is waited for.
using NoteAccepted = std::function<void(const v1::Adjustment&)>;

// Reads the job and sends what `make` makes of it; where that changes nothing, it says so and is done. An edit does not
// depend on what others change meanwhile, so that nothing guards it but an etag of the user's, or that of `make`: then
// it is made again if somebody else was faster. Waits for what becomes of it, 60 s unless --timeout says otherwise, and
// prints old values, new values and the step. Of an edit for a later step that is told at once (of a job that pauses
// after a second, in case the step is its next), and how to withdraw it; `wait` waits for its step, however long that
// takes. Notes which rules cannot judge once it holds, where an edit that waits will overturn it, and where waiting
// ends with an error, which edit was accepted and how to look it up. FAILED_PRECONDITION, with the reason: it never
// held, or nobody knows whether it did.
absl::StatusOr<ExitCode> Adjust(const AdjustingOptions& options, const MakeAdjustment& make, Session& session,
                                const NoteAccepted& note = nullptr);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_ADJUSTING_H_
