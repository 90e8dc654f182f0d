#include "server/job/job_table.h"

#include <algorithm>
#include <utility>

namespace gradwatch::server {

std::shared_ptr<JobEntry> JobTable::FindWorking(absl::string_view job_id) const {
  const auto found = working_.find(job_id);
  return found == working_.end() ? nullptr : found->second;
}

void JobTable::AddWorking(std::shared_ptr<JobEntry> entry) {
  last_order_ = std::max(last_order_, entry->order);
  if (entry->working == nullptr || !entry->working->ended()) active_[entry->order] = entry;
  working_[entry->job_id] = std::move(entry);
}

void JobTable::RemoveWorking(const JobEntry& entry) {
  active_.erase(entry.order);
  const auto found = working_.find(entry.job_id);
  if (found != working_.end() && found->second.get() == &entry) working_.erase(found);
}

std::vector<std::shared_ptr<JobEntry>> JobTable::Active() const {
  std::vector<std::shared_ptr<JobEntry>> entries;
  for (const auto& [order, entry] : active_) {
    if (entry->working != nullptr && !entry->working->ended()) entries.push_back(entry);
  }
  return entries;
}

int64_t JobTable::NextOrder(int64_t now_micros) {
  last_order_ = std::max(now_micros, last_order_ + 1);
  return last_order_;
}

void JobTable::RollBack(const std::shared_ptr<JobEntry>& entry) {
  entry->working = entry->published();
  RemoveWorking(*entry);
  if (entry->working != nullptr) AddWorking(entry);
}

void JobTable::Publish(const std::shared_ptr<JobEntry>& entry, std::shared_ptr<const JobRecord> record) {
  const bool gone = record == nullptr;
  if (gone || record->ended()) active_.erase(entry->order);
  entry->Publish(std::move(record));
  absl::MutexLock lock(&mutex_);
  if (!gone) {
    published_[entry->job_id] = entry;
    by_order_[entry->order] = entry;
    return;
  }
  by_order_.erase(entry->order);
  const auto found = published_.find(entry->job_id);
  if (found != published_.end() && found->second == entry) published_.erase(found);
}

std::shared_ptr<JobEntry> JobTable::Find(absl::string_view job_id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = published_.find(job_id);
  return found == published_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<JobEntry>> JobTable::NewestBefore(int64_t before) const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::shared_ptr<JobEntry>> entries;
  const auto end = by_order_.lower_bound(before);
  for (auto it = std::make_reverse_iterator(end); it != by_order_.rend(); ++it) entries.push_back(it->second);
  return entries;
}

void TrimToView(v1::JobView view, v1::JobView standard, v1::Job* job) {
  if (view == v1::JOB_VIEW_UNSPECIFIED) view = standard;
  if (view != v1::JOB_VIEW_BASIC) return;
  v1::JobSpec named;
  named.set_display_name(job->spec().display_name());
  *named.mutable_labels() = job->spec().labels();
  *job->mutable_spec() = std::move(named);
  job->clear_controls();
  job->clear_tensors();
}

}  // namespace gradwatch::server
