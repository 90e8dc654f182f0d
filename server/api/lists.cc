#include "server/api/lists.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/base/paging.h"

namespace gradwatch::server {
namespace {

constexpr int kStandardPage = 100;
constexpr int kMaxRules = 64;

absl::StatusOr<LedgerReader::AlertFilter> ReadFilter(const v1::ListAlertsRequest& request) {
  core::FieldErrors errors;
  LedgerReader::AlertFilter filter;
  filter.job_id = request.job_id();
  for (int i = 0; i < request.states_size(); ++i) {
    const v1::AlertState state = request.states(i);
    if (state == v1::ALERT_STATE_UNSPECIFIED || !v1::AlertState_IsValid(state)) {
      errors.Add(absl::StrCat("states[", i, "]"), absl::StrCat(state, " is not a state"));
    }
    filter.states.push_back(state);
  }
  if (!v1::Severity_IsValid(request.min_severity())) {
    errors.Add("min_severity", absl::StrCat(request.min_severity(), " is not a severity"));
  }
  if (request.rules_size() > kMaxRules) {
    errors.Add("rules", absl::StrCat("must be at most ", kMaxRules, ", are ", request.rules_size()));
  }
  GW_RETURN_IF_ERROR(errors.ToStatus());
  filter.min_severity = request.min_severity();
  filter.rules.assign(request.rules().begin(), request.rules().end());
  filter.max_bytes = kPageBytes;
  return filter;
}

std::string Describe(const v1::ListAlertsRequest& request) {
  std::string text = absl::StrCat("alerts/", request.job_id(), "/", request.min_severity());
  for (const int state : request.states()) absl::StrAppend(&text, "/", state);
  for (const std::string& rule : request.rules()) absl::StrAppend(&text, "/", rule);
  return text;
}

}  // namespace

absl::StatusOr<v1::ListAlertsResponse> ListAlerts(LedgerReader* reader, const v1::ListAlertsRequest& request) {
  GW_ASSIGN_OR_RETURN(LedgerReader::AlertFilter filter, ReadFilter(request));
  GW_ASSIGN_OR_RETURN(filter.limit, PageSize(request.page_size(), kStandardPage));
  GW_ASSIGN_OR_RETURN(filter.before, ReadPageToken(request.page_token(), Describe(request), 0));
  GW_ASSIGN_OR_RETURN(LedgerReader::AlertPage page, reader->ListAlerts(filter));
  v1::ListAlertsResponse response;
  if (page.more) response.set_next_page_token(MakePageToken(page.last, Describe(request)));
  for (auto& stored : page.alerts) *response.add_alerts() = std::move(stored.alert);
  return response;
}

absl::StatusOr<v1::ListEventsResponse> ListEvents(LedgerReader* reader, const JobChannel& channel,
                                                  const v1::ListEventsRequest& request) {
  GW_ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size(), kStandardPage));
  if (request.after_event() < 0) {
    return core::InvalidField("after_event", absl::StrCat(request.after_event(), " is negative"));
  }
  const std::string list = absl::StrCat("events/", channel.uid(), "/", request.after_event());
  GW_ASSIGN_OR_RETURN(const int64_t after, ReadPageToken(request.page_token(), list, request.after_event()));
  const int64_t last = channel.End().event;  // what is behind it is durable, but not yet published
  GW_ASSIGN_OR_RETURN(auto events, reader->ReadEvents(channel.uid(), after, page_size, kPageBytes));
  v1::ListEventsResponse response;
  PageRoom room(page_size);
  for (auto& stored : events) {
    if (stored.event.number() > last || !room.Take(stored.event)) break;
    *response.add_events() = std::move(stored.event);
  }
  const auto& given = response.events();
  if (!given.empty() && given.rbegin()->number() < last) {
    response.set_next_page_token(MakePageToken(given.rbegin()->number(), list));
  }
  return response;
}

}  // namespace gradwatch::server
