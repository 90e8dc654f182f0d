#include "server/job/job_context.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <spdlog/spdlog.h>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "server/base/unique_text.h"
#include "server/history/usage_messages.h"

namespace gradwatch::server {
namespace {

// Maps have no order of their own; a digest needs one.
std::string SerializeInOrder(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  {
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

}  // namespace

RequestKey MakeRequestKey(absl::string_view call, absl::string_view request_id,
                          const google::protobuf::Message& request_without_id) {
  if (request_id.empty()) return {};
  return {std::string(request_id), Sha256Hex(absl::StrCat(call, "\n", SerializeInOrder(request_without_id)))};
}

absl::Status CheckRequestId(absl::string_view request_id) {
  if (request_id.empty() || IsUuid(request_id)) return absl::OkStatus();
  return core::InvalidField("request_id", absl::StrCat("\"", request_id.substr(0, 64), "\" is not a UUID"));
}

absl::StatusOr<bool> Recall(LedgerTransaction& transaction, const RequestKey& key,
                            google::protobuf::Message* response) {
  if (key.id.empty()) return false;
  GW_ASSIGN_OR_RETURN(const auto stored, transaction.FindRequest(key.id));
  if (!stored.has_value()) return false;
  if (stored->request_digest != key.digest) {
    return core::WithReason(absl::InvalidArgumentError(absl::StrCat(
                                "request_id: ", key.id, " was used before, for a request with another content")),
                            "REQUEST_ID_REUSED");
  }
  if (!response->ParseFromString(stored->response)) return absl::DataLossError("a stored response is damaged");
  return true;
}

absl::Status Remember(LedgerTransaction& transaction, const RequestKey& key,
                      const google::protobuf::Message& response) {
  if (key.id.empty()) return absl::OkStatus();
  return transaction.PutRequest(key.id, {key.digest, response.SerializeAsString()});
}

void JobContext::SubmitQuietly(const char* what, absl::AnyInvocable<absl::Status(LedgerTransaction&)> operation) {
  struct Nothing {};
  Submit<Nothing>(
      [operation = std::move(operation)](LedgerTransaction& transaction) mutable -> absl::StatusOr<Nothing> {
        GW_RETURN_IF_ERROR(operation(transaction));
        return Nothing();
      },
      [what](absl::StatusOr<Nothing> result) {
        if (!result.ok()) spdlog::error("{}: {}", what, result.status().ToString());
      });
}

bool JobContext::AppendReports(const std::shared_ptr<JobEntry>& entry, std::vector<EncodedReport> reports,
                               StatisticsStore::AppendDone done) {
  auto token = work->Enter();
  if (token == nullptr) return false;
  entry->intake.BeginStore();
  deps.statistics->Append(entry->uid, std::move(reports),
                          [token = std::move(token), entry, done = std::move(done)](
                              const absl::Status& status, std::vector<EncodedReport> stored) mutable {
                            done(status, std::move(stored));
                            entry->intake.EndStore();
                          });
  return true;
}

void JobContext::AfterReports(const std::shared_ptr<JobEntry>& entry, absl::AnyInvocable<void()> task) {
  auto token = work->Enter();
  if (token == nullptr) return;
  entry->intake.AfterStored([token = std::move(token), task = std::move(task)]() mutable { task(); });
}

void JobContext::RunOnExecutor(absl::AnyInvocable<void()> task) {
  auto token = work->Enter();
  if (token == nullptr) return;
  deps.executor->Run([token = std::move(token), task = std::move(task)]() mutable { task(); });
}

void JobContext::KeepWithinBudget(const v1::Job& job) const {
  deps.statistics->SetBudget(job.uid(), BudgetOf(job.spec().retention(), deps.statistics->Usage().job_budget));
}

absl::Status JobNotFound(absl::string_view job_id) {
  return core::WithReason(absl::NotFoundError(absl::StrCat("there is no job \"", job_id, "\"")), "JOB_NOT_FOUND",
                          {{"job_id", std::string(job_id)}});
}

absl::Status CheckEtag(absl::string_view etag, const v1::Job& job) {
  if (etag.empty() || etag == job.etag()) return absl::OkStatus();
  return core::WithReason(absl::AbortedError(absl::StrCat("the job was changed meanwhile: its etag is ", job.etag(),
                                                          ", not ", etag.substr(0, 64))),
                          "ETAG_MISMATCH", {{"etag", job.etag()}});
}

}  // namespace gradwatch::server
