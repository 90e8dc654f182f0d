// What the services work with.
#ifndef GRADWATCH_SERVER_RPC_RPC_CONTEXT_H_
#define GRADWATCH_SERVER_RPC_RPC_CONTEXT_H_

#include "core/base/clock.h"
#include "server/api/api.h"
#include "server/api/stream_registry.h"
#include "server/job/job_manager.h"

namespace gradwatch::server {

// Constant; the pointers outlive the services.
struct RpcContext {
  Api* api;
  JobManager* jobs;  // for trainers
  const core::Clock* clock;
  StreamRegistry* streams;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_RPC_CONTEXT_H_
