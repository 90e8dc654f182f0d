// JobService on the wire: hands each call to the job manager.
#ifndef GRADWATCH_SERVER_RPC_JOB_RPC_H_
#define GRADWATCH_SERVER_RPC_JOB_RPC_H_

#include "gradwatch/v1/job_service.grpc.pb.h"
#include "server/rpc/rpc_context.h"

namespace gradwatch::server {

// Thread-safe.
class JobRpc final : public v1::JobService::CallbackService {
 public:
  explicit JobRpc(const RpcContext* context) : context_(context) {}

  grpc::ServerUnaryReactor* CreateJob(grpc::CallbackServerContext* call, const v1::CreateJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* call, const v1::GetJobRequest* request,
                                   v1::Job* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* call, const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerUnaryReactor* UpdateJob(grpc::CallbackServerContext* call, const v1::UpdateJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* DeleteJob(grpc::CallbackServerContext* call, const v1::DeleteJobRequest* request,
                                      v1::DeleteJobResponse* response) override;
  grpc::ServerUnaryReactor* AdjustJob(grpc::CallbackServerContext* call, const v1::AdjustJobRequest* request,
                                      v1::AdjustJobResponse* response) override;
  grpc::ServerUnaryReactor* PauseJob(grpc::CallbackServerContext* call, const v1::PauseJobRequest* request,
                                     v1::Job* response) override;
  grpc::ServerUnaryReactor* ResumeJob(grpc::CallbackServerContext* call, const v1::ResumeJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* StopJob(grpc::CallbackServerContext* call, const v1::StopJobRequest* request,
                                    v1::Job* response) override;
  grpc::ServerUnaryReactor* CheckpointJob(grpc::CallbackServerContext* call, const v1::CheckpointJobRequest* request,
                                          v1::Checkpoint* response) override;
  grpc::ServerUnaryReactor* ListCheckpoints(grpc::CallbackServerContext* call,
                                            const v1::ListCheckpointsRequest* request,
                                            v1::ListCheckpointsResponse* response) override;
  grpc::ServerUnaryReactor* ForkJob(grpc::CallbackServerContext* call, const v1::ForkJobRequest* request,
                                    v1::Job* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* call, const v1::GetServerInfoRequest* request,
                                          v1::ServerInfo* response) override;

 private:
  const RpcContext* const context_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_JOB_RPC_H_
