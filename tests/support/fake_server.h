// A gRPC server in the test's own process whose answers a test writes down.
#ifndef GRADWATCH_TESTS_SUPPORT_FAKE_SERVER_H_
#define GRADWATCH_TESTS_SUPPORT_FAKE_SERVER_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/rpc/error.pb.h"
#include "gradwatch/v1/alert_service.grpc.pb.h"
#include "gradwatch/v1/job_service.grpc.pb.h"
#include "gradwatch/v1/watch_service.grpc.pb.h"

namespace gradwatch::testing {

// The answer to a unary call, and to a stream (`write` returns false when the client is gone).
template <typename Request, typename Response>
using UnaryScript = std::function<grpc::Status(const Request&, Response*)>;
template <typename Request, typename Response>
using StreamScript = std::function<grpc::Status(const Request&, grpc::ServerContext*, grpc::ServerWriter<Response>*)>;

// UNIMPLEMENTED without a script. Scripts are set before the calls that they answer; they may run at the same time, and
// until Stop returns: what they use must live as long.
class FakeServer final : v1::JobService::Service, v1::WatchService::Service, v1::AlertService::Service {
 public:
  // Listens at 127.0.0.1 on a port of its own, or on `port`.
  explicit FakeServer(int port = 0) { Start(port); }
  ~FakeServer() override { Stop(); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  int port() const { return port_; }
  // Cuts all calls.
  void Stop() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_.reset();
  }
  void Restart() {
    Stop();
    Start(port_);
  }
  void SetServing(bool serving) { server_->GetHealthCheckService()->SetServingStatus(serving); }

  UnaryScript<v1::CreateJobRequest, v1::Job> create_job;
  absl::Time create_job_deadline;  // of the last CreateJob
  UnaryScript<v1::GetJobRequest, v1::Job> get_job;
  UnaryScript<v1::ListJobsRequest, v1::ListJobsResponse> list_jobs;
  UnaryScript<v1::UpdateJobRequest, v1::Job> update_job;
  UnaryScript<v1::DeleteJobRequest, v1::DeleteJobResponse> delete_job;
  UnaryScript<v1::AdjustJobRequest, v1::AdjustJobResponse> adjust_job;
  UnaryScript<v1::CancelEditRequest, v1::CancelEditResponse> cancel_edit;
  UnaryScript<v1::ListEditsRequest, v1::ListEditsResponse> list_edits;
  UnaryScript<v1::PauseJobRequest, v1::Job> pause_job;
  UnaryScript<v1::ResumeJobRequest, v1::Job> resume_job;
  UnaryScript<v1::StopJobRequest, v1::Job> stop_job;
  UnaryScript<v1::GetServerInfoRequest, v1::ServerInfo> get_server_info;
  UnaryScript<v1::ListAlertsRequest, v1::ListAlertsResponse> list_alerts;
  UnaryScript<v1::GetAlertRequest, v1::Alert> get_alert;
  UnaryScript<v1::AcknowledgeAlertRequest, v1::Alert> acknowledge_alert;
  UnaryScript<v1::GetRulesRequest, v1::RuleSet> get_rules;
  UnaryScript<v1::ApplyRulesRequest, v1::ApplyRulesResponse> apply_rules;
  UnaryScript<v1::CreateSilenceRequest, v1::Silence> create_silence;
  UnaryScript<v1::ListSilencesRequest, v1::ListSilencesResponse> list_silences;
  UnaryScript<v1::DeleteSilenceRequest, v1::DeleteSilenceResponse> delete_silence;
  UnaryScript<v1::QueryStatisticsRequest, v1::QueryStatisticsResponse> query_statistics;
  StreamScript<v1::WatchJobRequest, v1::WatchJobResponse> watch_job;
  StreamScript<v1::WatchAlertsRequest, v1::WatchAlertsResponse> watch_alerts;

