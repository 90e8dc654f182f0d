// What the services work with.
#ifndef GRADWATCH_SERVER_RPC_RPC_CONTEXT_H_
#define GRADWATCH_SERVER_RPC_RPC_CONTEXT_H_

#include <string>

#include "core/base/clock.h"
#include "gradwatch/v1/job_service.pb.h"
#include "server/base/executor.h"
#include "server/job/job_manager.h"
#include "server/api/stream_registry.h"
#include "server/store/ledger.h"
#include "server/store/statistics_store.h"
#include "server/stream/hub.h"

namespace gradwatch::server {

// Constant; the pointers outlive the services.
struct RpcContext {
  JobManager* jobs;
  LedgerReader* reader;
  StatisticsStore* statistics;
  Hub* hub;
  Executor* executor;  // where unary calls are answered
  const core::Clock* clock;
  StreamRegistry* streams;
  v1::ServerInfo info;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_RPC_CONTEXT_H_
