// The stream of one WatchJob call.
#ifndef GRADWATCH_SERVER_RPC_JOB_WATCH_H_
#define GRADWATCH_SERVER_RPC_JOB_WATCH_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/rpc/write_stream.h"
#include "server/stream/watch_feed.h"

namespace gradwatch::server {

class JobWatch final : public WriteStream {
 public:
  // Errors as WatchService.WatchJob says.
  static absl::StatusOr<std::shared_ptr<JobWatch>> Create(const RpcContext* context,
                                                          const v1::WatchJobRequest& request);

 private:
  JobWatch(const RpcContext* context, std::string job_id, std::shared_ptr<JobChannel> channel, WatchFeed feed);

  Output Produce() override;
  grpc::ByteBuffer ProduceBookmark() override;
  Output ProduceShutdown() override;

  grpc::ByteBuffer MakeStarted(v1::Job job);
  Output End(v1::WatchEnded::Reason reason, grpc::Status status);

  const std::string job_id_;
  const std::shared_ptr<JobChannel> channel_;
  WatchFeed feed_;
  bool started_ = false;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_JOB_WATCH_H_
