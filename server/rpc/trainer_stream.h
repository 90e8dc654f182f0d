// The stream of one AttachTrainer call: what the trainer says goes to the job manager one message at a time, and what
// the manager says to it waits in a queue for the write before it.
#ifndef GRADWATCH_SERVER_RPC_TRAINER_STREAM_H_
#define GRADWATCH_SERVER_RPC_TRAINER_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "gradwatch/v1/trainer_service.pb.h"
#include "server/api/admission.h"
#include "server/api/stream_registry.h"
#include "server/job/job_manager.h"
#include "server/rpc/read_budget.h"

namespace gradwatch::server {

using TrainerReactor = grpc::ServerBidiReactor<v1::TrainerMessage, v1::TrainerDirective>;

// Messages are handed on one after the other, in order. The next one is read while those before it are on their way
// into the stores, so that a notice does not wait until the reports before it are stored; but only so much is read
// ahead that neither a trainer nor all of them can fill the server's memory, or the ledger's queue. Starting an
// operation of gRPC never runs a reaction on the same stack, so it may be done under the lock. The manager may answer,
// and keep its link, when gRPC's server and the services are gone: then only the manager is used.
class TrainerStream final : public TrainerLink,
                            public ManagedStream,
                            public std::enable_shared_from_this<TrainerStream> {
 public:
  // `jobs` outlives its callbacks; `streams` and `clock` outlive the call. What is not admitted ends with that error.
  // `budget`: that of all streams.
  TrainerStream(JobManager* jobs, StreamRegistry* streams, const core::Clock* clock, std::shared_ptr<ReadBudget> budget,
                absl::StatusOr<Admission::Watch> admitted);

  // The object for gRPC. Call it once.
  TrainerReactor* Start(grpc::CallbackServerContext* call) ABSL_LOCKS_EXCLUDED(mutex_);

  void Send(v1::TrainerDirective directive) override ABSL_LOCKS_EXCLUDED(mutex_);
  void Close(const absl::Status& status) override ABSL_LOCKS_EXCLUDED(mutex_);
  Heard TakeHeard() override ABSL_LOCKS_EXCLUDED(mutex_);

  void Tick(absl::Duration now) override ABSL_LOCKS_EXCLUDED(mutex_);
  void BeginShutdown() override;
  void Abandon() override ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Reactor;

  void OnReadDone(bool ok) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnWriteDone(bool ok) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnCancel();
  void OnDone() ABSL_LOCKS_EXCLUDED(mutex_);

  void Handle(v1::TrainerMessage message);
  void HandleHello(v1::TrainerHello hello) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnAttached(absl::StatusOr<JobManager::Attachment> attachment) ABSL_LOCKS_EXCLUDED(mutex_);
  // The last message was handed on: reads the next one now, or when there is room.
  void ReadNext() ABSL_LOCKS_EXCLUDED(mutex_);
  // Counts a message of `bytes` as not accepted until what it returns was called; it counts as `weight` bytes of this
  // stream.
  absl::AnyInvocable<void()> CountUntilAccepted(size_t bytes, size_t weight) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnAccepted(size_t weight) ABSL_LOCKS_EXCLUDED(mutex_);
  // The trainer has said all, and it was accepted: ends the stream behind what is queued.
  void EndAfterAll() ABSL_LOCKS_EXCLUDED(mutex_);
  void ReadIfThereIsRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The trainer is gone: tells the manager, once.
  void Detach(const std::string& reason) ABSL_LOCKS_EXCLUDED(mutex_);
  // Drops what is queued and ends the stream.
  void End(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  // Starts the next write, or finishes, if nothing is on its way.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  JobManager* const jobs_;
  StreamRegistry* const streams_;   // used until OnDone
  const core::Clock* const clock_;  // used until OnDone
  const std::shared_ptr<ReadBudget> budget_;
  const absl::Duration opened_;
  v1::TrainerMessage message_;  // of the read that is under way

  absl::Mutex mutex_;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;   // a message is being read, or handed on
  bool has_all_ ABSL_GUARDED_BY(mutex_) = false;   // the trainer will say nothing more
  size_t unaccepted_ ABSL_GUARDED_BY(mutex_) = 0;  // weight of what was handed on
  absl::StatusOr<Admission::Watch> admitted_ ABSL_GUARDED_BY(mutex_);
  Reactor* reactor_ ABSL_GUARDED_BY(mutex_) = nullptr;                   // null: the call is over
  grpc::CallbackServerContext* call_ ABSL_GUARDED_BY(mutex_) = nullptr;  // null: the call is over
  std::deque<v1::TrainerDirective> queue_ ABSL_GUARDED_BY(mutex_);
  v1::TrainerDirective current_ ABSL_GUARDED_BY(mutex_);  // of the write that is under way
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mutex_);  // how to finish when the queue is empty
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool heard_ ABSL_GUARDED_BY(mutex_) = false;  // a message came since TakeHeard
  absl::Duration last_write_ ABSL_GUARDED_BY(mutex_);
  bool greeted_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<std::string> detached_ ABSL_GUARDED_BY(mutex_);  // why; the manager is told as soon as it can be
  std::optional<JobManager::Attachment> attachment_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_TRAINER_STREAM_H_
