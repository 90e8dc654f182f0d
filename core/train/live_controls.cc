#include "core/train/live_controls.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace gradwatch::core {
namespace {

constexpr int64_t kNothingDue = std::numeric_limits<int64_t>::max();
constexpr int64_t kAtOnce = -1;

}  // namespace

LiveControls::LiveControls(ControlSnapshot initial)
    : next_due_(kNothingDue),
      current_(std::make_shared<const ControlSnapshot>(std::move(initial))),
      last_revision_(current_->revision) {}

void LiveControls::Set(ControlSnapshot snapshot, std::optional<int64_t> at_step) {
  auto shared = std::make_shared<const ControlSnapshot>(std::move(snapshot));
  absl::MutexLock lock(&mutex_);
  if (shared->revision <= last_revision_) return;
  last_revision_ = shared->revision;
  const int64_t due = at_step.value_or(kAtOnce);
  pending_.push_back({due, std::move(shared)});
  next_due_.store(std::min(next_due_.load(std::memory_order_relaxed), due), std::memory_order_release);
}

void LiveControls::SetCommand(Command command) {
  absl::MutexLock lock(&mutex_);
  if (this->command() == Command::kStop) return;
  command_.store(command, std::memory_order_release);
}

const std::shared_ptr<const ControlSnapshot>& LiveControls::ForStep(int64_t step) {
  if (next_due_.load(std::memory_order_acquire) > step) return current_;
  absl::MutexLock lock(&mutex_);
  // The highest revision that is due wins; those before it will never hold.
  auto last_due = std::find_if(pending_.rbegin(), pending_.rend(),
                               [step](const Pending& pending) { return pending.at_step <= step; });
  current_ = last_due->snapshot;
  pending_.erase(pending_.begin(), last_due.base());
  int64_t next = kNothingDue;
  for (const Pending& pending : pending_) next = std::min(next, pending.at_step);
  next_due_.store(next, std::memory_order_release);
  return current_;
}

LiveControls::Command LiveControls::AwaitRun() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &LiveControls::IsRunning));
  return command();
}

}  // namespace gradwatch::core
