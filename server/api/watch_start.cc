#include "server/api/watch_start.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/error.h"
#include "core/base/glob.h"
#include "core/base/status_macros.h"
#include "server/stream/resume_token.h"

namespace gradwatch::server {
namespace {

constexpr int kMaxGlobs = 32;
constexpr size_t kLongestGlob = 256;
constexpr size_t kNamesTold = 5;

absl::Status OutOfRange(absl::string_view reason, const std::string& message, const char* fact, int64_t value) {
  return core::WithReason(absl::OutOfRangeError(message), reason, {{fact, absl::StrCat(value)}});
}

absl::StatusOr<WatchCursor> ReadToken(const std::string& text, const WatchFilter& filter, const v1::Job& job,
                                      const WatchCursor& end, const std::string& log_epoch) {
  GW_ASSIGN_OR_RETURN(const ResumeToken token, ResumeToken::Decode(text));
  if (token.log_epoch != log_epoch) {
    return OutOfRange("HISTORY_REWOUND", "resume_token: it belongs to another data folder", "last_event", end.event);
  }
  if (token.uid != job.uid() || token.filter_hash != filter.Hash()) {
    return core::WithReason(absl::InvalidArgumentError("resume_token: it belongs to a stream of another job, or with "
                                                       "other filters"),
                            "RESUME_TOKEN_MISMATCH");
  }
  // A step ahead is no error: a stream may wait for it, and after a loss of power the trainer reports the last steps
  // once more. The first attempt may still lie ahead: see from_step.
  if (token.cursor.event > end.event || token.cursor.attempt > std::max({job.attempt(), end.attempt, 1})) {
    return OutOfRange("FUTURE_SEQ", absl::StrCat("resume_token: it lies ahead of the last event, ", end.event),
                      "last_event", end.event);
  }
  return token.cursor;
}

absl::StatusOr<WatchCursor> ReadStep(int64_t step, const v1::Job& job) {
  if (step < 0) return core::InvalidField("from_step", absl::StrCat(step, " is negative"));
  const int64_t steps = job.has_end_time() ? job.steps_done() : job.spec().steps();
  if (step > 0 && step >= steps && (job.has_end_time() || steps > 0)) {
    const std::string why = job.has_end_time() ? absl::StrCat("the job has ended after ", steps, " steps")
                                               : absl::StrCat("the job has ", steps, " steps");
    return OutOfRange("FUTURE_STEP", absl::StrCat("from_step: there is no step ", step, ": ", why), "steps", steps);
  }
  return WatchCursor{.event = 0, .attempt = std::max(job.attempt(), 1), .step = step - 1};
}

}  // namespace

absl::StatusOr<WatchFilter> ReadWatchFilter(const v1::WatchJobRequest& request) {
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
  return WatchFilter{.events_only = request.events_only(),
                     .every_steps = std::max<int64_t>(request.every_steps(), 1),
                     .tensors = {request.tensors().begin(), request.tensors().end()},
                     .conflated = request.delivery() == v1::WatchJobRequest::DELIVERY_CONFLATED};
}

std::vector<std::string> TensorNames(const v1::Job& job) {
  std::vector<std::string> names;
  for (const v1::TensorInfo& tensor : job.tensors()) names.push_back(tensor.name());
  return names;
}

absl::Status CheckGlobs(const WatchFilter& filter, const std::vector<std::string>& names) {
  if (names.empty()) return absl::OkStatus();
  core::FieldErrors errors;
  for (size_t i = 0; i < filter.tensors.size(); ++i) {
    const std::string& glob = filter.tensors[i];
    const auto matches = [&glob](const std::string& name) { return core::GlobMatches(glob, name); };
    if (std::any_of(names.begin(), names.end(), matches)) continue;
    const size_t told = std::min(names.size(), kNamesTold);
    std::string there = absl::StrJoin(names.begin(), names.begin() + static_cast<long>(told), ", ");
    if (told < names.size()) absl::StrAppend(&there, " and ", names.size() - told, " more");
    errors.Add(absl::StrCat("tensors[", i, "]"), absl::StrCat("\"", glob, "\" matches no tensor; there are ", there));
  }
  return errors.ToStatus();
}

absl::StatusOr<WatchCursor> ReadWatchStart(const v1::WatchJobRequest& request, const WatchFilter& filter,
                                           const v1::Job& job, const WatchCursor& end, const std::string& log_epoch) {
  WatchCursor start = end;
  switch (request.start_case()) {
    case v1::WatchJobRequest::kFromBeginning:
      return request.from_beginning() ? WatchCursor() : end;
    case v1::WatchJobRequest::kFromStep:
      return ReadStep(request.from_step(), job);
    case v1::WatchJobRequest::kResumeToken:
      return ReadToken(request.resume_token(), filter, job, end, log_epoch);
    case v1::WatchJobRequest::kAfterEvent:
      if (request.after_event() < 0) {
        return core::InvalidField("after_event", absl::StrCat(request.after_event(), " is negative"));
      }
      if (request.after_event() > end.event) {
        return OutOfRange("FUTURE_SEQ", absl::StrCat("after_event: the last event is ", end.event), "last_event",
                          end.event);
      }
      start.event = request.after_event();
      return start;
    case v1::WatchJobRequest::START_NOT_SET:
      return end;
  }
  return end;
}

}  // namespace gradwatch::server
