#include "client/cli/waiting_edits.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "client/cli/controls_text.h"
#include "client/cli/edit_answer.h"
#include "client/cli/event_text.h"
#include "client/cli/pages.h"
#include "client/lib/printable.h"

namespace gradwatch::cli {
namespace {

using Paths = google::protobuf::RepeatedPtrField<std::string>;

constexpr int kMaxEdits = 10'000;  // more never wait

// Whether it says what this field of the clip is.
bool Sets(absl::string_view field, const v1::Adjustment& edit) {
  return std::any_of(edit.paths().begin(), edit.paths().end(),
                     [field](const std::string& path) { return path == "clip" || path == field; });
}

bool SetsMode(const v1::Adjustment& edit) { return Sets("clip.mode", edit); }

// Whether a change of path `a` changes what `b` says, or the other way round: they are one, or one holds the other.
bool Overlap(absl::string_view a, absl::string_view b) {
  if (a.size() > b.size()) std::swap(a, b);
  return absl::StartsWith(b, a) && (a.size() == b.size() || b[a.size()] == '.');
}

// Those of `paths` that an edit of `others` changes too.
std::vector<std::string> Overlapping(const Paths& paths, const Paths& others) {
  std::vector<std::string> overlapping;
  std::copy_if(paths.begin(), paths.end(), std::back_inserter(overlapping), [&others](const std::string& path) {
    return std::any_of(others.begin(), others.end(),
                       [&path](const std::string& other) { return Overlap(path, other); });
  });
  return overlapping;
}

}  // namespace

absl::StatusOr<Edits> ReadWaitingEdits(const std::string& job_id, const Session& session) {
  v1::ListEditsRequest request;
  request.set_job_id(job_id);
  absl::StatusOr<v1::ListEditsResponse> all =
      ReadPages(session, session.connection().jobs(), &v1::JobService::StubInterface::ListEdits,
                &v1::ListEditsResponse::mutable_edits, request, kMaxEdits);
  if (!all.ok()) return all.status();
  return std::move(*all->mutable_edits());
}

Edits InTurn(Edits edits, int64_t next_step) {
  const auto turn = [next_step](const v1::Adjustment& edit) {
    return std::pair(edit.has_at_step() ? edit.at_step() : next_step, edit.edit());
  };
  std::sort(edits.pointer_begin(), edits.pointer_end(),
            [&turn](const v1::Adjustment* a, const v1::Adjustment* b) { return turn(*a) < turn(*b); });
  return edits;
}

FoundMode ModeUpTo(int64_t step, int64_t next_step, const v1::ClipSettings& in_force, const Edits& waiting) {
  FoundMode found = {.mode = in_force.mode(), .threshold = in_force.threshold(), .in_force = in_force.mode()};
  for (const v1::Adjustment& edit : InTurn(waiting, next_step)) {
    const v1::ClipSettings& clip = edit.values().clip();
    if (SetsMode(edit)) found.waiting.push_back(clip.mode());
    const bool is_due = !edit.has_at_step() || edit.at_step() <= step;
    if (!is_due || !edit.withdrawn_by().empty()) continue;
    if (SetsMode(edit)) found.mode = clip.mode();
    if (Sets("clip.threshold", edit)) found.threshold = clip.threshold();
  }
  return found;
}

absl::StatusOr<FoundMode> ReadModeUpTo(absl::optional<int64_t> at_step, const v1::Job& job, const Session& session) {
  if (job.waiting_edits() == 0) return ModeUpTo(0, 0, job.controls().clip(), {});
  const absl::StatusOr<Edits> waiting = ReadWaitingEdits(job.job_id(), session);
  if (!waiting.ok()) return waiting.status();
  // After the list: what was applied in between is in one of them or in both, never in none.
  const absl::StatusOr<v1::Job> after = session.GetJob(job.job_id());
  if (!after.ok()) return after.status();
  const int64_t next_step = after->steps_done();
  return ModeUpTo(at_step.value_or(next_step), next_step, after->controls().clip(), *waiting);
}

std::string OverturnedText(const v1::Adjustment& edit, int64_t next_step, const Edits& waiting) {
  const int64_t step = edit.has_at_step() ? edit.at_step() : next_step;
  for (const v1::Adjustment& later : InTurn(waiting, next_step)) {
    if (!later.has_at_step() || later.at_step() <= step || !later.withdrawn_by().empty()) continue;
    const std::vector<std::string> paths = Overlapping(later.paths(), edit.paths());
    if (paths.empty()) continue;
    return absl::StrCat(EditName(later.edit()), " sets ", absl::StrJoin(paths, ", "), " again at step ",
                        later.at_step());
  }
  return "";
}

std::string WaitingText(const v1::Adjustment& edit) {
  std::string text = absl::StrCat("waits: ", EditName(edit.edit()));
  if (edit.has_at_step()) absl::StrAppend(&text, " from step ", edit.at_step());
  absl::StrAppend(&text, ", asked for by ", client::Printable(edit.actor()), ": ", EditText(edit));
  if (edit.withdrawn_by().empty()) return text;
  return absl::StrCat(text, " (its withdrawal is asked for by ", client::Printable(edit.withdrawn_by()), ")");
}

}  // namespace gradwatch::cli
