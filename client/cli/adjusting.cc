#include "client/cli/adjusting.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/controls_text.h"
#include "client/cli/edit_answer.h"
#include "client/cli/option_types.h"
#include "client/cli/unable_rules.h"
#include "client/cli/waiting_edits.h"
#include "client/lib/backoff.h"
#include "client/lib/uuid.h"

namespace gradwatch::cli {
namespace {

// Against others who change the same job at the same time: on average a tenth of a second and more between the later
// tries, for some two seconds.
constexpr int kMaxTries = 24;
constexpr absl::Duration kFirstPause = absl::Milliseconds(5), kLongestPause = absl::Milliseconds(250);
// A job that pauses tells which step is its next before it has told all reports of the steps before.
constexpr absl::Duration kPauseTime = absl::Seconds(1);

// Sets `job` to what it was before.
absl::StatusOr<v1::AdjustJobResponse> SendOnce(const AdjustingOptions& options, const MakeAdjustment& make,
                                               const Session& session, v1::Job* job) {
  absl::StatusOr<v1::Job> before = session.GetJob(options.job_id);
  if (!before.ok()) return before.status();
  *job = *std::move(before);
  absl::StatusOr<v1::AdjustJobRequest> request = make(*job);
  if (!request.ok()) return request.status();
  request->set_job_id(options.job_id);
  if (!options.if_etag.empty()) request->set_etag(options.if_etag);
  request->set_request_id(client::RandomUuid());
  if (options.at_step.has_value()) request->set_at_step(*options.at_step);
  return session.connection().Call(session.connection().jobs(), &v1::JobService::StubInterface::AdjustJob, *request,
                                   client::Repeat::kWhenUnavailable);
}

absl::StatusOr<v1::AdjustJobResponse> Send(const AdjustingOptions& options, const MakeAdjustment& make,
                                           const Session& session, v1::Job* job) {
  client::Backoff backoff(kFirstPause, kLongestPause);
  const absl::Time deadline = session.Deadline();
  for (int tries = 1;; ++tries) {
    absl::StatusOr<v1::AdjustJobResponse> response = SendOnce(options, make, session, job);
    if (!absl::IsAborted(response.status()) || !options.if_etag.empty()) return response;
    if (tries == kMaxTries) {
      return absl::AbortedError("others change the job all the time; nothing was done; try it again");
    }
    const absl::Duration pause = backoff.Next();
    if (session.io().now() + pause > deadline) return absl::DeadlineExceededError("time is up; nothing was done");
    if (!session.connection().AwaitReconnection(pause)) return absl::CancelledError("interrupted");
  }
}

// Whether the edit is for a step beyond the next one of `job`.
bool IsForLater(const AdjustingOptions& options, const v1::Job& job) {
  return options.at_step.has_value() && *options.at_step > job.steps_done();
}

bool Pauses(const v1::Job& job) { return job.state() == v1::JOB_STATE_PAUSING || job.state() == v1::JOB_STATE_PAUSED; }

// Says which edit that waited before will overturn the one that was accepted. A hint: nothing if that cannot be read.
void NoteOverturned(const v1::Job& before, const v1::Adjustment& accepted, const Session& session) {
  if (before.waiting_edits() == 0) return;
  const absl::StatusOr<Edits> waiting = ReadWaitingEdits(before.job_id(), session);
  if (!waiting.ok()) return;
  const std::string text = OverturnedText(accepted, before.steps_done(), *waiting);
  if (!text.empty()) session.Note(absl::StrCat("gradwatch: ", text));
}

std::string AcceptedText(const std::string& job_id, int64_t edit) {
  return absl::StrCat(EditName(edit), " is accepted and waits; withdraw it with: ", CancelCommand(job_id, edit));
}

// What becomes of the edit; nothing if that is not waited for, or takes longer than a job takes that pauses.
absl::StatusOr<std::optional<EditAnswer>> AwaitIfWanted(const AdjustingOptions& options, const v1::Job& job,
                                                        int64_t edit, const Session& session) {
  const bool is_for_later = IsForLater(options, job);
  const bool only_if_at_once = is_for_later && !options.wait;
  if (options.no_wait || (only_if_at_once && !Pauses(job))) return std::nullopt;
  if (const std::string text = WaitText(job, is_for_later); !only_if_at_once && !text.empty()) {
    session.Note(absl::StrCat("gradwatch: ", options.job_id, " ", text, " (see --no-wait)"));
  }
  const absl::Time deadline = only_if_at_once ? std::min(session.Deadline(), session.io().now() + kPauseTime)
                                              : session.Deadline(options.wait ? absl::InfiniteDuration() : kAnswerTime);
  absl::StatusOr<EditAnswer> answer = AwaitAnswer(job, edit, deadline, session);
  if (answer.ok()) return *std::move(answer);
  if (absl::IsDeadlineExceeded(answer.status()) && only_if_at_once) return std::nullopt;
  if (absl::IsNotFound(answer.status())) return answer.status();  // there is nothing to look up any more
  // Whatever else it was, also a server that went away: the edit is there, and has a number.
  session.Note(absl::StrCat("gradwatch: ", EditName(edit),
                            " is accepted; what becomes of it: ", LookUpCommand(options.job_id, edit),
                            "; withdraw it with: ", CancelCommand(options.job_id, edit)));
  return answer.status();
}

void PrintApplied(const std::string& job_id, const EditAnswer& applied, const Session& session) {
  const v1::Adjustment& adjustment = applied.event.adjusted().adjustment();
  session.Print(AppliedJson(job_id, applied.event), [&] {
    return absl::StrCat(ChangeText(adjustment.old_controls(), adjustment.new_controls()), "\n", HoldsText(applied));
  });
}

void PrintWaits(const AdjustingOptions& options, const v1::AdjustJobResponse& response, bool is_for_later,
                const Session& session) {
  const v1::Adjustment& asked = response.adjustment();
  JsonObject object;
  object.Add("job", options.job_id).Add("edit", asked.edit()).Add("state", "waiting");
  object.Add("asked", EditJson(asked)).Add("event", response.event_number());
  session.Print(object, [&] {
    const std::string what = EditText(asked);
    if (!is_for_later) return absl::StrCat(what, "\nasked for (", EditName(asked.edit()), ")");
    return absl::StrCat(what, "\nwaits: holds from step ", *options.at_step, " (", EditName(asked.edit()),
                        "; withdraw it with: ", CancelCommand(options.job_id, asked.edit()), ")");
  });
}

// Of a change that changes nothing there is no edit.
void PrintUnchanged(const v1::Job& job, const v1::AdjustJobResponse& response, const Session& session) {
  JsonObject object;
  object.Add("job", job.job_id()).Add("state", "unchanged").Add("revision", job.control_revision());
  object.Add("etag", response.etag());
  session.Print(object, [&] { return UnchangedText(job); });
}

}  // namespace

std::string UnchangedText(const v1::Job& job) {
  return absl::StrCat("unchanged: that holds already (revision ", job.control_revision(), ")");
}

void AddAdjustingOptions(CLI::App& app, AdjustingOptions* options) {
  app.add_option("JOB", options->job_id, "The job")->required();
  app.add_option(
         "--if-etag", options->if_etag,
         "Only if the job's etag is still this one: it changes when somebody asks for a change or withdraws one, "
         "not when one comes into force")
      ->check(NotEmpty());
  AddStepOption(app, "--at-step", options->at_step, "First step that is to use the change; unset: the next");
  auto* wait = app.add_flag("--wait", options->wait, "Wait for the step of --at-step, however long it takes");
  app.add_flag("--no-wait", options->no_wait, "Do not wait for the step from which the change holds")->excludes(wait);
  app.footer(
      "Waits until the change holds, for 60 seconds unless --timeout says otherwise, and says from which step. Where\n"
      "--at-step lies ahead it does not wait, unless --wait is given. `clip get` shows what waits, `clip get --edit` "
      "what\n"
      "became of it, and `clip cancel` withdraws it.");
}

absl::StatusOr<ExitCode> Adjust(const AdjustingOptions& options, const MakeAdjustment& make, Session& session,
                                const NoteAccepted& note) {
  v1::Job job;
  const absl::StatusOr<v1::AdjustJobResponse> response = Send(options, make, session, &job);
  if (!response.ok()) return response.status();
  if (!response->has_adjustment()) {
    PrintUnchanged(job, *response, session);
    return ExitCode::kSuccess;
  }
  const int64_t edit = response->adjustment().edit();
  if (note != nullptr) note(response->adjustment());
  NoteOverturned(job, response->adjustment(), session);
  const absl::StatusOr<std::optional<EditAnswer>> answer = AwaitIfWanted(options, job, edit, session);
  if (!answer.ok()) return answer.status();
  if (!answer->has_value()) {
    session.SetDone(AcceptedText(options.job_id, edit));
    PrintWaits(options, *response, IsForLater(options, job), session);
    return ExitCode::kSuccess;
  }
  const EditAnswer& told = **answer;
  if (told.event.has_adjust_dropped()) return NeverHeld(told.event);
  session.SetDone(absl::StrCat(EditName(edit), " ", HoldsText(told)));
  PrintApplied(options.job_id, told, session);
  NoteUnableRules(options.job_id, response->adjustment(), session);
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