 private:
  void Start(int port) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(static_cast<v1::JobService::Service*>(this));
    builder.RegisterService(static_cast<v1::WatchService::Service*>(this));
    builder.RegisterService(static_cast<v1::AlertService::Service*>(this));
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) std::abort();
  }

  template <typename Script, typename... Arguments>
  static grpc::Status Run(Script script, Arguments&&... arguments) {  // a copy: a test may set another meanwhile
    if (!script) return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "the test has no script for this call");
    return script(std::forward<Arguments>(arguments)...);
  }

  using Context = grpc::ServerContext;
  grpc::Status CreateJob(Context* context, const v1::CreateJobRequest* request, v1::Job* response) override {
    create_job_deadline = absl::FromChrono(context->deadline());
    return Run(create_job, *request, response);
  }
  grpc::Status GetJob(Context*, const v1::GetJobRequest* request, v1::Job* response) override {
    return Run(get_job, *request, response);
  }
  grpc::Status ListJobs(Context*, const v1::ListJobsRequest* request, v1::ListJobsResponse* response) override {
    return Run(list_jobs, *request, response);
  }
  grpc::Status UpdateJob(Context*, const v1::UpdateJobRequest* request, v1::Job* response) override {
    return Run(update_job, *request, response);
  }
  grpc::Status DeleteJob(Context*, const v1::DeleteJobRequest* request, v1::DeleteJobResponse* response) override {
    return Run(delete_job, *request, response);
  }
  grpc::Status AdjustJob(Context*, const v1::AdjustJobRequest* request, v1::AdjustJobResponse* response) override {
    return Run(adjust_job, *request, response);
  }
  grpc::Status CancelEdit(Context*, const v1::CancelEditRequest* request, v1::CancelEditResponse* response) override {
    return Run(cancel_edit, *request, response);
  }
  grpc::Status ListEdits(Context*, const v1::ListEditsRequest* request, v1::ListEditsResponse* response) override {
    return Run(list_edits, *request, response);
  }
  grpc::Status PauseJob(Context*, const v1::PauseJobRequest* request, v1::Job* response) override {
    return Run(pause_job, *request, response);
  }
  grpc::Status ResumeJob(Context*, const v1::ResumeJobRequest* request, v1::Job* response) override {
    return Run(resume_job, *request, response);
  }
  grpc::Status StopJob(Context*, const v1::StopJobRequest* request, v1::Job* response) override {
    return Run(stop_job, *request, response);
  }
  grpc::Status GetServerInfo(Context*, const v1::GetServerInfoRequest* request, v1::ServerInfo* response) override {
    return Run(get_server_info, *request, response);
  }
  grpc::Status ListAlerts(Context*, const v1::ListAlertsRequest* request, v1::ListAlertsResponse* response) override {
    return Run(list_alerts, *request, response);
  }
  grpc::Status GetAlert(Context*, const v1::GetAlertRequest* request, v1::Alert* response) override {
    return Run(get_alert, *request, response);
  }
  grpc::Status AcknowledgeAlert(Context*, const v1::AcknowledgeAlertRequest* request, v1::Alert* response) override {
    return Run(acknowledge_alert, *request, response);
  }
  grpc::Status GetRules(Context*, const v1::GetRulesRequest* request, v1::RuleSet* response) override {
    return Run(get_rules, *request, response);
  }
  grpc::Status ApplyRules(Context*, const v1::ApplyRulesRequest* request, v1::ApplyRulesResponse* response) override {
    return Run(apply_rules, *request, response);
  }
  grpc::Status CreateSilence(Context*, const v1::CreateSilenceRequest* request, v1::Silence* response) override {
    return Run(create_silence, *request, response);
  }
  grpc::Status ListSilences(Context*, const v1::ListSilencesRequest* request,
                            v1::ListSilencesResponse* response) override {
    return Run(list_silences, *request, response);
  }
  grpc::Status DeleteSilence(Context*, const v1::DeleteSilenceRequest* request,
                             v1::DeleteSilenceResponse* response) override {
    return Run(delete_silence, *request, response);
  }
  grpc::Status QueryStatistics(Context*, const v1::QueryStatisticsRequest* request,
                               v1::QueryStatisticsResponse* response) override {
    return Run(query_statistics, *request, response);
  }
  grpc::Status WatchJob(Context* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override {
    return Run(watch_job, *request, context, writer);
  }
  grpc::Status WatchAlerts(Context* context, const v1::WatchAlertsRequest* request,
                           grpc::ServerWriter<v1::WatchAlertsResponse>* writer) override {
    return Run(watch_alerts, *request, context, writer);
  }

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// A status as the server makes them: with a reason and wrong fields.
inline grpc::Status RichStatus(grpc::StatusCode code, const std::string& message, const google::rpc::ErrorInfo& info,
                               const google::rpc::BadRequest& bad_request = {}) {
  google::rpc::Status details;
  details.set_code(code);
  details.set_message(message);
  details.add_details()->PackFrom(info);
  if (bad_request.field_violations_size() > 0) details.add_details()->PackFrom(bad_request);
  return grpc::Status(code, message, details.SerializeAsString());
}

inline google::rpc::ErrorInfo Reason(const std::string& reason) {
  google::rpc::ErrorInfo info;
  info.set_domain("gradwatch.v1");
  info.set_reason(reason);
  return info;
}

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_FAKE_SERVER_H_
