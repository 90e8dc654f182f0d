// JobOperations::Create: takes in new jobs, checks them, names them, and makes them durable.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "server/base/unique_text.h"
#include "server/job/operations.h"

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
  *job.mutable_estimate() = validated.estimate;
  job.mutable_tensors()->Assign(validated.tensors.begin(), validated.tensors.end());
  *job.mutable_controls() = validated.spec.controls();
  job.set_control_revision(1);
  return job;
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
        CheckAndAccept(std::move(request), std::move(key), std::move(actor), std::move(done));
      });
}

void JobOperations::CheckAndAccept(v1::CreateJobRequest request, RequestKey key, std::string actor,
                                   Done<v1::Job> done) {
  const absl::Status shutting_down =
      core::WithReason(absl::UnavailableError("the server is shutting down"), "SHUTTING_DOWN");
  if (context_->draining) return done(shutting_down);
  if (const absl::Status status = CheckRequest(request); !status.ok()) return done(status);
  auto token = context_->work->Enter();
  if (token == nullptr) return done(shutting_down);
  v1::JobSpec spec = request.spec();
  context_->deps.checker->Check(
      std::move(spec),
      [this, token = std::move(token), request = std::move(request), key = std::move(key), actor = std::move(actor),
       done = std::move(done)](absl::StatusOr<core::ValidatedJob> checked) mutable {
        if (!checked.ok()) return done(core::WithFieldPrefix("spec", checked.status()));
        if (request.validate_only()) return done(MakeJob(*checked));
        AcceptChecked(std::move(request), std::move(key), std::move(actor), *std::move(checked), std::move(done));
      });
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
  GW_RETURN_IF_ERROR(CheckRoom());
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
  auto entry = std::make_shared<JobEntry>(
      uid, job_id, order, std::make_shared<JobChannel>(uid, WatchCursor(), false, context_->deps.rings));
  JobEdit edit(context_, entry, &transaction, std::move(first));
  edit.MoveTo(v1::JOB_STATE_PENDING, absl::StrCat("submitted by ", actor));
  v1::Job job = edit.job();
  GW_RETURN_IF_ERROR(edit.Write());
  GW_RETURN_IF_ERROR(Remember(transaction, key, uid, job));
  context_->table.AddWorking(entry);
  edit.Publish([this](const JobRecord&) { supervisor_->StartNext(); });
  return job;
}

absl::Status JobOperations::CheckRoom() const {
  int waiting = 0;
  for (const auto& entry : context_->table.Active()) waiting += entry->working->waiting();
  if (waiting < context_->options.max_waiting_jobs) return absl::OkStatus();
  return core::WithReason(absl::ResourceExhaustedError(absl::StrCat(waiting, " jobs wait already")), "QUOTA_JOBS");
}

}  // namespace gradwatch::server
