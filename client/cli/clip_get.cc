#include "client/cli/clip_get.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/controls_text.h"
#include "client/cli/edit_answer.h"
#include "client/cli/waiting_edits.h"
#include "client/lib/printable.h"

namespace gradwatch::cli {
namespace {

constexpr int kMaxReads = 5;

struct Read {
  v1::Job job;
  Edits waiting;
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
  read.job = *std::move(job);
  return read;
}

// "waits: edit 7 from step 100, asked for by ana: clip.threshold: 2".
std::string WaitingText(const v1::Adjustment& edit) {
  std::string text = absl::StrCat("\nwaits: ", EditName(edit.edit()));
  if (edit.has_at_step()) absl::StrAppend(&text, " from step ", edit.at_step());
  absl::StrAppend(&text, ", asked for by ", client::Printable(edit.actor()), ": ", EditText(edit));
  if (edit.withdrawn_by().empty()) return text;
  return absl::StrCat(text, " (its withdrawal is asked for by ", client::Printable(edit.withdrawn_by()), ")");
}

}  // namespace

CLI::App* AddClipGet(CLI::App& parent, ClipGetOptions* options) {
  CLI::App* app = parent.add_subcommand("get", "Print how gradients are limited, and which changes wait");
  app->add_option("JOB", options->job_id, "The job")->required();
  return app;
}

absl::StatusOr<ExitCode> RunClipGet(const ClipGetOptions& options, Session& session) {
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
  object.Add("clip", JsonObject().AddFields(job.controls().clip())).AddRaw("pending", JsonArray(pending));
  session.Print(object, [&] {
    std::string text = absl::StrCat("clip: ", ClipText(job.controls().clip()), "\nrevision ", job.control_revision(),
                                    ", etag ", job.etag());
    for (const v1::Adjustment& edit : read->waiting) absl::StrAppend(&text, WaitingText(edit));
    return text;
  });
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
