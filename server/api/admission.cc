#include "server/api/admission.h"

#include <spdlog/spdlog.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "server/base/shutting_down.h"

namespace gradwatch::server {
namespace {

absl::Status TooLate() {
  return absl::DeadlineExceededError(
      "not answered in time; whether a change was made, a repetition with the same "
      "request_id tells");
}

}  // namespace

// Lives as long as anything that could still come back from an operation.
struct Admission::State {
  State(const core::Clock* clock, AdmissionLimits limits) : clock(clock), limits(limits) {}

  bool Empty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return calls.empty(); }
  std::vector<std::shared_ptr<Call>> Calls() const ABSL_LOCKS_EXCLUDED(mutex) {
    absl::MutexLock lock(&mutex);
    std::vector<std::shared_ptr<Call>> all;
    for (const auto& [raw, call] : calls) all.push_back(call);
    return all;
  }

  // Those that are counted with `operation`.
  int& Streams(Operation operation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return RowOf(operation).kind == OperationKind::kTrainer ? trainers : watches;
  }
  int MaxStreams(Operation operation) const {
    return RowOf(operation).kind == OperationKind::kTrainer ? limits.max_trainers : limits.max_watches;
  }

  const core::Clock* const clock;
  const AdmissionLimits limits;
  CallMetrics metrics;
  mutable absl::Mutex mutex;
  absl::flat_hash_map<Call*, std::shared_ptr<Call>> calls ABSL_GUARDED_BY(mutex);
  int watches ABSL_GUARDED_BY(mutex) = 0;
  int trainers ABSL_GUARDED_BY(mutex) = 0;
  bool shutting_down ABSL_GUARDED_BY(mutex) = false;
};

Admission::Call::Call(std::shared_ptr<State> state, Operation operation, Caller caller)
    : state_(std::move(state)),
      operation_(operation),
      began_(state_->clock->Monotonic()),
      deadline_(began_ + (caller.timeout == absl::InfiniteDuration() ? state_->limits.timeout : caller.timeout)),
      cancelled_(std::move(caller.cancelled)) {}

absl::Status Admission::Call::Check() const {
  absl::MutexLock lock(&mutex_);
  if (answered_) return absl::CancelledError("answered already");
  if (state_->clock->Monotonic() >= deadline_) return absl::DeadlineExceededError("it waited too long to begin");
  return cancelled_() ? absl::CancelledError("the caller has gone") : absl::OkStatus();
}

bool Admission::Call::Claim(absl::StatusCode code) {
  {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(answered_, true)) return false;
  }
  state_->metrics.End(operation_, code, state_->clock->Monotonic() - began_);
  return true;
}

void Admission::Call::Left() {
  std::shared_ptr<Call> self;  // may be the last reference: it goes outside the lock
  absl::MutexLock lock(&state_->mutex);
  const auto call = state_->calls.find(this);
  if (call == state_->calls.end()) return;
  self = std::move(call->second);
  state_->calls.erase(call);
}

Admission::Admission(Executor* executor, const core::Clock* clock, AdmissionLimits limits)
    : executor_(executor), state_(std::make_shared<State>(clock, limits)) {}

Admission::~Admission() { work_->Close(); }

absl::Status Admission::Enter(const std::shared_ptr<Call>& call, Operation operation) {
  state_->metrics.Begin(operation);
  absl::MutexLock lock(&state_->mutex);
  if (state_->shutting_down) return ShuttingDown();
  if (static_cast<int>(state_->calls.size()) >= state_->limits.max_calls) {
    return core::WithReason(
        absl::ResourceExhaustedError(absl::StrCat(state_->calls.size(), " calls are under way already")), "OVERLOADED");
  }
  state_->calls.emplace(call.get(), call);
  return absl::OkStatus();
}

absl::Status Admission::Broken(const std::exception& exception) {
  spdlog::error("an operation threw: {}", exception.what());
  return core::WithReason(absl::InternalError("the server could not do it; its log says why"), "INVARIANT");
}

Admission::Watch::Watch(std::shared_ptr<State> state, Operation operation)
    : state_(std::move(state)), operation_(operation), began_(state_->clock->Monotonic()) {}

void Admission::Watch::Close(absl::StatusCode code) {
  const std::shared_ptr<State> state = std::move(state_);
  if (state == nullptr) return;
  state->metrics.End(operation_, code, state->clock->Monotonic() - began_);
  absl::MutexLock lock(&state->mutex);
  --state->Streams(operation_);
}

absl::StatusOr<Admission::Watch> Admission::Open(Operation operation) {
  state_->metrics.Begin(operation);
  absl::Status refusal;
  {
    absl::MutexLock lock(&state_->mutex);
    if (state_->shutting_down) {
      refusal = ShuttingDown();
    } else if (int& streams = state_->Streams(operation); streams >= state_->MaxStreams(operation)) {
      refusal = core::WithReason(absl::ResourceExhaustedError(absl::StrCat(streams, " streams are open already")),
                                 "QUOTA_STREAMS");
    } else {
      ++streams;
    }
  }
  if (refusal.ok()) return Watch(state_, operation);
  state_->metrics.End(operation, refusal.code(), absl::ZeroDuration());
  return refusal;
}

void Admission::Tick() {
  const absl::Duration now = state_->clock->Monotonic();
  for (const auto& call : state_->Calls()) {
    if (now >= call->deadline()) call->Fail(TooLate());
  }
}

void Admission::ShutDown(absl::Duration grace) {
  {
    absl::MutexLock lock(&state_->mutex);
    state_->shutting_down = true;
    state_->mutex.AwaitWithTimeout(absl::Condition(state_.get(), &State::Empty), grace);
  }
  for (const auto& call : state_->Calls()) call->Fail(ShuttingDown());
  absl::MutexLock lock(&state_->mutex);
  state_->mutex.Await(absl::Condition(state_.get(), &State::Empty));  // for answers that other threads are giving
}

const CallMetrics& Admission::metrics() const { return state_->metrics; }

}  // namespace gradwatch::server
