// What each notice of a trainer means for its job. All that a trainer tells is checked first (trainer_checks): it may
// be a foreign program.
#ifndef GRADWATCH_SERVER_JOB_NOTICES_H_
#define GRADWATCH_SERVER_JOB_NOTICES_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gradwatch/v1/trainer_service.pb.h"
#include "server/job/job.h"

namespace gradwatch::server {

// The tensors that the trainer of the present attempt tells become the job's. Errors as CheckToldTensors.
absl::Status ApplyTensors(absl::string_view field, const google::protobuf::RepeatedPtrField<v1::TensorInfo>& tensors,
                          v1::Job& job);

// Applies a notice that comes for the first time to its job. INVALID_ARGUMENT: its content. FAILED_PRECONDITION: the
// job has ended.
absl::Status ApplyNotice(const v1::Notice& notice, JobEdit& edit);

// Applies what is new of consecutive notices, the number of the last of which JobRow::acked_notice becomes. True: some
// are new. INVALID_ARGUMENT: there is a gap; else as ApplyNotice.
absl::StatusOr<bool> ApplyNotices(const v1::NoticeBatch& batch, JobEdit& edit);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_NOTICES_H_
