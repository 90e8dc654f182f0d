#include "server/job/operations.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "core/spec/resource_limits.h"
#include "server/base/unique_text.h"

namespace gradwatch::server {
namespace {

constexpr size_t kLongestSlug = 48;

absl::Status CheckRequest(const v1::CreateJobRequest& request) {
  core::FieldErrors errors;
  if (!request.job_id().empty() && !IsJobId(request.job_id())) {
    errors.Add("job_id",
               absl::StrCat("\"", request.job_id().substr(0, 80),
                            "\" is not a lower-case letter followed by up to 62 of a-z, 0-9 and '-', the last "
                            "not being '-'"));
  }
  if (!request.has_spec()) errors.Add("spec", "is missing");
  return errors.ToStatus();
}

v1::Job MakeJob(const core::ValidatedJob& validated) {
  v1::Job job;
  *job.mutable_spec() = validated.spec;
  if (!validated.spec.has_external()) {
    *job.mutable_estimate() = validated.estimate;
    *job.mutable_data() = validated.data;
  }
  job.mutable_tensors()->Assign(validated.tensors.begin(), validated.tensors.end());
  *job.mutable_controls() = validated.spec.controls();
  job.set_control_revision(1);
  return job;
}

// The job's spec with what `request` changes.
absl::StatusOr<v1::JobSpec> UpdatedSpec(const v1::UpdateJobRequest& request, const v1::JobSpec& spec) {
  v1::JobSpec updated = spec;
  for (const std::string& path : request.update_mask().paths()) {
    if (path == "display_name") {
      updated.set_display_name(request.spec().display_name());
    } else if (path == "labels") {
      *updated.mutable_labels() = request.spec().labels();
    } else if (path == "retention") {
      updated.clear_retention();
      if (request.spec().has_retention()) *updated.mutable_retention() = request.spec().retention();
    } else {
      return core::WithReason(
          core::InvalidField("update_mask",
                             absl::StrCat("\"", path.substr(0, 80),
                                          "\" cannot be updated: \"display_name\", \"labels\" and \"retention\" can")),
          "BAD_UPDATE_MASK");
    }
  }
  if (request.update_mask().paths().empty()) {
    return core::WithReason(core::InvalidField("update_mask", "is empty: nothing would change"), "BAD_UPDATE_MASK");
  }
  GW_RETURN_IF_ERROR(core::WithFieldPrefix("spec", core::ValidateChangeable(updated)));
  return updated;
}

absl::Status CheckMayDelete(const v1::DeleteJobRequest& request, const v1::Job& job) {
  if (!request.uid().empty() && request.uid() != job.uid()) {
    return core::WithReason(absl::AbortedError(absl::StrCat("the job of this id has the uid ", job.uid(), ", not ",
                                                            request.uid().substr(0, 64))),
                            "UID_MISMATCH", {{"uid", job.uid()}});
  }
  GW_RETURN_IF_ERROR(CheckEtag(request.etag(), job));
  if (IsFinal(job.state()) || request.force()) return absl::OkStatus();
  return core::WithReason(absl::FailedPreconditionError(absl::StrCat("a job in state ", StateName(job.state()),
                                                                     " is deleted only by force; stop it first")),
                          "JOB_NOT_TERMINAL");
}

v1::TrainerDirective CommandDirective(JobCommand command) {
  v1::TrainerDirective directive;
  directive.mutable_command()->set_action(command == JobCommand::kPause    ? v1::TrainerCommand::ACTION_PAUSE
                                          : command == JobCommand::kResume ? v1::TrainerCommand::ACTION_RESUME
                                                                           : v1::TrainerCommand::ACTION_STOP);
  return directive;
}

absl::string_view PastTense(JobCommand command) {
  return command == JobCommand::kPause ? "paused" : command == JobCommand::kResume ? "resumed" : "stopped";
}

// Nobody has to be told of its end: it waits for its turn, or for a trainer that never came.
bool HasNotBegun(const JobEntry& entry, const JobRecord& record) {
  const bool never = IsExternal(record.row) && record.row.trainer_id.empty() && entry.trainer.link == nullptr;
  return record.waiting() || never;
}

}  // namespace

bool IsJobId(absl::string_view text) {
  if (text.empty() || text.size() > 63 || !absl::ascii_islower(text.front()) || text.back() == '-') return false;
  for (const char c : text) {
    if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c) && c != '-') return false;
  }
  return true;
}

