// The edits of a job's controls that wait, and what will hold once they are applied.
#ifndef GRADWATCH_CLIENT_CLI_WAITING_EDITS_H_
#define GRADWATCH_CLIENT_CLI_WAITING_EDITS_H_

#include <google/protobuf/repeated_field.h>

#include <cstdint>
#include <string>

#include "absl/types/optional.h"
#include "client/cli/session.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::cli {

using Edits = google::protobuf::RepeatedPtrField<v1::Adjustment>;

// All of them, in the order in which they will be applied.
absl::StatusOr<Edits> ReadWaitingEdits(const std::string& job_id, const Session& session);

// The clip mode that an edit for `step` which is made now will find: the mode in force, or what the edits that wait and
// are due by then make of it, but for those whose withdrawal is asked for.
v1::ClipMode ModeUpTo(int64_t step, v1::ClipMode in_force, const Edits& waiting);

// The same, read from the server; unset: for the next step. `job` was read before. Where its etag goes with the edit,
// edits that were accepted or withdrawn since are noticed; those that were applied since make no difference.
absl::StatusOr<v1::ClipMode> ReadModeUpTo(absl::optional<int64_t> at_step, const v1::Job& job, const Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_WAITING_EDITS_H_
