// What a test, or a measurement, says to a gradwatchd from outside: plain stubs over a channel of its own, and waits
// that listen to a stream until something has come.
#ifndef GRADWATCH_TESTS_SUPPORT_OUTSIDE_H_
#define GRADWATCH_TESTS_SUPPORT_OUTSIDE_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gradwatch/v1/alert_service.grpc.pb.h"
#include "gradwatch/v1/job_service.grpc.pb.h"
#include "gradwatch/v1/trainer_service.grpc.pb.h"
#include "gradwatch/v1/watch_service.grpc.pb.h"
#include "tests/support/long_wait.h"

namespace gradwatch::testing {

// Thread-safe. Comes back by itself when the server does.
struct Outside {
  explicit Outside(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000);  // in truth the time that one attempt may take
    // Windows stay as small as they begin, else a stream that nobody reads takes megabytes before it stands still.
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    jobs = v1::JobService::NewStub(channel);
    watches = v1::WatchService::NewStub(channel);
    alerts = v1::AlertService::NewStub(channel);
    trainers = v1::TrainerService::NewStub(channel);
  }

  // A context whose call cannot hang a test for ever.
  static std::unique_ptr<grpc::ClientContext> Context(absl::Duration timeout = kLongWait) {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    return context;
  }

  grpc::Status Create(const std::string& job_id, const v1::JobSpec& spec, bool validate_only = false,
                      absl::Duration timeout = kLongWait) const {
    v1::CreateJobRequest request;
    if (!validate_only) request.set_job_id(job_id);
    *request.mutable_spec() = spec;
    request.set_validate_only(validate_only);
    v1::Job response;
    return jobs->CreateJob(Context(timeout).get(), request, &response);
  }
  grpc::Status Get(const std::string& job_id, v1::Job* job, absl::Duration timeout = kLongWait) const {
    v1::GetJobRequest request;
    request.set_job_id(job_id);
    return jobs->GetJob(Context(timeout).get(), request, job);
  }
  grpc::Status Stop(const std::string& job_id) const {
    v1::StopJobRequest request;
    request.set_job_id(job_id);
    v1::Job response;
    return jobs->StopJob(Context().get(), request, &response);
  }
  grpc::Status Delete(const std::string& job_id) const {
    v1::DeleteJobRequest request;
    request.set_job_id(job_id);
    request.set_force(true);
    v1::DeleteJobResponse response;
    return jobs->DeleteJob(Context().get(), request, &response);
  }
  // Sets the threshold of the global norm. `request_id` may be empty.
  grpc::Status SetClip(const std::string& job_id, double threshold, const std::string& request_id,
                       v1::AdjustJobResponse* response, absl::Duration timeout = kLongWait) const {
    v1::AdjustJobRequest request;
    request.set_job_id(job_id);
    request.mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
    request.mutable_controls()->mutable_clip()->set_threshold(threshold);
    request.mutable_update_mask()->add_paths("clip.mode");
    request.mutable_update_mask()->add_paths("clip.threshold");
    request.set_request_id(request_id);
    return jobs->AdjustJob(Context(timeout).get(), request, response);
  }

  // All events of a job, by pages.
  grpc::Status Events(const std::string& job_id, std::vector<v1::Event>* events) const {
    v1::ListEventsRequest request;
    request.set_job_id(job_id);
    request.set_page_size(1000);
    do {
      v1::ListEventsResponse page;
      const grpc::Status status = watches->ListEvents(Context().get(), request, &page);
      if (!status.ok()) return status;
      events->insert(events->end(), page.events().begin(), page.events().end());
      request.set_page_token(page.next_page_token());
    } while (!request.page_token().empty());
    return grpc::Status::OK;
  }

  // Reads a stream of WatchJob until `enough` says so or it ends. Whether there was enough.
  bool Watch(const v1::WatchJobRequest& request, const std::function<bool(const v1::WatchJobResponse&)>& enough,
             absl::Duration timeout = kLongWait) const {
    const auto context = Context(timeout);
    const auto reader = watches->WatchJob(context.get(), request);
    bool done = false;
    for (v1::WatchJobResponse response; !done && reader->Read(&response);) done = enough(response);
    if (done) context->TryCancel();
    for (v1::WatchJobResponse rest; reader->Read(&rest);) {
    }
    const grpc::Status status = reader->Finish();
    if (!done)
      std::cerr << "the stream of " << request.job_id() << " ended too early: " << status.error_message() << "\n";
    return done;
  }
  // Until a job that runs has reported a step after the call; its number, or -1.
  int64_t AwaitLiveStep(const std::string& job_id) const {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    int64_t step = -1;
    Watch(request, [&](const v1::WatchJobResponse& response) {
      if (response.reports_size() > 0) step = response.reports(response.reports_size() - 1).step();
      return step >= 0;
    });
    return step;
  }
  // Until a job has reported a step; false: it ended before.
  bool AwaitStep(const std::string& job_id, int64_t step, absl::Duration timeout = kLongWait) const {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_from_beginning(true);
    return Watch(
        request,
        [&](const v1::WatchJobResponse& response) {
          return response.reports_size() > 0 && response.reports(response.reports_size() - 1).step() >= step;
        },
        timeout);
  }
  // Until a job has ended.
  bool AwaitEnd(const std::string& job_id, absl::Duration timeout = kLongWait) const {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_from_beginning(true);
    request.set_events_only(true);
    return Watch(
        request,
        [](const v1::WatchJobResponse& response) {
          return response.has_ended() && response.ended().reason() == v1::WatchEnded::REASON_TERMINAL;
        },
        timeout);
  }
  // Until the server answers calls. A connection that is there may still be that of a server that was killed just now.
  bool AwaitAnswer(absl::Duration timeout = kLongWait) const {
    for (const absl::Time deadline = absl::Now() + timeout; absl::Now() < deadline;) {
      const auto context = Context(deadline - absl::Now());
      context->set_wait_for_ready(true);
      v1::ServerInfo info;
      if (jobs->GetServerInfo(context.get(), {}, &info).ok()) return true;
    }
    return false;
  }

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::JobService::Stub> jobs;
  std::unique_ptr<v1::WatchService::Stub> watches;
  std::unique_ptr<v1::AlertService::Stub> alerts;
  std::unique_ptr<v1::TrainerService::Stub> trainers;
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_OUTSIDE_H_
