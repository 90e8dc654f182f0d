#include "server/api/operations.h"

namespace gradwatch::server {
namespace {

constexpr char kJobs[] = "gradwatch.v1.JobService";
constexpr char kWatches[] = "gradwatch.v1.WatchService";
constexpr char kAlerts[] = "gradwatch.v1.AlertService";
constexpr char kTrainers[] = "gradwatch.v1.TrainerService";

constexpr OperationRow kRows[] = {
    {Operation::kCreateJob, kJobs, "CreateJob", OperationKind::kChange},
    {Operation::kGetJob, kJobs, "GetJob", OperationKind::kQuery},
    {Operation::kListJobs, kJobs, "ListJobs", OperationKind::kQuery},
    {Operation::kUpdateJob, kJobs, "UpdateJob", OperationKind::kChange},
    {Operation::kDeleteJob, kJobs, "DeleteJob", OperationKind::kChange},
    {Operation::kAdjustJob, kJobs, "AdjustJob", OperationKind::kChange},
    {Operation::kCancelEdit, kJobs, "CancelEdit", OperationKind::kChange},
    {Operation::kListEdits, kJobs, "ListEdits", OperationKind::kQuery},
    {Operation::kPauseJob, kJobs, "PauseJob", OperationKind::kChange},
    {Operation::kResumeJob, kJobs, "ResumeJob", OperationKind::kChange},
    {Operation::kStopJob, kJobs, "StopJob", OperationKind::kChange},
    {Operation::kCheckpointJob, kJobs, "CheckpointJob", OperationKind::kNotServed},
    {Operation::kListCheckpoints, kJobs, "ListCheckpoints", OperationKind::kNotServed},
    {Operation::kForkJob, kJobs, "ForkJob", OperationKind::kNotServed},
    {Operation::kGetServerInfo, kJobs, "GetServerInfo", OperationKind::kQuery},
    {Operation::kWatchJob, kWatches, "WatchJob", OperationKind::kWatch},
    {Operation::kWatchJobs, kWatches, "WatchJobs", OperationKind::kWatch},
    {Operation::kListEvents, kWatches, "ListEvents", OperationKind::kQuery},
    {Operation::kQueryStatistics, kWatches, "QueryStatistics", OperationKind::kQuery},
    {Operation::kListAlerts, kAlerts, "ListAlerts", OperationKind::kQuery},
    {Operation::kGetAlert, kAlerts, "GetAlert", OperationKind::kQuery},
    {Operation::kAcknowledgeAlert, kAlerts, "AcknowledgeAlert", OperationKind::kChange},
    {Operation::kWatchAlerts, kAlerts, "WatchAlerts", OperationKind::kWatch},
    {Operation::kGetRules, kAlerts, "GetRules", OperationKind::kQuery},
    {Operation::kApplyRules, kAlerts, "ApplyRules", OperationKind::kChange},
    {Operation::kCreateSilence, kAlerts, "CreateSilence", OperationKind::kChange},
    {Operation::kListSilences, kAlerts, "ListSilences", OperationKind::kQuery},
    {Operation::kDeleteSilence, kAlerts, "DeleteSilence", OperationKind::kChange},
    {Operation::kAttachTrainer, kTrainers, "AttachTrainer", OperationKind::kTrainer},
};
static_assert(std::size(kRows) == kOperations);

}  // namespace

absl::Span<const OperationRow> AllOperations() { return kRows; }

const OperationRow& RowOf(Operation operation) { return kRows[static_cast<int>(operation)]; }

}  // namespace gradwatch::server
