#include "server/rpc/trainer_stream.h"

#include <algorithm>
#include <utility>

#include "core/base/error.h"
#include "server/base/grpc_status.h"
#include "server/base/shutting_down.h"
#include "server/job/trainer_checks.h"

namespace gradwatch::server {
namespace {

constexpr absl::Duration kHelloTimeout = absl::Seconds(10);
constexpr absl::Duration kHeartbeatEvery = absl::Seconds(5);
constexpr absl::Duration kStalled = absl::Seconds(30);
// So many bytes of a stream may be on their way into the stores before nothing more is read of it: the 4 MiB of reports
// that the protocol lets a trainer send without an acknowledgement, and room for notices behind them.
constexpr size_t kReadAhead = size_t{6} << 20;
// What a message of notices counts at least. Each is an operation of the ledger, which takes its time however small it
// is, and stands in one queue with what all other jobs tell.
constexpr size_t kNoticesWeight = kReadAhead / 8;

// Whether it was closed or broken is not told apart by gRPC's reactions, which come in any order.
constexpr char kStreamEnded[] = "the trainer's stream ended";

// What counts of notices of so many bytes. The tensors say what reports may hold, so that nothing behind them is looked
// at before they are known.
size_t WeightOf(const v1::NoticeBatch& batch, size_t bytes) {
  const bool tells_tensors = std::any_of(batch.notices().begin(), batch.notices().end(),
                                         [](const v1::Notice& notice) { return notice.has_model_ready(); });
  return tells_tensors ? kReadAhead : std::max(bytes, kNoticesWeight);
}

// Acknowledgements are cumulative: the newer one says it all.
bool MergeAck(const v1::TrainerDirective& directive, v1::TrainerDirective* last) {
  if (!directive.has_ack() || !last->has_ack()) return false;
  const v1::TrainerAck& ack = directive.ack();
  last->mutable_ack()->set_notice(std::max(ack.notice(), last->ack().notice()));
  if (ack.has_step()) last->mutable_ack()->set_step(std::max(ack.step(), last->ack().step()));
  return true;
}

}  // namespace

class TrainerStream::Reactor final : public TrainerReactor {
 public:
  explicit Reactor(std::shared_ptr<TrainerStream> stream) : stream_(std::move(stream)) {}
  void OnReadDone(bool ok) override { stream_->OnReadDone(ok); }
  void OnWriteDone(bool ok) override { stream_->OnWriteDone(ok); }
  void OnCancel() override { stream_->OnCancel(); }
  void OnDone() override {
    stream_->OnDone();
    delete this;
  }

 private:
  const std::shared_ptr<TrainerStream> stream_;
};

TrainerStream::TrainerStream(JobManager* jobs, StreamRegistry* streams, const core::Clock* clock,
                             std::shared_ptr<ReadBudget> budget, absl::StatusOr<Admission::Watch> admitted)
    : jobs_(jobs),
      streams_(streams),
      clock_(clock),
      budget_(std::move(budget)),
      opened_(clock->Monotonic()),
      admitted_(std::move(admitted)),
      last_write_(opened_) {
  if (!admitted_.ok()) end_ = ToGrpcStatus(admitted_.status());
}

TrainerReactor* TrainerStream::Start(grpc::CallbackServerContext* call) {
  auto* const reactor = new Reactor(shared_from_this());
  streams_->Add(shared_from_this());  // ends it at once during a shutdown
  absl::MutexLock lock(&mutex_);
  reactor_ = reactor;
  call_ = call;
  ReadIfThereIsRoom();
  Advance();
  return reactor;
}

void TrainerStream::Send(v1::TrainerDirective directive) {
  absl::MutexLock lock(&mutex_);
  if (end_.has_value() || reactor_ == nullptr) return;
  if (queue_.empty() || !MergeAck(directive, &queue_.back())) queue_.push_back(std::move(directive));
  Advance();
}

void TrainerStream::Close(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (!end_.has_value()) end_ = ToGrpcStatus(status);
  Advance();
}

TrainerLink::Heard TrainerStream::TakeHeard() {
  absl::MutexLock lock(&mutex_);
  const bool heard = std::exchange(heard_, false);
  // While it attaches, too, which takes as long as the store does.
  if (!finished_ && (!reading_ || !attachment_.has_value())) return Heard::kBusy;
  return heard ? Heard::kMessage : Heard::kNothing;
}

void TrainerStream::Advance() {
  if (reactor_ == nullptr || writing_ || finished_) return;
  if (!queue_.empty()) {
    current_ = std::move(queue_.front());
    queue_.pop_front();
    writing_ = true;
    last_write_ = clock_->Monotonic();
    reactor_->StartWrite(&current_);
  } else if (end_.has_value()) {
    finished_ = true;
    reactor_->Finish(*end_);
  }
}

void TrainerStream::End(const grpc::Status& status) {
  absl::MutexLock lock(&mutex_);
  queue_.clear();
  if (!end_.has_value()) end_ = status;
  Advance();
}

void TrainerStream::OnReadDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    heard_ = heard_ || ok;
  }
  if (ok) return Handle(std::move(message_));
  {
    absl::MutexLock lock(&mutex_);
    has_all_ = true;
    if (unaccepted_ > 0) return;  // it may wait for the acknowledgements
  }
  EndAfterAll();
}

