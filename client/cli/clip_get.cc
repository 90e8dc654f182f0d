#include "client/cli/clip_get.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/controls_text.h"
#include "client/cli/edit_answer.h"
#include "client/cli/event_text.h"
#include "client/cli/option_types.h"
#include "client/cli/waiting_edits.h"
#include "client/lib/job_state.h"
#include "client/lib/printable.h"

namespace gradwatch::cli {
namespace {

constexpr int kMaxReads = 5;
constexpr absl::Duration kSearch = absl::Seconds(30);  // in the whole log of a job

struct Read {
  v1::Job job;
  Edits waiting;          // in the order of their turns
  bool is_moment = true;  // else an edit that was applied meanwhile may stand among those that wait, too
};

bool AreSame(const v1::Job& a, const v1::Job& b) {
  return a.control_revision() == b.control_revision() && a.etag() == b.etag() && a.waiting_edits() == b.waiting_edits();
}

// What holds and what waits at one moment: read again while edits are accepted or applied in between.
absl::StatusOr<Read> ReadBoth(const std::string& job_id, const Session& session) {
  absl::StatusOr<v1::Job> job = session.GetJob(job_id);
  Read read;
  for (int reads = 1; job.ok() && job->waiting_edits() > 0 && reads <= kMaxReads; ++reads) {
    absl::StatusOr<Edits> waiting = ReadWaitingEdits(job_id, session);
    if (!waiting.ok()) return waiting.status();
    read.waiting = *std::move(waiting);
    absl::StatusOr<v1::Job> after = session.GetJob(job_id);
    read.is_moment = after.ok() && AreSame(*job, *after);
    job = std::move(after);
    if (read.is_moment) break;
  }
  if (!job.ok()) return job.status();
  if (job->waiting_edits() == 0) {
    read.waiting.Clear();
    read.is_moment = true;
  }
  read.waiting = InTurn(std::move(read.waiting), job->steps_done());
  read.job = *std::move(job);
  return read;
}

// How far the job is, beside the steps for which edits wait.
std::string PlaceText(const v1::Job& job) {
  return client::IsFinal(job.state()) ? absl::StrCat("ended after ", job.steps_done(), " steps")
                                      : absl::StrCat("at step ", job.steps_done());
}

void PrintWaiting(const v1::Job& job, const v1::Adjustment& edit, const Session& session) {
  JsonObject object;
  object.Add("job", job.job_id()).Add("edit", edit.edit()).Add("state", "waiting").Add("asked", EditJson(edit));
  session.Print(object.Add("steps_done", job.steps_done()),
                [&] { return absl::StrCat(WaitingText(edit), "\nthe job is ", PlaceText(job)); });
}

void PrintApplied(const v1::Job& job, const EditAnswer& applied, const Session& session) {
  const v1::Adjustment& edit = applied.event.adjusted().adjustment();
  session.Print(AppliedJson(job.job_id(), applied.event).Add("actor", edit.actor()), [&] {
    std::string text = absl::StrCat(EditName(edit.edit()), ", asked for by ", client::Printable(edit.actor()), ": ",
                                    ChangeText(edit.old_controls(), edit.new_controls()), "\n", HoldsText(applied));
    if (job.control_revision() == edit.revision()) return text;
    return absl::StrCat(text, "; the controls are at revision ", job.control_revision(), " now");
  });
}

void PrintDropped(const v1::Job& job, const v1::Event& event, const Session& session) {
  const v1::AdjustDropped& dropped = event.adjust_dropped();
  JsonObject object;
  object.Add("job", job.job_id()).Add("attempt", event.attempt()).Add("edit", dropped.adjustment().edit());
  object.Add("state", dropped.may_have_held() ? "may_have_held" : "never_held").Add("reason", dropped.reason());
  object.Add("asked", EditJson(dropped.adjustment())).Add("steps_done", event.steps_done());
  session.Print(object.Add("event", event.number()), [&] { return DroppedText(event); });
}

// What became of one edit: among those that wait, or in the log. It is in the log, as that was after the list was read,
// if it was in the list no more.
absl::StatusOr<ExitCode> TellEdit(const ClipGetOptions& options, const Session& session) {
  const absl::StatusOr<Edits> waiting = ReadWaitingEdits(options.job_id, session);
  if (!waiting.ok()) return waiting.status();
  const absl::StatusOr<v1::Job> job = session.GetJob(options.job_id);
  if (!job.ok()) return job.status();
  const auto found = std::find_if(waiting->begin(), waiting->end(),
                                  [&options](const v1::Adjustment& edit) { return edit.edit() == options.edit; });
  if (found != waiting->end()) {
    PrintWaiting(*job, *found, session);
    return ExitCode::kSuccess;
  }
  const auto answer = FindAnswer(*job, options.edit, session.Deadline(kSearch), session);
  if (!answer.ok()) return answer.status();
  if (!answer->has_value()) {
    return absl::NotFoundError(absl::StrCat("job \"", options.job_id, "\" has no ", EditName(options.edit)));
  }
  (*answer)->event.has_adjusted() ? PrintApplied(*job, **answer, session)
                                  : PrintDropped(*job, (*answer)->event, session);
  return ExitCode::kSuccess;
}

}  // namespace

CLI::App* AddClipGet(CLI::App& parent, ClipGetOptions* options) {
  CLI::App* app = parent.add_subcommand("get", "Print how gradients are limited, and which changes wait");
  app->add_option("JOB", options->job_id, "The job")->required();
  AddCountOption(*app, "--edit", options->edit,
                 "What became of this edit, also of one of `adjust`: it waits, holds from a step, or never held");
  return app;
}

absl::StatusOr<ExitCode> RunClipGet(const ClipGetOptions& options, Session& session) {
  if (options.edit > 0) return TellEdit(options, session);
  const absl::StatusOr<Read> read = ReadBoth(options.job_id, session);
  if (!read.ok()) return read.status();
  const v1::Job& job = read->job;
  if (!read->is_moment) {
    session.Note(absl::StrCat("gradwatch: the edits of ", job.job_id(),
                              " change too fast: what is said to wait may hold already, or not be all"));
  }
  std::vector<std::string> pending;
  for (const v1::Adjustment& edit : read->waiting) pending.push_back(EditJson(edit).Build());
  JsonObject object;
  object.Add("job", job.job_id()).Add("revision", job.control_revision()).Add("etag", job.etag());
  object.Add("steps_done", job.steps_done());
  object.Add("clip", JsonObject().AddFields(job.controls().clip())).AddRaw("pending", JsonArray(pending));
  session.Print(object, [&] {
    std::string text = absl::StrCat("clip: ", ClipText(job.controls().clip()), "\nrevision ", job.control_revision(),
                                    ", etag ", job.etag(), ", ", PlaceText(job));
    for (const v1::Adjustment& edit : read->waiting) absl::StrAppend(&text, "\n", WaitingText(edit));
    return text;
  });
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
