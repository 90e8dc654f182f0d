// What each notice of a trainer means for its job. All that a trainer tells is checked here: it may be a foreign
// program.
#ifndef GRADWATCH_SERVER_JOB_NOTICES_H_
#define GRADWATCH_SERVER_JOB_NOTICES_H_

#include "absl/status/status.h"
#include "gradwatch/v1/trainer_service.pb.h"
#include "server/job/job.h"

namespace gradwatch::server {

// Applies a notice that comes for the first time to its job. INVALID_ARGUMENT: its content. FAILED_PRECONDITION: the
// job has ended.
absl::Status ApplyNotice(const v1::Notice& notice, JobEdit& edit);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_NOTICES_H_