void TrainerStream::EndAfterAll() {
  Detach(kStreamEnded);
  Close(absl::OkStatus());
}

void TrainerStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (ok) return Advance();
  }
  OnCancel();
}

void TrainerStream::OnCancel() {
  Detach(kStreamEnded);
  End(grpc::Status::CANCELLED);
}

void TrainerStream::OnDone() {
  {
    absl::MutexLock lock(&mutex_);
    reactor_ = nullptr;
    call_ = nullptr;
    const int code = end_.has_value() ? end_->error_code() : 0;
    if (admitted_.ok()) admitted_->Close(static_cast<absl::StatusCode>(code));
  }
  Detach(kStreamEnded);
  streams_->Remove(shared_from_this());
}

void TrainerStream::Handle(v1::TrainerMessage message) {
  DiscardUnknownFields(&message);
  std::optional<JobManager::Attachment> attachment;
  bool greeted = false;
  {
    absl::MutexLock lock(&mutex_);
    attachment = attachment_;
    greeted = greeted_;
  }
  if (message.has_hello() && !greeted) return HandleHello(std::move(*message.mutable_hello()));
  if (!attachment.has_value() || message.has_hello()) {
    return Close(core::InvalidField("hello", "must be the first message, and only the first"));
  }
  if (message.has_reports()) {
    const size_t bytes = message.reports().ByteSizeLong();
    auto accepted = CountUntilAccepted(bytes, bytes);
    jobs_->OnReports(*attachment, shared_from_this(), std::move(*message.mutable_reports()), std::move(accepted));
  } else if (message.has_notices()) {
    const size_t bytes = message.notices().ByteSizeLong();
    auto accepted = CountUntilAccepted(bytes, WeightOf(message.notices(), bytes));
    jobs_->OnNotices(*attachment, shared_from_this(), std::move(*message.mutable_notices()), std::move(accepted));
  }
  ReadNext();  // after a heartbeat too, or something from a later version
}

void TrainerStream::HandleHello(v1::TrainerHello hello) {
  {
    absl::MutexLock lock(&mutex_);
    if (end_.has_value()) return;  // nobody may attach who is told to go
    greeted_ = true;
  }
  jobs_->Attach(std::move(hello), shared_from_this(),
                [self = shared_from_this()](absl::StatusOr<JobManager::Attachment> attachment) {
                  self->OnAttached(std::move(attachment));
                });
}

void TrainerStream::OnAttached(absl::StatusOr<JobManager::Attachment> attachment) {
  if (!attachment.ok()) return Close(attachment.status());
  std::optional<std::string> gone;
  {
    absl::MutexLock lock(&mutex_);
    attachment_ = *attachment;
    gone = detached_;
  }
  if (gone.has_value()) return jobs_->OnDetached(*attachment, shared_from_this(), *gone);
  ReadNext();
}

void TrainerStream::ReadNext() {
  absl::MutexLock lock(&mutex_);
  reading_ = false;
  ReadIfThereIsRoom();
}

// Nothing more is wanted of a trainer that is told to go. Who waits for room has something under way, and looks again
// when that is accepted.
void TrainerStream::ReadIfThereIsRoom() {
  if (reading_ || reactor_ == nullptr || end_.has_value() || unaccepted_ >= kReadAhead) return;
  if (unaccepted_ > 0 && !budget_->HasRoom()) return;
  reading_ = true;
  reactor_->StartRead(&message_);
}

absl::AnyInvocable<void()> TrainerStream::CountUntilAccepted(size_t bytes, size_t weight) {
  absl::MutexLock lock(&mutex_);
  unaccepted_ += weight;
  auto share = std::make_unique<ReadBudget::Share>(budget_, bytes);
  return [self = shared_from_this(), weight, share = std::move(share)]() mutable {
    share.reset();
    self->OnAccepted(weight);
  };
}

void TrainerStream::OnAccepted(size_t weight) {
  {
    absl::MutexLock lock(&mutex_);
    unaccepted_ -= weight;
    ReadIfThereIsRoom();
    if (!has_all_ || unaccepted_ > 0) return;
  }
  EndAfterAll();
}

void TrainerStream::Detach(const std::string& reason) {
  std::optional<JobManager::Attachment> attachment;
  {
    absl::MutexLock lock(&mutex_);
    if (detached_.has_value()) return;
    detached_ = reason;
    attachment = attachment_;
  }
  if (attachment.has_value()) jobs_->OnDetached(*attachment, shared_from_this(), reason);
}

void TrainerStream::Tick(absl::Duration now) {
  bool late = false, silent = false, stalled = false;
  {
    absl::MutexLock lock(&mutex_);
    late = !greeted_ && now - opened_ >= kHelloTimeout;
    stalled = writing_ && now - last_write_ >= kStalled;
    silent = attachment_.has_value() && !writing_ && now - last_write_ >= kHeartbeatEvery;
  }
  if (late) Close(absl::DeadlineExceededError("the trainer did not say hello"));
  if (stalled) Abandon();
  if (silent) {
    v1::TrainerDirective directive;
    directive.mutable_heartbeat();
    Send(std::move(directive));
  }
}

void TrainerStream::BeginShutdown() { Close(ShuttingDown()); }

void TrainerStream::Abandon() {
  absl::MutexLock lock(&mutex_);
  if (call_ != nullptr) call_->TryCancel();
}

}  // namespace gradwatch::server
