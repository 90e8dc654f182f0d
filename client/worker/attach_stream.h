// One attach stream from its first to its last message, for a thread that does one thing after the other.
#ifndef GRADWATCH_CLIENT_WORKER_ATTACH_STREAM_H_
#define GRADWATCH_CLIENT_WORKER_ATTACH_STREAM_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/async_stream.h>

#include <memory>

#include "absl/time/time.h"
#include "client/worker/event_queue.h"
#include "gradwatch/v1/trainer_service.grpc.pb.h"

namespace gradwatch::worker {

// For one thread. Built on a completion queue rather than on reactions: the thread that waits does the work, and no
// other thread of gRPC's takes time from the training.
class AttachStream {
 public:
  enum class Event {
    kNone,       // time is up, the queue was woken, or a message has left
    kDirective,  // see directive()
    kEnded,      // nothing will come any more; see Close
  };

  // Opens the stream and says `hello`. `events` must outlive this object and serve nobody else meanwhile.
  AttachStream(v1::TrainerService::Stub* stub, EventQueue* events, v1::TrainerHello hello);
  ~AttachStream();
  AttachStream(const AttachStream&) = delete;
  AttachStream& operator=(const AttachStream&) = delete;

  // Waits for something to happen, for at most `timeout`.
  Event Wait(absl::Duration timeout);
  // What the server said; valid until the next Wait.
  const v1::TrainerDirective& directive() const { return directive_; }

  // Whether a message can be taken now.
  bool can_write() const { return has_started_ && !writing_ && !write_failed_ && !ended_; }
  // Sends a message; needs can_write().
  void Write(const v1::TrainerMessage& message);

  // Ends the stream, unless the server has, and says how it ended. Call once; nothing else afterwards.
  grpc::Status Close();

 private:
  Event Handle(const EventQueue::Event& event);
  void StartRead();

  EventQueue* const events_;
  v1::TrainerMessage hello_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::TrainerMessage, v1::TrainerDirective>> call_;
  v1::TrainerDirective directive_;

  // Operations under way; at most one of each kind.
  bool starting_ = true;
  bool reading_ = false;
  bool writing_ = false;

  bool has_started_ = false;
  bool write_failed_ = false;  // the stream is broken; the read will say so, too
  bool ended_ = false;         // the last message has been read
  bool closed_ = false;
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_ATTACH_STREAM_H_
