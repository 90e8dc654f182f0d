#include "server/rpc/job_rpc.h"

#include "server/rpc/unary.h"

namespace gradwatch::server {

grpc::ServerUnaryReactor* JobRpc::CreateJob(grpc::CallbackServerContext* call, const v1::CreateJobRequest* request,
                                            v1::Job* response) {
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  context_->jobs->CreateJob(*request, call->peer(), AnswerLater(context_->executor, reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* JobRpc::DeleteJob(grpc::CallbackServerContext* call, const v1::DeleteJobRequest* request,
                                            v1::DeleteJobResponse* response) {
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  context_->jobs->DeleteJob(*request, call->peer(), AnswerLater(context_->executor, reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* JobRpc::AdjustJob(grpc::CallbackServerContext* call, const v1::AdjustJobRequest* request,
                                            v1::AdjustJobResponse* response) {
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  context_->jobs->AdjustJob(*request, call->peer(), AnswerLater(context_->executor, reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* JobRpc::PauseJob(grpc::CallbackServerContext* call, const v1::PauseJobRequest* request,
                                           v1::Job* response) {
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  context_->jobs->PauseJob(*request, call->peer(), AnswerLater(context_->executor, reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* JobRpc::ResumeJob(grpc::CallbackServerContext* call, const v1::ResumeJobRequest* request,
                                            v1::Job* response) {
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  context_->jobs->ResumeJob(*request, call->peer(), AnswerLater(context_->executor, reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* JobRpc::StopJob(grpc::CallbackServerContext* call, const v1::StopJobRequest* request,
                                          v1::Job* response) {
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  context_->jobs->StopJob(*request, call->peer(), AnswerLater(context_->executor, reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* JobRpc::GetJob(grpc::CallbackServerContext* call, const v1::GetJobRequest* request,
                                         v1::Job* response) {
  return Answer<v1::Job>(context_->executor, call, response,
                         [this, job_id = request->job_id()] { return context_->jobs->GetJob(job_id); });
}

grpc::ServerUnaryReactor* JobRpc::ListJobs(grpc::CallbackServerContext* call, const v1::ListJobsRequest* request,
                                           v1::ListJobsResponse* response) {
  return Answer<v1::ListJobsResponse>(context_->executor, call, response,
                                      [this, request = *request] { return context_->jobs->ListJobs(request); });
}

grpc::ServerUnaryReactor* JobRpc::GetServerInfo(grpc::CallbackServerContext* call, const v1::GetServerInfoRequest*,
                                                v1::ServerInfo* response) {
  *response = context_->info;
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* JobRpc::UpdateJob(grpc::CallbackServerContext* call, const v1::UpdateJobRequest*, v1::Job*) {
  return NotServed(call, "UpdateJob");
}

grpc::ServerUnaryReactor* JobRpc::CheckpointJob(grpc::CallbackServerContext* call, const v1::CheckpointJobRequest*,
                                                v1::Checkpoint*) {
  return NotServed(call, "CheckpointJob");
}

grpc::ServerUnaryReactor* JobRpc::ListCheckpoints(grpc::CallbackServerContext* call, const v1::ListCheckpointsRequest*,
                                                  v1::ListCheckpointsResponse*) {
  return NotServed(call, "ListCheckpoints");
}

grpc::ServerUnaryReactor* JobRpc::ForkJob(grpc::CallbackServerContext* call, const v1::ForkJobRequest*, v1::Job*) {
  return NotServed(call, "ForkJob");
}

}  // namespace gradwatch::server
