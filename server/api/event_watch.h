// The watches of all jobs: of their alerts (WatchAlerts), or of all their events and figures (WatchJobs).
#ifndef GRADWATCH_SERVER_API_EVENT_WATCH_H_
#define GRADWATCH_SERVER_API_EVENT_WATCH_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "gradwatch/v1/alert_service.pb.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/api/figures_board.h"
#include "server/api/watch_session.h"
#include "server/stream/event_feed.h"

namespace gradwatch::server {

// What these watches share; all of it outlives them.
struct EventWatchContext {
  const EventChannel* events;
  LedgerReader* ledger;
  std::shared_ptr<FiguresBoard> figures;
  Hub* hub;
  const core::Clock* clock;
  std::string log_epoch;
};

class EventWatch final : public WatchSession {
 public:
  // Errors as AlertService.WatchAlerts and WatchService.WatchJobs say. No store is read. `admitted`: taken
  // where there is no error.
  static absl::StatusOr<std::shared_ptr<EventWatch>> OfAlerts(const v1::WatchAlertsRequest& request,
                                                              const EventWatchContext* context,
                                                              Admission::Watch* admitted);
  static absl::StatusOr<std::shared_ptr<EventWatch>> OfJobs(const v1::WatchJobsRequest& request,
                                                            const EventWatchContext* context,
                                                            Admission::Watch* admitted);
  ~EventWatch() override;

 private:
  // `board`: null where figures are not wanted.
  EventWatch(const EventWatchContext* context, EventFeed feed, uint64_t filter_hash,
             std::shared_ptr<FiguresBoard> board, Admission::Watch admitted, std::vector<std::string> topics);

  Output Produce(Lane lane) override;
  EncodedMessage MakeBookmark() override;
  EncodedMessage MakeShutdown() override;
  std::string Token() const;

  const EventWatchContext* const context_;
  const uint64_t filter_hash_;
  const std::shared_ptr<FiguresBoard> board_;  // the hub may let go of a watch after everything else
  EventFeed feed_;
  int64_t seen_figures_ = 0;
  bool started_ = false;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_API_EVENT_WATCH_H_
