#include "client/cli/clip_cancel.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/edit_answer.h"
#include "client/cli/option_types.h"
#include "client/lib/grpc_status.h"
#include "client/lib/uuid.h"

namespace gradwatch::cli {
namespace {

constexpr absl::Duration kSearch = absl::Seconds(10);  // in the log, for what was done before

absl::Status AppliedBefore(int64_t edit, const EditAnswer& applied) {
  return absl::FailedPreconditionError(
      absl::StrCat(EditName(edit), " was applied before it could be withdrawn: it ", HoldsText(applied)));
}

// What became of an edit that the server says is done; `refusal` if the log does not tell, as of the number of a
// withdrawal.
absl::Status TellDone(const std::string& job_id, int64_t edit, const absl::Status& refusal, const Session& session) {
  const absl::StatusOr<v1::Job> job = session.GetJob(job_id);  // its log tells all that the server knew
  if (!job.ok()) return refusal;
  const auto answer = FindAnswer(*job, edit, session.Deadline(kSearch), session);
  if (!answer.ok() || !answer->has_value()) return refusal;
  const EditAnswer& found = **answer;
  return found.event.has_adjusted() ? AppliedBefore(edit, found) : NeverHeld(found.event);
}

void PrintWithdrawn(const ClipCancelOptions& options, const v1::Event& event, const Session& session) {
  const std::string& reason = event.adjust_dropped().reason();
  JsonObject object;
  object.Add("job", options.job_id).Add("edit", options.edit).Add("state", "withdrawn");
  object.Add("reason", reason).Add("event", event.number());
  session.Print(object, [&] {
    // Where it is another reason: it did not fit, or the job has ended, before the trainer heard of this.
    const bool is_news = !reason.empty() && !absl::StrContains(reason, "withdrawn");
    return absl::StrCat(EditName(options.edit), " withdrawn: it never held", is_news ? " (" : "", is_news ? reason : "",
                        is_news ? ")" : "");
  });
}

}  // namespace

CLI::App* AddClipCancel(CLI::App& parent, ClipCancelOptions* options) {
  CLI::App* app = parent.add_subcommand("cancel", "Withdraw a change that waits, also one of `adjust`");
  app->add_option("JOB", options->job_id, "The job")->required();
  AddCountOption(*app, "EDIT", options->edit, "Number of the edit, as `clip get` shows it")->required();
  app->add_option("--if-etag", options->if_etag, "Only if the job's etag is still this one")->check(NotEmpty());
  return app;
}

absl::StatusOr<ExitCode> RunClipCancel(const ClipCancelOptions& options, Session& session) {
  const absl::StatusOr<v1::Job> job = session.GetJob(options.job_id);
  if (!job.ok()) return job.status();
  v1::CancelEditRequest request;
  request.set_job_id(options.job_id);
  request.set_edit(options.edit);
  request.set_etag(options.if_etag);
  request.set_request_id(client::RandomUuid());
  const auto response =
      session.connection().Call(session.connection().jobs(), &v1::JobService::StubInterface::CancelEdit, request,
                                client::Repeat::kWhenUnavailable);
  if (client::GetReason(response.status()) == "EDIT_DONE") {
    return TellDone(options.job_id, options.edit, response.status(), session);
  }
  if (!response.ok()) return response.status();
  // Of a job that has not started nobody else has the edit: it is withdrawn at once.
  const std::string text = job->state() == v1::JOB_STATE_PENDING ? "" : WaitText(*job, /*is_for_later=*/false);
  if (!text.empty()) session.Note(absl::StrCat("gradwatch: ", options.job_id, " ", text));
  const auto answer = AwaitAnswer(*job, options.edit, session.Deadline(kAnswerTime), session);
  if (absl::IsNotFound(answer.status())) return answer.status();  // the job is gone
  if (!answer.ok()) {
    session.Note(absl::StrCat("gradwatch: the withdrawal of ", EditName(options.edit),
                              " is accepted, but the trainer has not said yet whether it came in time; what becomes of "
                              "it: ",
                              LookUpCommand(options.job_id, options.edit)));
    return answer.status();
  }
  if (answer->event.has_adjusted()) return AppliedBefore(options.edit, *answer);
  if (answer->event.adjust_dropped().may_have_held()) return NeverHeld(answer->event);
  session.SetDone(absl::StrCat(EditName(options.edit), " is withdrawn: it never held"));
  PrintWithdrawn(options, answer->event, session);
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
