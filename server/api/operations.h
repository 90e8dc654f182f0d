// The table of all operations: every method of every service has a row.
#ifndef GRADWATCH_SERVER_API_OPERATIONS_H_
#define GRADWATCH_SERVER_API_OPERATIONS_H_

#include "absl/types/span.h"

namespace gradwatch::server {

// In the order of the table.
enum class Operation {
  kCreateJob,
  kGetJob,
  kListJobs,
  kUpdateJob,
  kDeleteJob,
  kAdjustJob,
  kCancelEdit,
  kListEdits,
  kPauseJob,
  kResumeJob,
  kStopJob,
  kCheckpointJob,
  kListCheckpoints,
  kForkJob,
  kGetServerInfo,
  kWatchJob,
  kWatchJobs,
  kListEvents,
  kQueryStatistics,
  kListAlerts,
  kGetAlert,
  kAcknowledgeAlert,
  kWatchAlerts,
  kGetRules,
  kApplyRules,
  kCreateSilence,
  kListSilences,
  kDeleteSilence,
  kAttachTrainer,
};
inline constexpr int kOperations = static_cast<int>(Operation::kAttachTrainer) + 1;

enum class OperationKind {
  kQuery,      // answered once, changes nothing
  kChange,     // answered once, when the change is durable
  kWatch,      // a session that writes to a sink
  kTrainer,    // a conversation; see server/rpc/trainer_stream.h
  kNotServed,  // UNIMPLEMENTED, reason FEATURE_DISABLED
};

struct OperationRow {
  Operation operation;
  const char* service;  // "gradwatch.v1.JobService"
  const char* method;   // "CreateJob"
  OperationKind kind;
};

// In the order of Operation.
absl::Span<const OperationRow> AllOperations();
const OperationRow& RowOf(Operation operation);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_OPERATIONS_H_
