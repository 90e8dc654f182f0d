#include "server/job/alert_operations.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "core/base/utf8.h"
#include "server/base/unique_text.h"

namespace gradwatch::server {
namespace {

constexpr int64_t kMaxCommentCharacters = 1024;
constexpr int64_t kMaxGlobCharacters = 512;
constexpr int kMaxSilences = 1000;
constexpr absl::Duration kLongestSilence = absl::Hours(24 * 366);  // a year, leap years too

void CheckText(absl::string_view field, const std::string& text, int64_t max_characters, core::FieldErrors* errors) {
  const int64_t characters = core::CountCodePoints(text);
  if (characters == core::kInvalidUtf8) {
    errors->Add(field, "must be UTF-8");
  } else if (characters > max_characters) {
    errors->Add(field, absl::StrCat("must have at most ", max_characters, " characters; has ", characters));
  }
}

void CheckEnd(const v1::Silence& silence, absl::Time now, core::FieldErrors* errors) {
  constexpr char kField[] = "silence.end_time";
  if (!silence.has_end_time()) return errors->Add(kField, "is missing");
  const absl::Time end = core::FromTimestamp(silence.end_time());
  if (silence.end_time().nanos() < 0 || silence.end_time().nanos() > 999'999'999) {
    errors->Add(kField, absl::StrCat(silence.end_time().nanos(), " nanoseconds are no part of a second"));
  } else if (end <= now) {
    errors->Add(kField, absl::StrCat(absl::FormatTime(end, absl::UTCTimeZone()), " is over"));
  } else if (end > now + kLongestSilence) {
    errors->Add(kField, absl::StrCat(absl::FormatTime(end, absl::UTCTimeZone()), " is more than a year away"));
  }
}

absl::Status CheckSilence(const v1::Silence& silence, absl::Time now) {
  core::FieldErrors errors;
  CheckEnd(silence, now, &errors);
  if (silence.comment().empty()) errors.Add("silence.comment", "is missing: say why");
  CheckText("silence.comment", silence.comment(), kMaxCommentCharacters, &errors);
  CheckText("silence.jobs", silence.jobs(), kMaxGlobCharacters, &errors);
  CheckText("silence.rules", silence.rules(), kMaxGlobCharacters, &errors);
  CheckText("silence.tensors", silence.tensors(), kMaxGlobCharacters, &errors);
  return errors.ToStatus();
}

absl::Status AlertNotFound(absl::string_view alert_id) {
  return core::WithReason(absl::NotFoundError(absl::StrCat("there is no alert \"", alert_id.substr(0, 512), "\"")),
                          "ALERT_NOT_FOUND");
}

}  // namespace

void AlertOperations::Acknowledge(v1::AcknowledgeAlertRequest request, std::string actor,
                                  JobManager::Done<v1::Alert> done) {
  RequestKey request_key = KeyOf("AcknowledgeAlert", request);  // before the request is moved
  context_->SubmitOnce<v1::Alert>(
      std::move(request_key),
      [this, request = std::move(request), actor = std::move(actor)](const RequestKey& key,
                                                                     LedgerTransaction& transaction) {
        return DoAcknowledge(request, actor, key, transaction);
      },
      std::move(done));
}

absl::StatusOr<v1::Alert> AlertOperations::DoAcknowledge(const v1::AcknowledgeAlertRequest& request,
                                                         const std::string& actor, const RequestKey& key,
                                                         LedgerTransaction& transaction) {
  core::FieldErrors errors;
  if (request.alert_id().empty()) errors.Add("alert_id", "is missing");
  CheckText("comment", request.comment(), kMaxCommentCharacters, &errors);
  GW_RETURN_IF_ERROR(errors.ToStatus());
  GW_ASSIGN_OR_RETURN(auto found, transaction.FindAlert(request.alert_id()));
  if (!found.has_value()) return AlertNotFound(request.alert_id());
  auto& [uid, alert] = *found;
  const auto entry = context_->table.FindWorking(alert.job_id());
  if (entry == nullptr || entry->uid != uid) return AlertNotFound(request.alert_id());
  JobEdit edit(context_, entry, &transaction);
  // Who says nothing new takes nothing away: a comment stays until there is another.
  const bool has_news = !request.comment().empty() && request.comment() != alert.acknowledge_comment();
  if (alert.acknowledged_by().empty() || has_news) {
    alert.set_acknowledged_by(actor);
    *alert.mutable_acknowledge_time() = core::ToTimestamp(context_->deps.clock->Now());
    alert.set_acknowledge_comment(request.comment());
    v1::Event event;
    *event.mutable_alert_changed()->mutable_alert() = alert;
    event.mutable_alert_changed()->set_acknowledgement(true);
    edit.Append(std::move(event));
  }
  GW_RETURN_IF_ERROR(edit.Write());
  GW_RETURN_IF_ERROR(Remember(transaction, key, alert));
  edit.Publish();
  return alert;
}

void AlertOperations::CreateSilence(v1::CreateSilenceRequest request, std::string actor,
                                    JobManager::Done<v1::Silence> done) {
  RequestKey request_key = KeyOf("CreateSilence", request);  // before the request is moved
  context_->SubmitOnce<v1::Silence>(
      std::move(request_key),
      [this, request = std::move(request), actor = std::move(actor)](const RequestKey& key,
                                                                     LedgerTransaction& transaction) {
        return DoCreateSilence(request, actor, key, transaction);
      },
      std::move(done));
}

absl::StatusOr<v1::Silence> AlertOperations::DoCreateSilence(const v1::CreateSilenceRequest& request,
                                                             const std::string& actor, const RequestKey& key,
                                                             LedgerTransaction& transaction) {
  const absl::Time now = context_->deps.clock->Now();
  SilenceTable& silences = context_->silences;
  GW_RETURN_IF_ERROR(CheckSilence(request.silence(), now));
  if (silences.Holding(now) >= kMaxSilences) {
    return core::WithReason(absl::ResourceExhaustedError(absl::StrCat(kMaxSilences, " silences hold already")),
                            "QUOTA_SILENCES");
  }
  v1::Silence silence = request.silence();
  silence.set_silence_id(NewUuid());
  silence.set_author(actor);
  *silence.mutable_create_time() = core::ToTimestamp(silences.NextCreateTime(now));
  GW_RETURN_IF_ERROR(transaction.PutSilence(silence));
  GW_RETURN_IF_ERROR(Remember(transaction, key, silence));
  silences.Add(silence, now);
  transaction.OnCommit([context = context_, silence](const absl::Status& status) {
    if (!status.ok()) context->silences.Remove(silence);
    context->silences.Publish();
  });
  return silence;
}

void AlertOperations::DeleteSilence(v1::DeleteSilenceRequest request, std::string actor,
                                    JobManager::Done<v1::DeleteSilenceResponse> done) {
  context_->Submit<v1::DeleteSilenceResponse>(
      [this, request = std::move(request), actor = std::move(actor)](LedgerTransaction& transaction) {
        return DoDeleteSilence(request, actor, transaction);
      },
      std::move(done));
}

absl::StatusOr<v1::DeleteSilenceResponse> AlertOperations::DoDeleteSilence(const v1::DeleteSilenceRequest& request,
                                                                           const std::string& actor,
                                                                           LedgerTransaction& transaction) {
  const v1::Silence* const found = context_->silences.Find(request.silence_id(), context_->deps.clock->Now());
  if (found == nullptr) {
    return core::WithReason(
        absl::NotFoundError(absl::StrCat("there is no silence \"", request.silence_id().substr(0, 64), "\"")),
        "SILENCE_NOT_FOUND");
  }
  const v1::Silence silence = *found;
  GW_RETURN_IF_ERROR(transaction.DeleteSilence(silence.silence_id()));
  context_->silences.Remove(silence);
  transaction.OnCommit([context = context_, silence, actor](const absl::Status& status) {
    if (status.ok()) spdlog::info("silence {}: ended by {}", silence.silence_id(), actor);
    if (!status.ok()) context->silences.Add(silence, context->deps.clock->Now());
    context->silences.Publish();
  });
  return v1::DeleteSilenceResponse();
}

}  // namespace gradwatch::server
