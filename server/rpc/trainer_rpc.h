// TrainerService on the wire.
#ifndef GRADWATCH_SERVER_RPC_TRAINER_RPC_H_
#define GRADWATCH_SERVER_RPC_TRAINER_RPC_H_

#include <memory>

#include "gradwatch/v1/trainer_service.grpc.pb.h"
#include "server/rpc/rpc_context.h"
#include "server/rpc/trainer_stream.h"

namespace gradwatch::server {

// Thread-safe.
class TrainerRpc final : public v1::TrainerService::CallbackService {
 public:
  explicit TrainerRpc(const RpcContext* context) : context_(context) {}
  TrainerReactor* AttachTrainer(grpc::CallbackServerContext* call) override {
    return std::make_shared<TrainerStream>(context_->jobs, context_->streams, context_->clock,
                                           context_->api->AdmitTrainer())
        ->Start(call);
  }

 private:
  const RpcContext* const context_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_TRAINER_RPC_H_
