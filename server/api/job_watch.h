// The watch of one job.
#ifndef GRADWATCH_SERVER_API_JOB_WATCH_H_
#define GRADWATCH_SERVER_API_JOB_WATCH_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/api/watch_session.h"
#include "server/job/job_manager.h"
#include "server/stream/watch_feed.h"

namespace gradwatch::server {

class JobWatch final : public WatchSession {
 public:
  // Errors as WatchService.WatchJob says. All pointers but `admitted`, which is taken where there is no error, outlive
  // the watch.
  static absl::StatusOr<std::shared_ptr<JobWatch>> Create(const v1::WatchJobRequest& request, const JobManager* jobs,
                                                          const FeedSources* sources, Hub* hub,
                                                          const core::Clock* clock, Admission::Watch* admitted);

 private:
  JobWatch(std::string job_id, const JobManager* jobs, std::shared_ptr<JobChannel> channel, WatchFeed feed, Hub* hub,
           const core::Clock* clock, Admission::Watch admitted);

  Output Produce(Lane lane) override;
  EncodedMessage MakeBookmark() override;
  EncodedMessage MakeShutdown() override;

  EncodedMessage MakeStarted(v1::Job job);
  EncodedMessage MakeEnded(v1::WatchEnded::Reason reason) const;

  const std::string job_id_;
  const JobManager* const jobs_;
  const std::shared_ptr<JobChannel> channel_;
  WatchFeed feed_;
  bool started_ = false;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_JOB_WATCH_H_
