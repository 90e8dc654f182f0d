#include "server/rpc/watch_rpc.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/base/paging.h"
#include "server/rpc/byte_buffers.h"
#include "server/rpc/job_watch.h"
#include "server/rpc/unary.h"

namespace gradwatch::server {
namespace {

constexpr int kStandardPage = 100;

}  // namespace

ByteReactor* WatchRpc::WatchJob(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request) {
  v1::WatchJobRequest parsed;
  if (const absl::Status status = Parse(*request, &parsed); !status.ok()) return RejectCall(status);
  const auto watch = JobWatch::Create(context_, parsed);
  return watch.ok() ? (*watch)->Start(call) : RejectCall(watch.status());
}

grpc::ServerWriteReactor<v1::WatchJobsResponse>* WatchRpc::WatchJobs(grpc::CallbackServerContext*,
                                                                     const v1::WatchJobsRequest*) {
  class Rejection final : public grpc::ServerWriteReactor<v1::WatchJobsResponse> {
   public:
    Rejection() { Finish(ToGrpcStatus(NotServedStatus("WatchJobs"))); }
    void OnDone() override { delete this; }
  };
  return new Rejection;
}

grpc::ServerUnaryReactor* WatchRpc::ListEvents(grpc::CallbackServerContext* call, const v1::ListEventsRequest* request,
                                               v1::ListEventsResponse* response) {
  return Answer<v1::ListEventsResponse>(context_->executor, call, response,
                                        [this, request = *request] { return ListEventsOf(request); });
}

absl::StatusOr<v1::ListEventsResponse> WatchRpc::ListEventsOf(const v1::ListEventsRequest& request) {
  GW_ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size(), kStandardPage));
  if (request.after_event() < 0) {
    return core::InvalidField("after_event", absl::StrCat(request.after_event(), " is negative"));
  }
  GW_ASSIGN_OR_RETURN(const auto channel, context_->jobs->GetChannel(request.job_id()));
  const std::string list = absl::StrCat("events/", channel->uid(), "/", request.after_event());
  GW_ASSIGN_OR_RETURN(const int64_t after, ReadPageToken(request.page_token(), list, request.after_event()));
  GW_ASSIGN_OR_RETURN(auto events, context_->reader->ReadEvents(channel->uid(), after, page_size + 1));
  v1::ListEventsResponse response;
  if (static_cast<int>(events.size()) > page_size) {
    events.resize(page_size);
    response.set_next_page_token(MakePageToken(events.back().event.number(), list));
  }
  for (auto& stored : events) *response.add_events() = std::move(stored.event);
  return response;
}

grpc::ServerUnaryReactor* WatchRpc::QueryStatistics(grpc::CallbackServerContext* call,
                                                    const v1::QueryStatisticsRequest*, v1::QueryStatisticsResponse*) {
  return NotServed(call, "QueryStatistics");
}

}  // namespace gradwatch::server
