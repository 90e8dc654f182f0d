#include "core/train/live_controls.h"

#include <algorithm>
#include <limits>
#include <string>
#include <tuple>
#include <utility>

#include "core/spec/controls.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kNothingDue = std::numeric_limits<int64_t>::max();
constexpr int64_t kAtOnce = -1;

// A server sends an edit again only if it has not heard what became of it. It lets 10,000 wait, and hears of them in
// the order in which they were done: what it may still send is among the last of these.
constexpr size_t kRemembered = 20'000;

std::pair<int64_t, int64_t> ScheduleKey(const ControlEdit& edit) {
  return {std::max(edit.at_step.value_or(kAtOnce), kAtOnce), edit.edit};
}

}  // namespace

LiveControls::LiveControls(ControlSnapshot initial)
    : next_due_(kNothingDue), current_(std::make_shared<const ControlSnapshot>(std::move(initial))) {}

void LiveControls::Add(ControlEdit edit) {
  absl::MutexLock lock(&mutex_);
  const int64_t id = edit.edit;
  if (done_.contains(id) || waiting_.contains(id)) return;
  schedule_.insert(ScheduleKey(edit));
  waiting_.emplace(id, std::move(edit));
  UpdateNextDue();
}

void LiveControls::Withdraw(int64_t edit) {
  absl::MutexLock lock(&mutex_);
  if (done_.contains(edit)) return;
  if (const auto found = waiting_.find(edit); found != waiting_.end()) {
    schedule_.erase(ScheduleKey(found->second));
    waiting_.erase(found);
  }
  Forget(edit);
  withdrawn_.push_back(edit);
  UpdateNextDue();
}

void LiveControls::SetCommand(Command command) {
  absl::MutexLock lock(&mutex_);
  if (this->command() == Command::kStop) return;
  command_.store(command, std::memory_order_release);
}

const std::shared_ptr<const ControlSnapshot>& LiveControls::ForStep(int64_t step, FitsRun fits,
                                                                    std::vector<EditOutcome>* outcomes) {
  if (next_due_.load(std::memory_order_acquire) > step) return current_;
  for (const ControlEdit& edit : TakeDue(step, outcomes)) outcomes->push_back(Apply(edit, step, fits));
  return current_;
}

LiveControls::Command LiveControls::AwaitRun(int64_t step) {
  const auto is_over = [this, step] {
    return command() != Command::kPause || next_due_.load(std::memory_order_acquire) <= step;
  };
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&is_over));
  return command();
}

std::vector<ControlEdit> LiveControls::TakeDue(int64_t step, std::vector<EditOutcome>* outcomes) {
  std::vector<ControlEdit> due;
  absl::MutexLock lock(&mutex_);
  for (const int64_t edit : withdrawn_) outcomes->push_back({.edit = edit, .step = step});
  withdrawn_.clear();
  while (!schedule_.empty() && schedule_.begin()->first <= step) {
    const auto found = waiting_.find(schedule_.begin()->second);
    due.push_back(std::move(found->second));
    waiting_.erase(found);
    schedule_.erase(schedule_.begin());
    Forget(due.back().edit);
  }
  UpdateNextDue();
  std::sort(due.begin(), due.end(), [step](const ControlEdit& a, const ControlEdit& b) {
    return std::tuple(a.at_step.value_or(step), a.edit) < std::tuple(b.at_step.value_or(step), b.edit);
  });
  return due;
}

EditOutcome LiveControls::Apply(const ControlEdit& edit, int64_t step, FitsRun fits) {
  EditOutcome outcome = {.edit = edit.edit, .step = step};
  google::protobuf::FieldMask mask;
  mask.mutable_paths()->Assign(edit.paths.begin(), edit.paths.end());
  absl::StatusOr<v1::Controls> changed = ApplyControlChanges(current_->controls, edit.values, mask);
  const absl::Status status = changed.ok() ? fits(*changed) : changed.status();
  if (!status.ok()) {
    outcome.reason = std::string(status.message());
    return outcome;
  }
  outcome.applied = true;
  outcome.revision = current_->revision + 1;
  current_ = std::make_shared<const ControlSnapshot>(
      ControlSnapshot{.revision = outcome.revision, .controls = *std::move(changed)});
  return outcome;
}

void LiveControls::Forget(int64_t edit) {
  done_.insert(edit);
  done_order_.push_back(edit);
  if (done_order_.size() <= kRemembered) return;
  done_.erase(done_order_.front());
  done_order_.pop_front();
}

void LiveControls::UpdateNextDue() {
  int64_t next = schedule_.empty() ? kNothingDue : schedule_.begin()->first;
  if (!withdrawn_.empty()) next = kAtOnce;
  next_due_.store(next, std::memory_order_release);
}

}  // namespace gradwatch::core
