#include "server/job/job_table.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/glob.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "server/base/paging.h"

namespace gradwatch::server {
namespace {

constexpr int kJobsPage = 50;

absl::Status CheckFilter(const v1::ListJobsRequest& request) {
  for (int i = 0; i < request.states_size(); ++i) {
    const int state = request.states().Get(i);
    if (state != v1::JOB_STATE_UNSPECIFIED && v1::JobState_IsValid(state)) continue;
    return core::InvalidField(absl::StrCat("states[", i, "]"), absl::StrCat(state, " is not a state"));
  }
  if (v1::JobView_IsValid(request.view())) return absl::OkStatus();
  return core::InvalidField("view", absl::StrCat(request.view(), " is not a view"));
}

bool IsWanted(const v1::ListJobsRequest& request, v1::JobState state) {
  const auto& states = request.states();
  return states.empty() || std::find(states.begin(), states.end(), state) != states.end();
}

constexpr int kSilencesPage = 100;

bool Holds(const v1::Silence& silence, absl::Time now) { return core::FromTimestamp(silence.end_time()) > now; }

int64_t OrderOf(const v1::Silence& silence) { return absl::ToUnixMicros(core::FromTimestamp(silence.create_time())); }

bool Matches(absl::string_view glob, absl::string_view text) { return glob.empty() || core::GlobMatches(glob, text); }

}  // namespace

JobTable::Entry JobTable::FindWorking(absl::string_view job_id) const {
  const auto found = working_.find(job_id);
  return found == working_.end() ? nullptr : found->second;
}

void JobTable::AddWorking(Entry entry) {
  last_order_ = std::max(last_order_, entry->order);
  if (entry->working == nullptr || !entry->working->ended()) active_[entry->order] = entry;
  working_[entry->job_id] = std::move(entry);
}

void JobTable::RemoveWorking(const JobEntry& entry) {
  active_.erase(entry.order);
  const auto found = working_.find(entry.job_id);
  if (found != working_.end() && found->second.get() == &entry) working_.erase(found);
}

std::vector<JobTable::Entry> JobTable::Active() const {
  std::vector<Entry> entries;
  for (const auto& [order, entry] : active_) {
    if (entry->working != nullptr && !entry->working->ended()) entries.push_back(entry);
  }
  return entries;
}

int64_t JobTable::NextOrder(int64_t now_micros) {
  last_order_ = std::max(now_micros, last_order_ + 1);
  return last_order_;
}

void JobTable::RollBack(const Entry& entry) {
  entry->working = entry->published();
  RemoveWorking(*entry);
  if (entry->working != nullptr) AddWorking(entry);
}

void JobTable::Publish(const Entry& entry, std::shared_ptr<const JobRecord> record) {
  const bool gone = record == nullptr;
  const bool active = !gone && !record->ended();
  if (!active) active_.erase(entry->order);
  entry->Publish(std::move(record));
  absl::MutexLock lock(&mutex_);
  if (active) {
    published_active_[entry->order] = entry;
  } else {
    published_active_.erase(entry->order);
  }
  if (!gone) {
    published_[entry->job_id] = entry;
    by_uid_[entry->uid] = entry;
    by_order_[entry->order] = entry;
    return;
  }
  by_order_.erase(entry->order);
  by_uid_.erase(entry->uid);
  const auto found = published_.find(entry->job_id);
  if (found != published_.end() && found->second == entry) published_.erase(found);
}

JobTable::Entry JobTable::Find(absl::string_view job_id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = published_.find(job_id);
  return found == published_.end() ? nullptr : found->second;
}

JobTable::Entry JobTable::FindUid(absl::string_view uid) const {
  absl::MutexLock lock(&mutex_);
  const auto found = by_uid_.find(uid);
  return found == by_uid_.end() ? nullptr : found->second;
}

std::vector<JobTable::Entry> JobTable::NewestBefore(int64_t before) const {
  absl::MutexLock lock(&mutex_);
  std::vector<Entry> entries;
  const auto end = by_order_.lower_bound(before);
  for (auto it = std::make_reverse_iterator(end); it != by_order_.rend(); ++it) entries.push_back(it->second);
  return entries;
}

std::vector<v1::JobFigures> JobTable::Figures(absl::Duration now) const {
  std::vector<Entry> entries;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [order, entry] : published_active_) entries.push_back(entry);
  }
  std::vector<v1::JobFigures> all;
  for (const Entry& entry : entries) {
    auto figures = entry->Figures(now);
    if (figures.has_value()) all.push_back(*std::move(figures));
  }
  return all;
}

