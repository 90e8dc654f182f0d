#include "client/worker/attach_stream.h"

#include <utility>

namespace gradwatch::worker {
namespace {

// The kinds of operations, as tags of the completion queue.
enum Operation : uintptr_t { kStart = 1, kRead, kWrite, kFinish };

void* Tag(Operation operation) { return reinterpret_cast<void*>(static_cast<uintptr_t>(operation)); }
Operation OperationOf(const EventQueue::Event& event) {
  return static_cast<Operation>(reinterpret_cast<uintptr_t>(event.tag));
}

}  // namespace

AttachStream::AttachStream(v1::TrainerService::Stub* stub, EventQueue* events, v1::TrainerHello hello)
    : events_(events), call_(stub->PrepareAsyncAttachTrainer(&context_, events->queue())) {
  *hello_.mutable_hello() = std::move(hello);
  call_->StartCall(Tag(kStart));
}

AttachStream::~AttachStream() {
  if (!closed_) Close();
}

AttachStream::Event AttachStream::Wait(absl::Duration timeout) {
  if (has_started_ && !reading_ && !ended_) StartRead();
  const std::optional<EventQueue::Event> event = events_->Next(timeout);
  return event.has_value() ? Handle(*event) : Event::kNone;
}

AttachStream::Event AttachStream::Handle(const EventQueue::Event& event) {
  switch (OperationOf(event)) {
    case kStart:
      starting_ = false;
      if (!event.ok) break;
      if (closed_) return Event::kNone;
      has_started_ = true;
      StartRead();
      Write(hello_);
      return Event::kNone;
    case kRead:
      reading_ = false;
      if (!event.ok) break;
      return Event::kDirective;
    case kWrite:
      writing_ = false;
      write_failed_ = !event.ok;
      return Event::kNone;
    case kFinish:
      return Event::kNone;
  }
  ended_ = true;
  return Event::kEnded;
}

void AttachStream::StartRead() {
  reading_ = true;
  call_->Read(&directive_, Tag(kRead));
}

void AttachStream::Write(const v1::TrainerMessage& message) {
  writing_ = true;
  call_->Write(message, Tag(kWrite));  // serialises at once, so the message need not live on
}

grpc::Status AttachStream::Close() {
  closed_ = true;
  if (!ended_) context_.TryCancel();
  while (starting_ || reading_ || writing_) Handle(events_->Await());
  grpc::Status status;
  call_->Finish(&status, Tag(kFinish));
  events_->Await();
  return status;
}

}  // namespace gradwatch::worker
