#include "server/rpc/job_watch.h"

#include <google/protobuf/util/time_util.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/base/grpc_status.h"
#include "server/rpc/byte_buffers.h"
#include "server/stream/resume_token.h"

namespace gradwatch::server {
namespace {

constexpr size_t kMessageBytes = 64 << 10;
constexpr int kMaxGlobs = 32;
constexpr size_t kLongestGlob = 256;

absl::StatusOr<WatchFilter> ReadFilter(const v1::WatchJobRequest& request) {
  core::FieldErrors errors;
  if (request.every_steps() < 0) errors.Add("every_steps", absl::StrCat(request.every_steps(), " is negative"));
  if (request.tensors_size() > kMaxGlobs) {
    errors.Add("tensors", absl::StrCat(request.tensors_size(), " are more than ", kMaxGlobs));
  }
  for (int i = 0; i < request.tensors_size(); ++i) {
    const size_t length = request.tensors(i).size();
    if (length == 0 || length > kLongestGlob) {
      errors.Add(absl::StrCat("tensors[", i, "]"), absl::StrCat("must have 1 to ", kLongestGlob, " characters"));
    }
  }
  if (!v1::WatchJobRequest::Delivery_IsValid(request.delivery())) {
    errors.Add("delivery", absl::StrCat(request.delivery(), " is not a kind of delivery"));
  }
  GW_RETURN_IF_ERROR(errors.ToStatus());
  if (request.delivery() == v1::WatchJobRequest::DELIVERY_CONFLATED) {
    return core::WithReason(absl::UnimplementedError("delivery: CONFLATED is not served yet"), "FEATURE_DISABLED");
  }
  return WatchFilter{.events_only = request.events_only(),
                     .every_steps = std::max<int64_t>(request.every_steps(), 1),
                     .tensors = {request.tensors().begin(), request.tensors().end()}};
}

absl::Status OutOfRange(absl::string_view reason, const std::string& message, int64_t last_event) {
  return core::WithReason(absl::OutOfRangeError(message), reason, {{"last_event", absl::StrCat(last_event)}});
}

absl::StatusOr<WatchCursor> ReadToken(const RpcContext& context, const std::string& text, const WatchFilter& filter,
                                      const JobChannel& channel) {
  GW_ASSIGN_OR_RETURN(const ResumeToken token, ResumeToken::Decode(text));
  const WatchCursor end = channel.End();
  if (token.log_epoch != context.info.log_epoch()) {
    return OutOfRange("HISTORY_REWOUND", "resume_token: it belongs to another data folder", end.event);
  }
  if (token.uid != channel.uid() || token.filter_hash != filter.Hash()) {
    return core::WithReason(absl::InvalidArgumentError("resume_token: it belongs to a stream of another job, or with "
                                                       "other filters"),
                            "RESUME_TOKEN_MISMATCH");
  }
  // A step ahead is no error: after a loss of power the trainer reports the last steps once more.
  if (token.cursor.event > end.event || token.cursor.attempt > end.attempt) {
    return OutOfRange("FUTURE_SEQ", absl::StrCat("resume_token: it lies ahead of the last event, ", end.event),
                      end.event);
  }
  return token.cursor;
}

absl::StatusOr<WatchCursor> ReadStart(const RpcContext& context, const v1::WatchJobRequest& request,
                                      const WatchFilter& filter, const JobChannel& channel, int32_t attempt) {
  WatchCursor end = channel.End();
  switch (request.start_case()) {
    case v1::WatchJobRequest::kFromBeginning:
      return request.from_beginning() ? WatchCursor() : end;
    case v1::WatchJobRequest::kFromStep:
      if (request.from_step() < 0) {
        return core::InvalidField("from_step", absl::StrCat(request.from_step(), " is negative"));
      }
      return WatchCursor{.event = 0, .attempt = attempt, .step = request.from_step() - 1};
    case v1::WatchJobRequest::kResumeToken:
      return ReadToken(context, request.resume_token(), filter, channel);
    case v1::WatchJobRequest::kAfterEvent:
      if (request.after_event() < 0) {
        return core::InvalidField("after_event", absl::StrCat(request.after_event(), " is negative"));
      }
      if (request.after_event() > end.event) {
        return OutOfRange("FUTURE_SEQ", absl::StrCat("after_event: the last event is ", end.event), end.event);
      }
      end.event = request.after_event();
      return end;
    case v1::WatchJobRequest::START_NOT_SET:
      return end;
  }
  return end;
}

std::vector<std::string> NamesOf(const v1::Job& job) {
  std::vector<std::string> names;
  for (const v1::TensorInfo& tensor : job.tensors()) names.push_back(tensor.name());
  return names;
}

}  // namespace

absl::StatusOr<std::shared_ptr<JobWatch>> JobWatch::Create(const RpcContext* context,
                                                           const v1::WatchJobRequest& request) {
  GW_ASSIGN_OR_RETURN(WatchFilter filter, ReadFilter(request));
  GW_ASSIGN_OR_RETURN(auto channel, context->jobs->GetChannel(request.job_id()));
  GW_ASSIGN_OR_RETURN(const v1::Job job, context->jobs->GetJob(request.job_id()));
  GW_ASSIGN_OR_RETURN(const WatchCursor start, ReadStart(*context, request, filter, *channel, job.attempt()));
  WatchFeed feed(channel, context->reader, context->statistics, std::move(filter), start, context->info.log_epoch(),
                 NamesOf(job));
  return std::shared_ptr<JobWatch>(new JobWatch(context, request.job_id(), std::move(channel), std::move(feed)));
}

JobWatch::JobWatch(const RpcContext* context, std::string job_id, std::shared_ptr<JobChannel> channel, WatchFeed feed)
    : WriteStream(context, channel->uid()),
      job_id_(std::move(job_id)),
      channel_(std::move(channel)),
      feed_(std::move(feed)) {}

WriteStream::Output JobWatch::Produce() {
  const auto channel = context().jobs->GetChannel(job_id_);
  if (!channel.ok() || *channel != channel_) return End(v1::WatchEnded::REASON_DELETED, grpc::Status::OK);
  if (!started_ || feed_.WantsTensorNames()) {
    auto job = context().jobs->GetJob(job_id_);
    if (!job.ok()) return End(v1::WatchEnded::REASON_DELETED, grpc::Status::OK);
    if (feed_.WantsTensorNames()) feed_.SetTensorNames(NamesOf(*job));
    if (!started_) return {.message = MakeStarted(*std::move(job)), .end = std::nullopt};
  }
  auto part = feed_.Next(kMessageBytes);
  if (absl::IsNotFound(part.status())) return End(v1::WatchEnded::REASON_DELETED, grpc::Status::OK);
  if (!part.ok()) return {.message = std::nullopt, .end = ToGrpcStatus(part.status())};
  if (part->has_message) return {.message = std::move(part->message), .end = std::nullopt};
  if (part->ended) return End(v1::WatchEnded::REASON_TERMINAL, grpc::Status::OK);
  return {};
}

grpc::ByteBuffer JobWatch::MakeStarted(v1::Job job) {
  started_ = true;
  v1::WatchJobResponse response;
  v1::WatchStarted* started = response.mutable_started();
  // Events are kept as long as their job.
  started->set_first_event(1);
  started->set_last_event(job.last_event());
  *started->mutable_job() = std::move(job);
  response.set_resume_token(feed_.Token());
  return Serialize(response);
}

grpc::ByteBuffer JobWatch::ProduceBookmark() {
  v1::WatchJobResponse response;
  *response.mutable_bookmark_time() =
      google::protobuf::util::TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(context().clock->Now()));
  response.set_resume_token(feed_.Token());
  return Serialize(response);
}

WriteStream::Output JobWatch::ProduceShutdown() {
  const absl::Status status = core::WithReason(absl::UnavailableError("the server is shutting down"), "SHUTTING_DOWN");
  return End(v1::WatchEnded::REASON_SHUTDOWN, ToGrpcStatus(status));
}

WriteStream::Output JobWatch::End(v1::WatchEnded::Reason reason, grpc::Status status) {
  v1::WatchJobResponse response;
  response.mutable_ended()->set_reason(reason);
  response.set_resume_token(feed_.Token());
  return {.message = Serialize(response), .end = std::move(status)};
}

}  // namespace gradwatch::server
