// The discipline of a stream that only the server writes to: one write at a time, finished exactly once, and everything
// that gRPC is told comes from one place.
//
// gRPC's own object (the reactor) and the stream are two: the reactor is gone when gRPC says so, while the stream lives
// as long as somebody holds it. Reactions only set flags and wake the stream; its OnWake, which the hub never runs
// twice at once, is the only one to start a write, to finish or to cancel.
#ifndef GRADWATCH_SERVER_RPC_WRITE_STREAM_H_
#define GRADWATCH_SERVER_RPC_WRITE_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/rpc/rpc_context.h"
#include "server/api/stream_registry.h"
#include "server/stream/hub.h"

namespace gradwatch::server {

using ByteReactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;

class WriteStream : public Subscriber, public ManagedStream, public std::enable_shared_from_this<WriteStream> {
 public:
  // What comes next. Nothing: wait to be woken.
  struct Output {
    std::optional<grpc::ByteBuffer> message;
    std::optional<grpc::Status> end;  // after the message
  };

  // `topic`: of the hub.
  WriteStream(const RpcContext* context, std::string topic);

  // The object for gRPC. Call it once.
  ByteReactor* Start(grpc::CallbackServerContext* call) ABSL_LOCKS_EXCLUDED(mutex_);

  void OnWake() override;
  void Tick(absl::Duration now) override;
  void BeginShutdown() override;
  void Abandon() override;

 protected:
  // Runs on a hub thread, not twice at once. The first call makes the first message, which comes at once.
  virtual Output Produce() = 0;
  // A message that says only that the stream is complete up to now.
  virtual grpc::ByteBuffer ProduceBookmark() = 0;
  // The end of a stream that the server's shutdown ends.
  virtual Output ProduceShutdown() = 0;

  const RpcContext& context() const { return *context_; }

 private:
  class Reactor;

  Output Next();
  void Deliver(Output output);
  void CancelCall() ABSL_LOCKS_EXCLUDED(mutex_);
  void Wake();
  void OnWriteDone(bool ok);
  void OnCancel();
  void OnDone() ABSL_LOCKS_EXCLUDED(mutex_);

  const RpcContext* const context_;
  const std::string topic_;

  std::atomic<bool> writing_ = false;
  std::atomic<bool> broken_ = false;     // the peer is gone: only Finish is left to do
  std::atomic<bool> abandoned_ = false;  // the call is to be cancelled
  std::atomic<bool> shutting_down_ = false;
  std::atomic<bool> bookmark_due_ = false;
  std::atomic<int64_t> last_write_ns_ = 0;  // monotonic time of the last start of a write

  // OnWake only.
  Reactor* reactor_ = nullptr;
  bool finished_ = false;
  grpc::ByteBuffer buffer_;  // must live until the write is done

  absl::Mutex mutex_;
  grpc::CallbackServerContext* call_ ABSL_GUARDED_BY(mutex_) = nullptr;  // null: the call is over
};

// The reactor of a call that is refused.
ByteReactor* RejectCall(const absl::Status& status);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_WRITE_STREAM_H_
