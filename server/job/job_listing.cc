#include "server/job/job_listing.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/base/paging.h"

namespace gradwatch::server {
namespace {

constexpr int kStandardPage = 50;

absl::Status CheckStates(const v1::ListJobsRequest& request) {
  for (int i = 0; i < request.states_size(); ++i) {
    const int state = request.states().Get(i);
    if (state != v1::JOB_STATE_UNSPECIFIED && v1::JobState_IsValid(state)) continue;
    return core::InvalidField(absl::StrCat("states[", i, "]"), absl::StrCat(state, " is not a state"));
  }
  return absl::OkStatus();
}

bool IsWanted(const v1::ListJobsRequest& request, v1::JobState state) {
  const auto& states = request.states();
  return states.empty() || std::find(states.begin(), states.end(), state) != states.end();
}

}  // namespace

absl::StatusOr<v1::ListJobsResponse> ListJobs(const JobTable& table, const v1::ListJobsRequest& request) {
  GW_RETURN_IF_ERROR(CheckStates(request));
  GW_ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size(), kStandardPage));
  std::string filter = "jobs";
  for (const int state : request.states()) absl::StrAppend(&filter, "/", state);
  GW_ASSIGN_OR_RETURN(const int64_t before,
                      ReadPageToken(request.page_token(), filter, std::numeric_limits<int64_t>::max()));
  v1::ListJobsResponse response;
  int64_t last_order = 0;
  for (const auto& entry : table.NewestBefore(before)) {
    auto job = entry->Snapshot();
    if (!job.has_value() || !IsWanted(request, job->state())) continue;
    if (response.jobs_size() == page_size) {
      response.set_next_page_token(MakePageToken(last_order, filter));
      break;
    }
    last_order = entry->order;
    job->clear_spec();
    job->clear_tensors();
    *response.add_jobs() = *std::move(job);
  }
  return response;
}

}  // namespace gradwatch::server
