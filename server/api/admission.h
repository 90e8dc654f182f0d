// What stands in front of every operation: who calls and until when, how much may be under way at once, and what is
// counted of it.
#ifndef GRADWATCH_SERVER_API_ADMISSION_H_
#define GRADWATCH_SERVER_API_ADMISSION_H_

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "server/api/call_metrics.h"
#include "server/base/executor.h"
#include "server/base/work_tracker.h"

namespace gradwatch::server {

// Whoever calls an operation.
struct Caller {
  std::string name;                                   // the peer's address
  absl::Duration timeout = absl::InfiniteDuration();  // how long the client still waits; infinite: it did not say
  std::function<bool()> cancelled = [] {
    return false;
  };  // whether it has gone; asked before the call is answered only
};

struct AdmissionLimits {
  int max_calls = 1024;     // calls that are answered once, under way at once
  int max_watches = 4096;   // open at once
  int max_trainers = 1024;  // attached at once, or about to be
  // Of calls whose client set none. Longer than the check of a spec with large data files takes, its turn included
  // unless many wait.
  absl::Duration timeout = absl::Minutes(5);
};

// Thread-safe.
class Admission {
  struct State;

 public:
  template <typename Response>
  using Done = absl::AnyInvocable<void(absl::StatusOr<Response>)>;

  // Operations run on `executor`, which outlives this and every callback of an operation.
  Admission(Executor* executor, const core::Clock* clock, AdmissionLimits limits);
  // Waits for operations that run just now; call ShutDown before.
  ~Admission();

  // Runs `body` on the executor, and `done` there with what `body` gives its callback, which may run on any thread and
  // at any time, also after the end of this. `done` runs exactly once: at the latest at the deadline
  // (DEADLINE_EXCEEDED; a body that has not begun by then never does) or at ShutDown (UNAVAILABLE, reason
  // SHUTTING_DOWN). It runs at once, with RESOURCE_EXHAUSTED (reason OVERLOADED), if too many calls are under way.
  template <typename Response>
  void Run(Operation operation, Caller caller, absl::AnyInvocable<void(Done<Response>)> body, Done<Response> done);

  // The same for what takes its time, on an executor of its own, which outlives this: `body` asks now and then whether
  // anybody waits for it still; an error: nobody does, and what it returns is not heard.
  using StillWanted = std::function<absl::Status()>;
  template <typename Response>
  using LongBody = absl::AnyInvocable<absl::StatusOr<Response>(const StillWanted& wanted)>;
  template <typename Response>
  void RunLong(Operation operation, Caller caller, Executor* executor, LongBody<Response> body, Done<Response> done);

  // An open watch or trainer's stream, until it is closed or gone.
  class Watch {
   public:
    Watch(Watch&&) = default;
    Watch& operator=(Watch&&) = default;
    ~Watch() { Close(absl::StatusCode::kCancelled); }
    // It has ended so. Only the first call counts.
    void Close(absl::StatusCode code);

   private:
    friend class Admission;
    Watch(std::shared_ptr<State> state, Operation operation);
    std::shared_ptr<State> state_;  // null: closed
    Operation operation_;
    absl::Duration began_;
  };
  // RESOURCE_EXHAUSTED (reason QUOTA_STREAMS): too many are open; UNAVAILABLE (reason SHUTTING_DOWN).
  absl::StatusOr<Watch> Open(Operation operation);

  // Answers calls whose deadline has passed; called about every second.
  void Tick();
  // Lets nobody in any more, waits up to `grace` for the calls that are under way, and answers those that are left. No
  // `done` runs after it returns.
  void ShutDown(absl::Duration grace);

  const CallMetrics& metrics() const;

 private:
  // A call that is not answered yet.
  class Call {
   public:
    Call(std::shared_ptr<State> state, Operation operation, Caller caller);
    virtual ~Call() = default;
    virtual void Fail(const absl::Status& status) = 0;
    // Not OK: do not begin, the caller does not wait any more.
    absl::Status Check() const ABSL_LOCKS_EXCLUDED(mutex_);
    absl::Duration deadline() const { return deadline_; }

   protected:
    // Whoever gets true answers the call so, and says then that it has left.
    bool Claim(absl::StatusCode code) ABSL_LOCKS_EXCLUDED(mutex_);
    void Left();

   private:
    const std::shared_ptr<State> state_;
    const Operation operation_;
    const absl::Duration began_;
    const absl::Duration deadline_;
    const std::function<bool()> cancelled_;
    mutable absl::Mutex mutex_;  // held while cancelled_ is asked: the answer ends what it looks at
    bool answered_ ABSL_GUARDED_BY(mutex_) = false;
  };

  template <typename Response>
  class TypedCall final : public Call {
   public:
    TypedCall(std::shared_ptr<State> state, Operation operation, Caller caller, Done<Response> done)
        : Call(std::move(state), operation, std::move(caller)), done_(std::move(done)) {}
    void Fail(const absl::Status& status) override { Answer(status); }
    void Answer(absl::StatusOr<Response> result) {
      if (!Claim(result.status().code())) return;
      done_(std::move(result));
      done_ = nullptr;
      Left();
    }

   private:
    Done<Response> done_;
  };

  // INTERNAL, logged: an operation must not throw.
  static absl::Status Broken(const std::exception& exception);
  // Counts the call; an error: it may not begin.
  absl::Status Enter(const std::shared_ptr<Call>& call, Operation operation);
  // Runs `body` of a call, which answers it some time, on `runs_on`.
  template <typename Response>
  void Begin(Operation operation, std::shared_ptr<TypedCall<Response>> call, Executor* runs_on,
             absl::AnyInvocable<void(Done<Response>)> body);

  Executor* const executor_;
  const std::shared_ptr<State> state_;
  const std::shared_ptr<WorkTracker> work_ = std::make_shared<WorkTracker>();
};

template <typename Response>
void Admission::Run(Operation operation, Caller caller, absl::AnyInvocable<void(Done<Response>)> body,
                    Done<Response> done) {
  auto call = std::make_shared<TypedCall<Response>>(state_, operation, std::move(caller), std::move(done));
  Begin<Response>(operation, std::move(call), executor_, std::move(body));
}

template <typename Response>
void Admission::RunLong(Operation operation, Caller caller, Executor* executor, LongBody<Response> body,
                        Done<Response> done) {
  auto call = std::make_shared<TypedCall<Response>>(state_, operation, std::move(caller), std::move(done));
  const StillWanted wanted = [call] { return call->Check(); };
  Begin<Response>(operation, std::move(call), executor,
                  [wanted, body = std::move(body)](Done<Response> answer) mutable { answer(body(wanted)); });
}

template <typename Response>
void Admission::Begin(Operation operation, std::shared_ptr<TypedCall<Response>> call, Executor* runs_on,
                      absl::AnyInvocable<void(Done<Response>)> body) {
  if (const absl::Status status = Enter(call, operation); !status.ok()) return call->Fail(status);
  runs_on->Run([executor = executor_, work = work_, call, body = std::move(body)]() mutable {
    const auto token = work->Enter();
    if (token == nullptr) return;  // ShutDown has answered
    if (const absl::Status status = call->Check(); !status.ok()) return call->Fail(status);
    try {
      body([executor, call](absl::StatusOr<Response> result) {
        executor->Run([call, result = std::move(result)]() mutable { call->Answer(std::move(result)); });
      });
    } catch (const std::exception& exception) {  // memory that could not be had, mostly: the trouble of this call alone
      call->Fail(Broken(exception));
    }
  });
}

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_ADMISSION_H_
