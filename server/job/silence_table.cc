#include "server/job/silence_table.h"

#include <algorithm>
#include <limits>

#include "core/base/glob.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "server/base/paging.h"

namespace gradwatch::server {
namespace {

constexpr int kStandardPage = 100;

bool Holds(const v1::Silence& silence, absl::Time now) { return core::FromTimestamp(silence.end_time()) > now; }

int64_t OrderOf(const v1::Silence& silence) { return absl::ToUnixMicros(core::FromTimestamp(silence.create_time())); }

bool Matches(absl::string_view glob, absl::string_view text) { return glob.empty() || core::GlobMatches(glob, text); }

}  // namespace

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
  for (const auto& [order, silence] : working_) {
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
  GW_ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size(), kStandardPage));
  GW_ASSIGN_OR_RETURN(const int64_t before,
                      ReadPageToken(request.page_token(), "silences", std::numeric_limits<int64_t>::max()));
  v1::ListSilencesResponse response;
  int64_t last = 0;
  absl::MutexLock lock(&mutex_);
  for (auto it = std::make_reverse_iterator(published_.lower_bound(before)); it != published_.rend(); ++it) {
    if (!Holds(it->second, now)) continue;
    if (response.silences_size() == page_size) {
      response.set_next_page_token(MakePageToken(last, "silences"));
      break;
    }
    last = it->first;
    *response.add_silences() = it->second;
  }
  return response;
}

}  // namespace gradwatch::server
