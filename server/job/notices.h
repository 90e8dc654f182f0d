// What each notice of a trainer means for its job.
#ifndef GRADWATCH_SERVER_JOB_NOTICES_H_
#define GRADWATCH_SERVER_JOB_NOTICES_H_

#include "absl/status/status.h"
#include "gradwatch/v1/trainer_service.pb.h"
#include "server/job/job_edit.h"

namespace gradwatch::server {

// Applies a notice that comes for the first time. INVALID_ARGUMENT: its content.
absl::Status ApplyNotice(const v1::Notice& notice, JobEdit& edit);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_NOTICES_H_
