#include "server/api/job_watch.h"

#include <utility>

#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "server/api/watch_start.h"

namespace gradwatch::server {

absl::StatusOr<std::shared_ptr<JobWatch>> JobWatch::Create(const v1::WatchJobRequest& request, const JobManager* jobs,
                                                           const FeedSources* sources, Hub* hub,
                                                           const core::Clock* clock, Admission::Watch* admitted) {
  GW_ASSIGN_OR_RETURN(const WatchFilter filter, ReadWatchFilter(request));
  GW_ASSIGN_OR_RETURN(auto channel, jobs->GetChannel(request.job_id()));
  // First the end: an attempt that begins meanwhile must not lie ahead of the job.
  const WatchCursor end = channel->End();
  GW_ASSIGN_OR_RETURN(const v1::Job job, jobs->GetJob(request.job_id()));
  if (job.uid() != channel->uid()) {
    return core::WithReason(absl::NotFoundError("the job was deleted just now"), "JOB_NOT_FOUND");
  }
  const std::vector<std::string> names = TensorNames(job);
  GW_RETURN_IF_ERROR(CheckGlobs(filter, names));
  GW_ASSIGN_OR_RETURN(const WatchCursor start, ReadWatchStart(request, filter, job, end, sources->log_epoch));
  WatchFeed feed(channel, sources, filter, start, names);
  return std::shared_ptr<JobWatch>(
      new JobWatch(request.job_id(), jobs, std::move(channel), std::move(feed), hub, clock, std::move(*admitted)));
}

JobWatch::JobWatch(std::string job_id, const JobManager* jobs, std::shared_ptr<JobChannel> channel, WatchFeed feed,
                   Hub* hub, const core::Clock* clock, Admission::Watch admitted)
    : WatchSession(hub, clock, std::move(admitted), {channel->uid()}),
      job_id_(std::move(job_id)),
      jobs_(jobs),
      channel_(std::move(channel)),
      feed_(std::move(feed)) {}

WatchSession::Output JobWatch::Produce(Lane lane) {
  const auto deleted = [this] {
    return Output{.message = MakeEnded(v1::WatchEnded::REASON_DELETED), .end = absl::OkStatus()};
  };
  const auto channel = jobs_->GetChannel(job_id_);
  if (!channel.ok() || *channel != channel_) return deleted();
  if (!started_ || feed_.WantsTensorNames()) {
    auto job = jobs_->GetJob(job_id_);
    if (!job.ok()) return deleted();
    if (feed_.WantsTensorNames()) feed_.SetTensorNames(TensorNames(*job));
    if (!started_) return {.message = MakeStarted(*std::move(job)), .end = std::nullopt};
  }
  auto part = feed_.Next(MessageBytes(lane), lane);
  if (absl::IsNotFound(part.status())) return deleted();
  if (!part.ok()) return {.message = std::nullopt, .end = part.status()};
  if (part->ended) return {.message = MakeEnded(v1::WatchEnded::REASON_TERMINAL), .end = absl::OkStatus()};
  return {
      .message = std::move(part->message), .end = std::nullopt, .behind = part->behind, .has_events = part->has_events};
}

EncodedMessage JobWatch::MakeStarted(v1::Job job) {
  started_ = true;
  v1::WatchJobResponse response;
  v1::WatchStarted* started = response.mutable_started();
  // Events are kept as long as their job.
  started->set_first_event(1);
  started->set_last_event(job.last_event());
  *started->mutable_job() = std::move(job);
  response.set_resume_token(feed_.Token());
  return EncodeMessage(response);
}

EncodedMessage JobWatch::MakeBookmark() {
  v1::WatchJobResponse response;
  *response.mutable_bookmark_time() = core::ToTimestamp(Now());
  response.set_resume_token(feed_.Token());
  return EncodeMessage(response);
}

EncodedMessage JobWatch::MakeShutdown() { return MakeEnded(v1::WatchEnded::REASON_SHUTDOWN); }

EncodedMessage JobWatch::MakeEnded(v1::WatchEnded::Reason reason) const {
  v1::WatchJobResponse response;
  response.mutable_ended()->set_reason(reason);
  response.set_resume_token(feed_.Token());
  return EncodeMessage(response);
}

}  // namespace gradwatch::server
