#include "server/rpc/grpc_watch.h"

#include <optional>
#include <utility>

#include "server/base/grpc_status.h"
#include "server/rpc/byte_buffers.h"

namespace gradwatch::server {
namespace {

// gRPC owns it and says when it goes; the session lives as long as somebody holds it, and leaves the sink before.
class GrpcWatch final : public ByteReactor, public WatchSink {
 public:
  GrpcWatch(StreamRegistry* streams, grpc::CallbackServerContext* call, std::shared_ptr<WatchSession> session)
      : streams_(streams), call_(call), session_(std::move(session)) {}

  void Write(EncodedMessage message) override {
    buffer_ = ToBuffer(message);
    StartWrite(&buffer_);
  }
  void Finish(std::optional<EncodedMessage> last, const absl::Status& status) override {
    if (!last.has_value()) return ByteReactor::Finish(ToGrpcStatus(status));
    buffer_ = ToBuffer(*last);
    StartWriteAndFinish(&buffer_, grpc::WriteOptions(), ToGrpcStatus(status));
  }
  void Cancel() override { call_->TryCancel(); }

  void OnWriteDone(bool ok) override { session_->OnWritten(ok); }
  void OnCancel() override { session_->OnGone(); }
  void OnDone() override {
    session_->OnDone();
    streams_->Remove(session_);
    delete this;
  }

 private:
  StreamRegistry* const streams_;
  grpc::CallbackServerContext* const call_;
  const std::shared_ptr<WatchSession> session_;
  grpc::ByteBuffer buffer_;  // must live until the write is done
};

class Refusal final : public ByteReactor {
 public:
  explicit Refusal(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

ByteReactor* StartWatch(StreamRegistry* streams, grpc::CallbackServerContext* call,
                        absl::StatusOr<std::shared_ptr<WatchSession>> session) {
  if (!session.ok()) return new Refusal(session.status());
  auto* const watch = new GrpcWatch(streams, call, *session);
  (*session)->Start(watch);
  streams->Add(*session);
  return watch;
}

}  // namespace gradwatch::server
