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
  // `read_ahead`: bytes of all trainers together that may be on their way into the stores.
  explicit TrainerRpc(const RpcContext* context, size_t read_ahead = ReadBudget::kBytes)
      : context_(context), budget_(std::make_shared<ReadBudget>(read_ahead)) {}
  TrainerReactor* AttachTrainer(grpc::CallbackServerContext* call) override {
    return std::make_shared<TrainerStream>(context_->jobs, context_->streams, context_->clock, budget_,
                                           context_->api->AdmitTrainer())
        ->Start(call);
  }

 private:
  const RpcContext* const context_;
  const std::shared_ptr<ReadBudget> budget_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_TRAINER_RPC_H_
