#include "client/cli/adjusting.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/controls_text.h"
#include "client/cli/edit_outcome.h"
#include "client/cli/option_types.h"
#include "client/lib/uuid.h"

namespace gradwatch::cli {
namespace {

constexpr int kMaxTries = 20;  // against others who change the same job at the same time
constexpr absl::Duration kWait = absl::Seconds(60);

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
  for (int tries = 1;; ++tries) {
    absl::StatusOr<v1::AdjustJobResponse> response = SendOnce(options, make, session, job);
    if (!absl::IsAborted(response.status()) || !options.if_etag.empty() || tries == kMaxTries) return response;
  }
}

// Whether the edit is for a step beyond the next one of `job`.
bool IsForLater(const AdjustingOptions& options, const v1::Job& job) {
  return options.at_step.has_value() && *options.at_step > job.steps_done();
}

void PrintApplied(const std::string& job_id, const EditOutcome& applied, const Session& session) {
  const v1::Event& event = applied.event;
  const v1::Adjustment& adjustment = event.adjusted().adjustment();
  JsonObject object;
  object.Add("job", job_id).Add("attempt", event.attempt()).Add("edit", adjustment.edit());
  object.Add("state", "applied").Add("revision", adjustment.revision());
  object.Add("old", JsonObject().AddFields(adjustment.old_controls()));
  object.Add("new", JsonObject().AddFields(adjustment.new_controls()));
  object.Add("effective_step", adjustment.effective_step()).Add("event", event.number());
  session.Print(object, [&] {
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

}  // namespace

void AddAdjustingOptions(CLI::App& app, AdjustingOptions* options) {
  app.add_option("JOB", options->job_id, "The job")->required();
  app.add_option("--if-etag", options->if_etag, "Only if the job's etag is still this one");
  AddStepOption(app, "--at-step", options->at_step, "First step that is to use the change; unset: the next");
  auto* wait = app.add_flag("--wait", options->wait, "Wait for the step of --at-step, however long it takes");
  app.add_flag("--no-wait", options->no_wait, "Do not wait for the step from which the change holds")->excludes(wait);
}

absl::StatusOr<ExitCode> Adjust(const AdjustingOptions& options, const MakeAdjustment& make, Session& session) {
  v1::Job job;
  const absl::StatusOr<v1::AdjustJobResponse> response = Send(options, make, session, &job);
  if (!response.ok()) return response.status();
  const bool is_for_later = IsForLater(options, job);
  if (options.no_wait || (is_for_later && !options.wait)) {
    PrintWaits(options, *response, is_for_later, session);
    return ExitCode::kSuccess;
  }
  if (const std::string text = WaitText(job, is_for_later); !text.empty()) {
    session.Note(absl::StrCat("gradwatch: ", options.job_id, " ", text, " (see --no-wait)"));
  }
  const int64_t edit = response->adjustment().edit();
  const absl::Time deadline = session.Deadline(options.wait ? absl::InfiniteDuration() : kWait);
  const absl::StatusOr<EditOutcome> outcome = AwaitOutcome(job, edit, deadline, session);
  if (absl::IsDeadlineExceeded(outcome.status()) || absl::IsCancelled(outcome.status())) {
    session.Note(absl::StrCat("gradwatch: ", EditName(edit),
                              " is accepted and waits; withdraw it with: ", CancelCommand(options.job_id, edit)));
  }
  if (!outcome.ok()) return outcome.status();
  if (outcome->event.has_adjust_dropped()) return NeverHeld(outcome->event.adjust_dropped());
  PrintApplied(options.job_id, *outcome, session);
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
