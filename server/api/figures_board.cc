#include "server/api/figures_board.h"

#include <utility>

#include "gradwatch/v1/watch_service.pb.h"

namespace gradwatch::server {

void FiguresBoard::Join() {
  absl::MutexLock lock(&mutex_);
  if (watchers_++ == 0) Look();
}

void FiguresBoard::Leave() {
  absl::MutexLock lock(&mutex_);
  if (--watchers_ == 0) entries_.clear();
}

bool FiguresBoard::Refresh() {
  absl::MutexLock lock(&mutex_);
  return watchers_ > 0 && Look();
}

// Jobs that have ended are not among the figures any more: their events tell it.
bool FiguresBoard::Look() {
  std::map<std::string, Entry> entries;
  bool changed = false;
  for (const v1::JobFigures& figures : jobs_->Figures()) {
    SharedBytes bytes = EncodeField(v1::WatchJobsResponse::kFiguresFieldNumber, figures);
    const auto known = entries_.find(figures.uid());
    if (known != entries_.end() && *known->second.bytes == *bytes) {
      entries.insert(*known);
      continue;
    }
    changed = true;
    entries[figures.uid()] = {version_ + 1, std::move(bytes)};
  }
  if (changed) ++version_;
  entries_ = std::move(entries);
  return changed;
}

std::vector<SharedBytes> FiguresBoard::Changed(int64_t* seen) const {
  absl::MutexLock lock(&mutex_);
  std::vector<SharedBytes> changed;
  for (const auto& [uid, entry] : entries_) {
    if (entry.version > *seen) changed.push_back(entry.bytes);
  }
  *seen = version_;
  return changed;
}

}  // namespace gradwatch::server