std::string MakeJobId(absl::string_view display_name) {
  std::string slug;
  for (const char c : display_name) {
    if (absl::ascii_isalnum(c)) {
      slug += absl::ascii_tolower(c);
    } else if (!slug.empty() && slug.back() != '-') {
      slug += '-';
    }
  }
  if (slug.empty() || !absl::ascii_isalpha(slug.front())) slug.insert(0, slug.empty() ? "job" : "job-");
  slug.resize(std::min(slug.size(), kLongestSlug));
  while (slug.back() == '-') slug.pop_back();
  return absl::StrCat(slug, "-", RandomLetters(4));
}

void JobOperations::Create(v1::CreateJobRequest request, std::string actor, Done<v1::Job> done) {
  RequestKey key = KeyOf("CreateJob", request);
  if (key.id.empty()) return CheckAndAccept(std::move(request), std::move(key), std::move(actor), std::move(done));
  if (const absl::Status status = CheckRequestId(key.id); !status.ok()) return done(status);
  // A request that comes again is answered although, for example, its data files are gone by now.
  context_->Submit<std::optional<v1::Job>>(
      [key](LedgerTransaction& transaction) -> absl::StatusOr<std::optional<v1::Job>> {
        v1::Job answered;
        GW_ASSIGN_OR_RETURN(const bool known, Recall(transaction, key, &answered));
        return known ? std::make_optional(std::move(answered)) : std::nullopt;
      },
      [this, request = std::move(request), key, actor = std::move(actor),
       done = std::move(done)](absl::StatusOr<std::optional<v1::Job>> answered) mutable {
        if (!answered.ok()) return done(answered.status());
        if (answered->has_value()) return done(**std::move(answered));
        // Not on the ledger's thread: checking takes up to 30 ms, and everybody waits for that one.
        auto token = context_->work->Enter();
        if (token == nullptr) return done(ShuttingDown());
        context_->deps.executor->Run([this, token = std::move(token), request = std::move(request),
                                      key = std::move(key), actor = std::move(actor),
                                      done = std::move(done)]() mutable {
          CheckAndAccept(std::move(request), std::move(key), std::move(actor), std::move(done));
        });
      });
}

void JobOperations::CheckAndAccept(v1::CreateJobRequest request, RequestKey key, std::string actor,
                                   Done<v1::Job> done) {
  if (context_->draining) return done(ShuttingDown());
  if (const absl::Status status = CheckRequest(request); !status.ok()) return done(status);
  auto token = context_->work->Enter();
  if (token == nullptr) return done(ShuttingDown());
  v1::JobSpec spec = std::move(*request.mutable_spec());  // it comes back checked
  auto on_checked = [this, token = std::move(token), request = std::move(request), key = std::move(key),
                     actor = std::move(actor),
                     done = std::move(done)](absl::StatusOr<core::ValidatedJob> checked) mutable {
    if (!checked.ok()) return done(core::WithFieldPrefix("spec", checked.status()));
    if (request.validate_only()) return done(MakeJob(*checked));
    AcceptChecked(std::move(request), std::move(key), std::move(actor), *std::move(checked), std::move(done));
  };
  // It names no file and builds nothing: no checker needs a process for it.
  if (spec.has_external()) return on_checked(core::ValidateJob(spec, core::DataRoots(), context_->options.limits));
  context_->deps.checker->Check(std::move(spec), std::move(on_checked));
}

void JobOperations::AcceptChecked(v1::CreateJobRequest request, RequestKey key, std::string actor,
                                  core::ValidatedJob checked, Done<v1::Job> done) {
  context_->SubmitOnce<v1::Job>(
      std::move(key),
      [this, request = std::move(request), actor = std::move(actor), checked = std::move(checked)](
          const RequestKey& key, LedgerTransaction& transaction) {
        return Accept(request, actor, checked, key, transaction);
      },
      std::move(done));
}

absl::StatusOr<v1::Job> JobOperations::Accept(const v1::CreateJobRequest& request, const std::string& actor,
                                              const core::ValidatedJob& checked, const RequestKey& key,
                                              LedgerTransaction& transaction) {
  GW_RETURN_IF_ERROR(CheckRoom(checked.spec.has_external()));
  std::string job_id = request.job_id();
  while (job_id.empty() || (request.job_id().empty() && context_->table.FindWorking(job_id) != nullptr)) {
    job_id = MakeJobId(checked.spec.display_name());
  }
  if (context_->table.FindWorking(job_id) != nullptr) {
    return core::WithReason(absl::AlreadyExistsError(absl::StrCat("there is a job \"", job_id, "\" already")),
                            "JOB_EXISTS", {{"job_id", job_id}});
  }
  JobRecord first;
  first.row.job = MakeJob(checked);
  const int64_t order = context_->table.NextOrder(absl::ToUnixMicros(context_->deps.clock->Now()));
  first.row.job.set_job_id(job_id);
  first.row.job.set_uid(NewUuid());
  first.row.job.set_etag(MakeEtag(first.row.job));
  *first.row.job.mutable_create_time() = core::ToTimestamp(absl::FromUnixMicros(order));
  const std::string uid = first.row.job.uid();
  const std::string token = first.external() ? NewSecret() : "";
  first.row.attach_token = token;
  auto entry = std::make_shared<JobEntry>(
      uid, job_id, order, std::make_shared<JobChannel>(uid, WatchCursor(), false, context_->deps.rings));
  JobEdit edit(context_, entry, &transaction, std::move(first));
  edit.MoveTo(v1::JOB_STATE_PENDING, absl::StrCat("submitted by ", actor));
  v1::Job job = edit.job();
  job.set_attach_token(token);  // in this answer alone, and where the request is repeated
  GW_RETURN_IF_ERROR(edit.Write());
  GW_RETURN_IF_ERROR(Remember(transaction, key, job));
  context_->table.AddWorking(entry);
  edit.Publish([this](const JobRecord& record) {
    if (record.row.job.spec().has_retention()) context_->KeepWithinBudget(record.row.job);
    supervisor_->StartNext();
  });
  return job;
}

