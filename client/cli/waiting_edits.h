// The edits of a job's controls that wait, and what will hold once they are applied.
#ifndef GRADWATCH_CLIENT_CLI_WAITING_EDITS_H_
#define GRADWATCH_CLIENT_CLI_WAITING_EDITS_H_

#include <google/protobuf/repeated_field.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "client/cli/session.h"
#include "gradwatch/v1/controls.pb.h"

namespace gradwatch::cli {

using Edits = google::protobuf::RepeatedPtrField<v1::Adjustment>;

// All of them, as the server lists them: those without at_step first, then those with, by their steps.
absl::StatusOr<Edits> ReadWaitingEdits(const std::string& job_id, const Session& session);

// The same edits in the order in which a trainer applies them whose next step is `next_step`, as far as is known: by
// (at_step, edit), where one without at_step counts as one of the next step.
Edits InTurn(Edits edits, int64_t next_step);

struct FoundMode {
  v1::ClipMode mode = v1::CLIP_MODE_UNSPECIFIED;
  double threshold = 0;  // beside it; 0: the default of the mode, or none
  // That is found if none of the edits that wait holds.
  v1::ClipMode in_force = v1::CLIP_MODE_UNSPECIFIED;
  // The modes that the edits that wait set. It may be any of these: the trainer is further than is known here, so that
  // more may be due, or in another order, and a withdrawal may come too late.
  std::vector<v1::ClipMode> waiting = {};
};

// What an edit for `step` which is made now will find: what is in force, or what the edits that wait and are due by
// then make of it in their turns, but for those whose withdrawal is asked for.
FoundMode ModeUpTo(int64_t step, int64_t next_step, const v1::ClipSettings& in_force, const Edits& waiting);
// What ModeUpTo says, read from the server; at_step unset: for the next step. `job` was read before. Where its etag
// goes with the edit, edits that were accepted or withdrawn since are noticed; those that were applied since make no
// difference.
absl::StatusOr<FoundMode> ReadModeUpTo(absl::optional<int64_t> at_step, const v1::Job& job, const Session& session);

// "edit 7 sets clip.threshold again at step 3000": the first of those that wait which will overturn `edit`, or a part
// of it; empty: none.
std::string OverturnedText(const v1::Adjustment& edit, int64_t next_step, const Edits& waiting);

// "waits: edit 7 from step 100, asked for by ana: clip.threshold: 2".
std::string WaitingText(const v1::Adjustment& edit);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_WAITING_EDITS_H_
