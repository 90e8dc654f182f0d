#include "server/rpc/alert_rpc.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/base/paging.h"
#include "server/rpc/alert_watch.h"
#include "server/rpc/byte_buffers.h"
#include "server/rpc/unary.h"

namespace gradwatch::server {
namespace {

constexpr int kStandardPage = 100;

absl::StatusOr<LedgerReader::AlertFilter> ReadFilter(const v1::ListAlertsRequest& request) {
  core::FieldErrors errors;
  LedgerReader::AlertFilter filter;
  filter.job_id = request.job_id();
  for (int i = 0; i < request.states_size(); ++i) {
    const v1::AlertState state = request.states(i);
    if (state == v1::ALERT_STATE_UNSPECIFIED || !v1::AlertState_IsValid(state)) {
      errors.Add(absl::StrCat("states[", i, "]"), absl::StrCat(state, " is not a state"));
    }
    filter.states.push_back(state);
  }
  if (!v1::Severity_IsValid(request.min_severity())) {
    errors.Add("min_severity", absl::StrCat(request.min_severity(), " is not a severity"));
  }
  GW_RETURN_IF_ERROR(errors.ToStatus());
  filter.min_severity = request.min_severity();
  return filter;
}

std::string Describe(const v1::ListAlertsRequest& request) {
  std::string text = absl::StrCat("alerts/", request.job_id(), "/", request.min_severity());
  for (const int state : request.states()) absl::StrAppend(&text, "/", state);
  return text;
}

absl::StatusOr<v1::ListAlertsResponse> ListAlertsOf(LedgerReader& reader, const v1::ListAlertsRequest& request) {
  GW_ASSIGN_OR_RETURN(LedgerReader::AlertFilter filter, ReadFilter(request));
  GW_ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size(), kStandardPage));
  GW_ASSIGN_OR_RETURN(filter.before, ReadPageToken(request.page_token(), Describe(request), 0));
  filter.limit = page_size + 1;  // one more tells whether there is another page
  GW_ASSIGN_OR_RETURN(auto alerts, reader.ListAlerts(filter));
  v1::ListAlertsResponse response;
  if (static_cast<int>(alerts.size()) > page_size) {
    alerts.resize(page_size);
    response.set_next_page_token(MakePageToken(alerts.back().position, Describe(request)));
  }
  for (auto& stored : alerts) *response.add_alerts() = std::move(stored.alert);
  return response;
}

}  // namespace

grpc::ServerUnaryReactor* AlertRpc::ListAlerts(grpc::CallbackServerContext* call, const v1::ListAlertsRequest* request,
                                               v1::ListAlertsResponse* response) {
  return Answer<v1::ListAlertsResponse>(context_->executor, call, response, [this, request = *request] {
    return ListAlertsOf(*context_->reader, request);
  });
}

grpc::ServerUnaryReactor* AlertRpc::GetAlert(grpc::CallbackServerContext* call, const v1::GetAlertRequest* request,
                                             v1::Alert* response) {
  return Answer<v1::Alert>(context_->executor, call, response,
                           [this, id = request->alert_id()] { return context_->reader->GetAlert(id); });
}

grpc::ServerUnaryReactor* AlertRpc::GetRules(grpc::CallbackServerContext* call, const v1::GetRulesRequest* request,
                                             v1::RuleSet* response) {
  return Answer<v1::RuleSet>(context_->executor, call, response,
                             [this, id = request->job_id()]() -> absl::StatusOr<v1::RuleSet> {
                               GW_ASSIGN_OR_RETURN(const v1::Job job, context_->jobs->GetJob(id));
                               return job.spec().rules();
                             });
}

ByteReactor* AlertRpc::WatchAlerts(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request) {
  v1::WatchAlertsRequest parsed;
  if (const absl::Status status = Parse(*request, &parsed); !status.ok()) return RejectCall(status);
  return std::make_shared<AlertWatch>(context_, std::move(parsed))->Start(call);
}

grpc::ServerUnaryReactor* AlertRpc::AcknowledgeAlert(grpc::CallbackServerContext* call,
                                                     const v1::AcknowledgeAlertRequest*, v1::Alert*) {
  return NotServed(call, "AcknowledgeAlert");
}

grpc::ServerUnaryReactor* AlertRpc::ApplyRules(grpc::CallbackServerContext* call, const v1::ApplyRulesRequest*,
                                               v1::RuleSet*) {
  return NotServed(call, "ApplyRules");
}

grpc::ServerUnaryReactor* AlertRpc::CreateSilence(grpc::CallbackServerContext* call, const v1::CreateSilenceRequest*,
                                                  v1::Silence*) {
  return NotServed(call, "CreateSilence");
}

grpc::ServerUnaryReactor* AlertRpc::ListSilences(grpc::CallbackServerContext* call, const v1::ListSilencesRequest*,
                                                 v1::ListSilencesResponse*) {
  return NotServed(call, "ListSilences");
}

grpc::ServerUnaryReactor* AlertRpc::DeleteSilence(grpc::CallbackServerContext* call, const v1::DeleteSilenceRequest*,
                                                  v1::DeleteSilenceResponse*) {
  return NotServed(call, "DeleteSilence");
}

}  // namespace gradwatch::server
