#include "server/rpc/write_stream.h"

#include <utility>

#include "server/base/grpc_status.h"

namespace gradwatch::server {
namespace {

// An idle stream says that it is alive this often.
constexpr absl::Duration kBookmarkEvery = absl::Seconds(15);
// A write that the peer does not take for so long ends the call: the reader can come back and go on.
constexpr absl::Duration kStalled = absl::Seconds(30);

}  // namespace

class WriteStream::Reactor final : public ByteReactor {
 public:
  explicit Reactor(std::shared_ptr<WriteStream> stream) : stream_(std::move(stream)) {}
  void OnWriteDone(bool ok) override { stream_->OnWriteDone(ok); }
  void OnCancel() override { stream_->OnCancel(); }
  void OnDone() override {
    stream_->OnDone();
    delete this;
  }

 private:
  const std::shared_ptr<WriteStream> stream_;
};

WriteStream::WriteStream(const RpcContext* context, std::string topic) : context_(context), topic_(std::move(topic)) {}

ByteReactor* WriteStream::Start(grpc::CallbackServerContext* call) {
  reactor_ = new Reactor(shared_from_this());
  last_write_ns_ = absl::ToInt64Nanoseconds(context_->clock->Monotonic());
  {
    absl::MutexLock lock(&mutex_);
    call_ = call;
  }
  Reactor* const reactor = reactor_;
  context_->hub->Subscribe(topic_, shared_from_this());
  context_->streams->Add(shared_from_this());
  Wake();
  return reactor;
}

void WriteStream::OnWake() {
  if (finished_) {
    if (abandoned_) CancelCall();
    return;
  }
  if (abandoned_.exchange(false)) CancelCall();
  if (writing_) return;  // woken again when it is done
  if (broken_) return Deliver({.message = std::nullopt, .end = grpc::Status::CANCELLED});
  Deliver(Next());
}

WriteStream::Output WriteStream::Next() {
  if (shutting_down_) return ProduceShutdown();
  Output output = Produce();
  const bool due = bookmark_due_.exchange(false);
  if (due && !output.message.has_value() && !output.end.has_value()) output.message = ProduceBookmark();
  return output;
}

void WriteStream::Deliver(Output output) {
  finished_ = output.end.has_value();
  if (!output.message.has_value()) {
    if (finished_) reactor_->Finish(*output.end);
    return;
  }
  buffer_ = *std::move(output.message);
  last_write_ns_ = absl::ToInt64Nanoseconds(context_->clock->Monotonic());
  writing_ = true;
  if (finished_) {
    reactor_->StartWriteAndFinish(&buffer_, grpc::WriteOptions(), *output.end);
  } else {
    reactor_->StartWrite(&buffer_);
  }
}

// The call stays alive meanwhile: OnDone waits for the lock. OnCancel, which this brings about, takes none.
void WriteStream::CancelCall() {
  absl::MutexLock lock(&mutex_);
  if (call_ != nullptr) call_->TryCancel();
}

void WriteStream::Tick(absl::Duration now) {
  const absl::Duration quiet = now - absl::Nanoseconds(last_write_ns_.load());
  if (writing_ && quiet >= kStalled) {
    Abandon();
  } else if (!writing_ && quiet >= kBookmarkEvery) {
    bookmark_due_ = true;
    Wake();
  }
}

void WriteStream::BeginShutdown() {
  shutting_down_ = true;
  Wake();
}

void WriteStream::Abandon() {
  abandoned_ = true;
  Wake();
}

void WriteStream::Wake() { context_->hub->Wake(shared_from_this()); }

void WriteStream::OnWriteDone(bool ok) {
  if (!ok) broken_ = true;
  writing_ = false;
  Wake();
}

void WriteStream::OnCancel() {
  broken_ = true;
  Wake();
}

void WriteStream::OnDone() {
  {
    absl::MutexLock lock(&mutex_);
    call_ = nullptr;
  }
  context_->hub->Unsubscribe(topic_, shared_from_this());
  context_->streams->Remove(shared_from_this());
}

ByteReactor* RejectCall(const absl::Status& status) {
  class Rejection final : public ByteReactor {
   public:
    explicit Rejection(const grpc::Status& status) { Finish(status); }
    void OnDone() override { delete this; }
  };
  return new Rejection(ToGrpcStatus(status));
}

}  // namespace gradwatch::server
