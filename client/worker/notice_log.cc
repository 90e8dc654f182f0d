#include "client/worker/notice_log.h"

#include <utility>

namespace gradwatch::worker {

void NoticeLog::Add(v1::Notice notice) {
  absl::MutexLock lock(&mutex_);
  notice.set_number(acknowledged_ + static_cast<int64_t>(notices_.size()) + 1);
  if (notice.has_alert()) ++waiting_alerts_;
  notices_.push_back(std::move(notice));
}

void NoticeLog::Acknowledge(int64_t number) {
  absl::MutexLock lock(&mutex_);
  while (acknowledged_ < number && !notices_.empty()) {
    if (notices_.front().has_alert()) --waiting_alerts_;
    notices_.pop_front();
    ++acknowledged_;
  }
}

std::optional<v1::Notice> NoticeLog::Get(int64_t number) const {
  absl::MutexLock lock(&mutex_);
  const int64_t index = number - acknowledged_ - 1;
  if (index < 0 || index >= static_cast<int64_t>(notices_.size())) return std::nullopt;
  return notices_[static_cast<size_t>(index)];
}

bool NoticeLog::AllAcknowledged() const {
  absl::MutexLock lock(&mutex_);
  return notices_.empty();
}

int64_t NoticeLog::acknowledged() const {
  absl::MutexLock lock(&mutex_);
  return acknowledged_;
}

int64_t NoticeLog::waiting_alerts() const {
  absl::MutexLock lock(&mutex_);
  return waiting_alerts_;
}

}  // namespace gradwatch::worker