absl::StatusOr<v1::ListJobsResponse> ListJobs(const JobTable& table, const v1::ListJobsRequest& request) {
  GW_RETURN_IF_ERROR(CheckFilter(request));
  GW_ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size(), kJobsPage));
  std::string filter = absl::StrCat("jobs/", request.view());
  for (const int state : request.states()) absl::StrAppend(&filter, "/", state);
  GW_ASSIGN_OR_RETURN(const int64_t before,
                      ReadPageToken(request.page_token(), filter, std::numeric_limits<int64_t>::max()));
  v1::ListJobsResponse response;
  int64_t last_order = 0;
  PageRoom room(page_size);
  for (const auto& entry : table.NewestBefore(before)) {
    const auto record = entry->published();
    if (record == nullptr || !IsWanted(request, record->row.job.state())) continue;
    auto job = entry->Snapshot();
    if (!job.has_value()) continue;
    TrimToView(request.view(), v1::JOB_VIEW_BASIC, &*job);
    if (!room.Take(*job)) {
      response.set_next_page_token(MakePageToken(last_order, filter));
      break;
    }
    last_order = entry->order;
    *response.add_jobs() = *std::move(job);
  }
  return response;
}

void TrimToView(v1::JobView view, v1::JobView standard, v1::Job* job) {
  if (view == v1::JOB_VIEW_UNSPECIFIED) view = standard;
  if (view != v1::JOB_VIEW_BASIC) return;
  v1::JobSpec spec;
  spec.set_display_name(job->spec().display_name());
  *spec.mutable_labels() = job->spec().labels();
  *job->mutable_spec() = std::move(spec);
  job->clear_controls();
  job->clear_tensors();
}

// --- Silences ---

int SilenceTable::Holding(absl::Time now) const {
  return static_cast<int>(std::count_if(working_.begin(), working_.end(),
                                        [now](const auto& silence) { return Holds(silence.second, now); }));
}

absl::Time SilenceTable::NextCreateTime(absl::Time now) const {
  const int64_t micros = absl::ToUnixMicros(now);
  return absl::FromUnixMicros(working_.empty() ? micros : std::max(micros, working_.rbegin()->first + 1));
}

void SilenceTable::Add(const v1::Silence& silence, absl::Time now) {
  std::erase_if(working_, [now](const auto& known) { return !Holds(known.second, now); });
  working_[OrderOf(silence)] = silence;
}

void SilenceTable::Remove(const v1::Silence& silence) { working_.erase(OrderOf(silence)); }

const v1::Silence* SilenceTable::Find(absl::string_view silence_id, absl::Time now) const {
  for (const auto& [order, silence] : working_) {
    if (silence.silence_id() == silence_id && Holds(silence, now)) return &silence;
  }
  return nullptr;
}

std::vector<std::string> SilenceTable::Matching(const v1::Alert& alert, absl::Time now) const {
  std::vector<std::string> ids;
  absl::MutexLock lock(&mutex_);
  for (const auto& [order, silence] : published_) {
    if (Holds(silence, now) && Matches(silence.jobs(), alert.job_id()) && Matches(silence.rules(), alert.rule()) &&
        Matches(silence.tensors(), alert.tensor())) {
      ids.push_back(silence.silence_id());
    }
  }
  return ids;
}

void SilenceTable::Publish() {
  absl::MutexLock lock(&mutex_);
  published_ = working_;
}

absl::StatusOr<v1::ListSilencesResponse> SilenceTable::List(const v1::ListSilencesRequest& request,
                                                            absl::Time now) const {
  GW_ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size(), kSilencesPage));
  GW_ASSIGN_OR_RETURN(const int64_t before,
                      ReadPageToken(request.page_token(), "silences", std::numeric_limits<int64_t>::max()));
  v1::ListSilencesResponse response;
  int64_t last = 0;
  PageRoom room(page_size);
  absl::MutexLock lock(&mutex_);
  for (auto it = std::make_reverse_iterator(published_.lower_bound(before)); it != published_.rend(); ++it) {
    if (!Holds(it->second, now)) continue;
    if (!room.Take(it->second)) {
      response.set_next_page_token(MakePageToken(last, "silences"));
      break;
    }
    last = it->first;
    *response.add_silences() = it->second;
  }
  return response;
}

}  // namespace gradwatch::server
