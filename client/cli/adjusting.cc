#include "client/cli/adjusting.h"

#include <google/protobuf/util/field_mask_util.h>
#include <google/protobuf/util/message_differencer.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/controls_text.h"
#include "client/cli/option_types.h"
#include "client/lib/resuming_stream.h"
#include "client/lib/uuid.h"

namespace gradwatch::cli {
namespace {

constexpr int kMaxTries = 5;  // against others who change the same job at the same time
constexpr absl::Duration kWait = absl::Seconds(60);

// Sets `state` to that of the job before.
absl::StatusOr<v1::AdjustJobResponse> SendOnce(const AdjustingOptions& options, const MakeAdjustment& make,
                                               const Session& session, v1::JobState* state) {
  const absl::StatusOr<v1::Job> job = session.GetJob(options.job_id);
  if (!job.ok()) return job.status();
  *state = job->state();
  absl::StatusOr<v1::AdjustJobRequest> request = make(*job);
  if (!request.ok()) return request.status();
  request->set_job_id(options.job_id);
  request->set_etag(options.if_etag.empty() ? job->etag() : options.if_etag);
  request->set_request_id(client::RandomUuid());
  if (options.at_step.has_value()) request->set_at_step(*options.at_step);
  return session.connection().Call(session.connection().jobs(), &v1::JobService::StubInterface::AdjustJob, *request,
                                   client::Repeat::kWhenUnavailable);
}

absl::StatusOr<v1::AdjustJobResponse> Send(const AdjustingOptions& options, const MakeAdjustment& make,
                                           const Session& session, v1::JobState* state) {
  for (int tries = 1;; ++tries) {
    absl::StatusOr<v1::AdjustJobResponse> response = SendOnce(options, make, session, state);
    if (!absl::IsAborted(response.status()) || !options.if_etag.empty() || tries == kMaxTries) return response;
  }
}

// Whether the event says what became of `revision`. Where a later one took it over, that becomes `revision`.
bool Settles(const v1::Event& event, int64_t* revision) {
  if (event.has_adjusted()) return event.adjusted().adjustment().revision() == *revision;
  const v1::AdjustDropped& dropped = event.adjust_dropped();
  if (!event.has_adjust_dropped() || dropped.adjustment().revision() != *revision) return false;
  if (dropped.superseded_by() == 0) return true;
  *revision = dropped.superseded_by();
  return false;
}

// The event by which the change, or the one that took it over, holds or is dropped.
absl::StatusOr<v1::Event> AwaitEvent(const std::string& job_id, int64_t revision, int64_t after_event,
                                     const Session& session) {
  v1::WatchJobRequest request;
  request.set_job_id(job_id);
  request.set_after_event(after_event);
  request.set_events_only(true);
  client::ResumeOptions options;
  options.deadline = session.Deadline(kWait);
  auto stream = client::WatchJob(session.connection(), request, options);
  while (true) {
    const auto response = stream->Next();
    if (!response.ok()) return response.status();
    if (!response->has_value()) return absl::FailedPreconditionError("the job ended before the change held");
    for (const v1::Event& event : (*response)->events()) {
      if (Settles(event, &revision)) return event;
    }
  }
}

// Whether all that was asked for holds with `applied`, which may be a later change.
bool Holds(const v1::Adjustment& asked, const v1::Adjustment& applied) {
  google::protobuf::FieldMask mask;
  *mask.mutable_paths() = asked.paths();
  v1::Controls wanted = asked.new_controls(), present = applied.new_controls();
  google::protobuf::util::FieldMaskUtil::TrimMessage(mask, &wanted);
  google::protobuf::util::FieldMaskUtil::TrimMessage(mask, &present);
  return google::protobuf::util::MessageDifferencer::Equals(wanted, present);
}

// FAILED_PRECONDITION: the change never held.
absl::Status CheckHolds(const v1::Adjustment& asked, const v1::Event& event) {
  const std::string never = absl::StrCat("revision ", asked.revision(), " never held: ");
  if (event.has_adjust_dropped()) return absl::FailedPreconditionError(never + event.adjust_dropped().reason());
  const v1::Adjustment& applied = event.adjusted().adjustment();
  if (applied.revision() == asked.revision() || Holds(asked, applied)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(never, "overwritten by revision ", applied.revision()));
}

void PrintResult(const std::string& job_id, const v1::Adjustment& asked, const v1::Event& event,
                 const Session& session) {
  const v1::Adjustment& applied = event.adjusted().adjustment();
  JsonObject object;
  object.Add("job", job_id).Add("attempt", event.attempt()).Add("revision", asked.revision());
  object.Add("old", JsonObject().AddFields(asked.old_controls()));
  object.Add("new", JsonObject().AddFields(applied.new_controls()));
  object.Add("applied_revision", applied.revision()).Add("effective_step", applied.effective_step());
  object.Add("event", event.number());
  session.Print(object, [&] {
    const std::string revision = applied.revision() == asked.revision()
                                     ? absl::StrCat(" (revision ", asked.revision(), ")")
                                     : absl::StrCat(", with revision ", applied.revision());
    return absl::StrCat(ChangeText(asked.old_controls(), asked.new_controls()), "\nholds from step ",
                        applied.effective_step(), revision);
  });
}

void PrintRequested(const std::string& job_id, const v1::AdjustJobResponse& response, const Session& session) {
  const v1::Adjustment& asked = response.adjustment();
  JsonObject object;
  object.Add("job", job_id).Add("revision", asked.revision());
  object.Add("old", JsonObject().AddFields(asked.old_controls()));
  object.Add("new", JsonObject().AddFields(asked.new_controls()));
  object.Add("event", response.event_number());
  session.Print(object, [&] {
    return absl::StrCat(ChangeText(asked.old_controls(), asked.new_controls()), "\nasked for (revision ",
                        asked.revision(), ")");
  });
}

}  // namespace

void AddAdjustingOptions(CLI::App& app, AdjustingOptions* options) {
  app.add_option("JOB", options->job_id, "The job")->required();
  app.add_option("--if-etag", options->if_etag, "Only if the job's etag is still this one");
  AddStepOption(app, "--at-step", options->at_step, "First step that is to use the change; unset: the next");
  app.add_flag("--no-wait", options->no_wait, "Do not wait for the step from which the change holds");
}

absl::StatusOr<ExitCode> Adjust(const AdjustingOptions& options, const MakeAdjustment& make, Session& session) {
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  const absl::StatusOr<v1::AdjustJobResponse> response = Send(options, make, session, &state);
  if (!response.ok()) return response.status();
  if (options.no_wait) {
    PrintRequested(options.job_id, *response, session);
    return ExitCode::kSuccess;
  }
  const v1::Adjustment& asked = response->adjustment();
  if (state == v1::JOB_STATE_PAUSED || state == v1::JOB_STATE_PAUSING) {
    session.Note(absl::StrCat("gradwatch: ", options.job_id, " is paused; waiting until it goes on (see --no-wait)"));
  }
  const auto event = AwaitEvent(options.job_id, asked.revision(), response->event_number(), session);
  if (absl::IsDeadlineExceeded(event.status()) || absl::IsCancelled(event.status())) {
    session.Note(absl::StrCat("gradwatch: revision ", asked.revision(),
                              " is accepted but does not hold yet; it stays asked for"));
  }
  if (!event.ok()) return event.status();
  if (const absl::Status holds = CheckHolds(asked, *event); !holds.ok()) return holds;
  PrintResult(options.job_id, asked, *event, session);
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