absl::Status JobOperations::CheckRoom(bool external) const {
  int waiting = 0, externals = 0;
  for (const auto& entry : context_->table.Active()) {
    waiting += entry->working->waiting();
    externals += entry->working->external();
  }
  if (external ? externals < context_->options.max_external_jobs : waiting < context_->options.max_waiting_jobs) {
    return absl::OkStatus();
  }
  const std::string why = external ? absl::StrCat(externals, " external jobs have not ended yet")
                                   : absl::StrCat(waiting, " jobs wait already");
  return core::WithReason(absl::ResourceExhaustedError(why), "QUOTA_JOBS");
}

// --- All else that users ask ---

void JobOperations::Stop(v1::StopJobRequest request, std::string actor, Done<v1::Job> done) {
  constexpr double kMostSeconds = 86'400;
  absl::Duration grace = context_->options.lease.grace;
  if (request.has_grace_seconds()) {
    const double seconds = request.grace_seconds();
    if (!(seconds >= 0 && seconds <= kMostSeconds)) {
      return done(
          core::InvalidField("grace_seconds", absl::StrCat("must be in 0 to ", kMostSeconds, ", is ", seconds)));
    }
    grace = absl::Seconds(seconds);
  }
  Command({.command = JobCommand::kStop, .job_id = request.job_id(), .grace = grace}, KeyOf("StopJob", request),
          std::move(actor), std::move(done));
}

void JobOperations::Command(CommandRequest request, RequestKey key, std::string actor, Done<v1::Job> done) {
  context_->SubmitOnce<v1::Job>(
      std::move(key),
      [this, request = std::move(request), actor = std::move(actor)](const RequestKey& key,
                                                                     LedgerTransaction& transaction) {
        return DoCommand(request, key, actor, transaction);
      },
      std::move(done));
}

absl::StatusOr<v1::Job> JobOperations::DoCommand(const CommandRequest& request, const RequestKey& key,
                                                 const std::string& actor, LedgerTransaction& transaction) {
  const auto entry = context_->table.FindWorking(request.job_id);
  if (entry == nullptr) return JobNotFound(request.job_id);
  JobEdit edit(context_, entry, &transaction);
  GW_ASSIGN_OR_RETURN(const v1::JobState next, StateAfter(request.command, edit.job().state()));
  const std::string reason = absl::StrCat(PastTense(request.command), " by ", actor);
  const bool stops = request.command == JobCommand::kStop;
  const bool moves = next != edit.job().state();
  if (stops && HasNotBegun(*entry, edit.record())) {
    edit.End(v1::JOB_STATE_STOPPED, reason);
  } else {
    edit.MoveTo(next, reason);
  }
  const bool hurries = stops && !edit.record().ended() && SetStopDeadline(request.grace, &edit.job());
  v1::Job job = edit.job();
  if (!moves && !hurries && key.id.empty()) return job;
  GW_RETURN_IF_ERROR(edit.Write());
  GW_RETURN_IF_ERROR(Remember(transaction, key, job));
  edit.Publish([this, entry, moves, hurries, request](const JobRecord&) {
    if (moves) SendIfAttached(entry->trainer, CommandDirective(request.command));
    if (hurries) supervisor_->StopWithin(entry, request.grace);
  });
  return job;
}

bool JobOperations::SetStopDeadline(absl::Duration grace, v1::Job* job) const {
  const absl::Time deadline = context_->deps.clock->Now() + grace;
  if (job->has_stop_deadline() && core::FromTimestamp(job->stop_deadline()) <= deadline) return false;
  *job->mutable_stop_deadline() = core::ToTimestamp(deadline);
  return true;
}

