// The server's end of an attached trainer, as the job manager sees it.
#ifndef GRADWATCH_SERVER_JOB_TRAINER_LINK_H_
#define GRADWATCH_SERVER_JOB_TRAINER_LINK_H_

#include "absl/status/status.h"
#include "gradwatch/v1/trainer_service.pb.h"

namespace gradwatch::server {

// Thread-safe; never blocks; messages to a trainer that is gone are dropped.
class TrainerLink {
 public:
  virtual ~TrainerLink() = default;
  // Queues a directive; they arrive in order.
  virtual void Send(v1::TrainerDirective directive) = 0;
  // Ends the stream with this status, after what was queued.
  virtual void Close(const absl::Status& status) = 0;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_TRAINER_LINK_H_