void JobOperations::Update(v1::UpdateJobRequest request, std::string actor, Done<v1::Job> done) {
  RequestKey request_key = KeyOf("UpdateJob", request);  // before the request is moved
  context_->SubmitOnce<v1::Job>(
      std::move(request_key),
      [this, request = std::move(request), actor = std::move(actor)](
          const RequestKey& key, LedgerTransaction& transaction) { return DoUpdate(request, actor, key, transaction); },
      std::move(done));
}

absl::StatusOr<v1::Job> JobOperations::DoUpdate(const v1::UpdateJobRequest& request, const std::string& actor,
                                                const RequestKey& key, LedgerTransaction& transaction) {
  const auto entry = context_->table.FindWorking(request.job_id());
  if (entry == nullptr) return JobNotFound(request.job_id());
  JobEdit edit(context_, entry, &transaction);
  v1::Job& job = edit.job();
  GW_RETURN_IF_ERROR(CheckEtag(request.etag(), job));
  GW_ASSIGN_OR_RETURN(*job.mutable_spec(), UpdatedSpec(request, job.spec()));
  std::string etag = MakeEtag(job);
  if (etag != job.etag()) {
    job.set_etag(std::move(etag));
    v1::Event event;
    event.mutable_job_updated()->set_display_name(job.spec().display_name());
    *event.mutable_job_updated()->mutable_labels() = job.spec().labels();
    if (job.spec().has_retention()) *event.mutable_job_updated()->mutable_retention() = job.spec().retention();
    event.mutable_job_updated()->set_actor(actor);
    edit.Append(std::move(event));
  }
  v1::Job updated = job;
  GW_RETURN_IF_ERROR(edit.Write());
  GW_RETURN_IF_ERROR(Remember(transaction, key, updated));
  const auto& paths = request.update_mask().paths();
  edit.Publish([this, keeps = std::ranges::count(paths, "retention") > 0](const JobRecord& record) {
    if (keeps) context_->KeepWithinBudget(record.row.job);
  });
  return updated;
}

void JobOperations::Delete(v1::DeleteJobRequest request, std::string actor, Done<v1::DeleteJobResponse> done) {
  RequestKey request_key = KeyOf("DeleteJob", request);  // before the request is moved
  context_->SubmitOnce<v1::DeleteJobResponse>(
      std::move(request_key),
      [this, request = std::move(request), actor = std::move(actor)](
          const RequestKey& key, LedgerTransaction& transaction) { return DoDelete(request, actor, key, transaction); },
      std::move(done));
}

absl::StatusOr<v1::DeleteJobResponse> JobOperations::DoDelete(const v1::DeleteJobRequest& request,
                                                              const std::string& actor, const RequestKey& key,
                                                              LedgerTransaction& transaction) {
  const v1::DeleteJobResponse response;
  const auto entry = context_->table.FindWorking(request.job_id());
  if (entry == nullptr) {
    if (!request.allow_missing()) return JobNotFound(request.job_id());
    GW_RETURN_IF_ERROR(Remember(transaction, key, response));
    return response;
  }
  const auto record = entry->working;
  GW_RETURN_IF_ERROR(CheckMayDelete(request, record->row.job));
  GW_RETURN_IF_ERROR(transaction.DeleteJob(entry->uid, record->row.job.attempt()));
  GW_RETURN_IF_ERROR(Remember(transaction, key, response));
  entry->working = nullptr;
  context_->table.RemoveWorking(*entry);
  transaction.OnCommit([this, entry, record, actor](const absl::Status& status) {
    if (!status.ok()) return context_->table.RollBack(entry);
    spdlog::info("job {}: deleted by {}", entry->job_id, actor);
    context_->table.Publish(entry, nullptr);
    CleanUp(entry, *record);
  });
  return response;
}

// An attach that is on its way finds out by itself: what it does on the ledger's thread comes before, and then its link
// is closed here, or after, and then it finds no job.
void JobOperations::CleanUp(const std::shared_ptr<JobEntry>& entry, const JobRecord& record) {
  entry->intake.Close();
  if (entry->trainer.link != nullptr) {
    entry->trainer.link->Close(core::WithReason(absl::AbortedError("the job was deleted"), "TRAINER_FENCED"));
    entry->trainer.link = nullptr;
  }
  const std::string& handle = entry->trainer.handle;  // the row's may not have been stored yet
  if (!handle.empty() && !record.ended()) context_->deps.launcher->Kill(handle);
  context_->deps.events->Forget(entry->job_id);
  recovery_->RemoveFiles(entry->uid, record.row.job.attempt());
  context_->deps.hub->Notify(entry->uid);
  supervisor_->StartNext();
}

}  // namespace gradwatch::server
