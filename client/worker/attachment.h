// A trainer's tie to the server: reports and notices go up, settings and commands come down, and a broken stream is
// opened again until everything has arrived.
#ifndef GRADWATCH_CLIENT_WORKER_ATTACHMENT_H_
#define GRADWATCH_CLIENT_WORKER_ATTACHMENT_H_

#include <grpcpp/channel.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/lib/backoff.h"
#include "client/worker/attach_stream.h"
#include "client/worker/event_queue.h"
#include "client/worker/last_words.h"
#include "client/worker/notice_log.h"
#include "client/worker/outbox.h"
#include "client/worker/report_buffer.h"
#include "core/base/clock.h"
#include "core/train/live_controls.h"

namespace gradwatch::worker {

// Times of an attachment.
struct AttachmentOptions {
  absl::Duration heartbeat = absl::Seconds(5);     // something is said at least this often
  absl::Duration max_silence = absl::Seconds(30);  // a stream on which nothing came for so long is broken
  // At the end: so long without an acknowledgement, and what is not acknowledged is left in the file.
  absl::Duration patience = absl::Seconds(10);
  absl::Duration retry_file = absl::Seconds(1);  // after the file could not be written
  // Without a word of a server: until the run may begin, in a pause, and at the end, for the server or the file. Else
  // nobody is waited for.
  absl::Duration max_wait = absl::Hours(24);
  absl::Duration min_backoff = absl::Seconds(0.1);  // between two streams; a random part of a doubling time
  absl::Duration max_backoff = absl::Seconds(2);
  absl::Duration report_period = absl::Milliseconds(20);  // between two batches of few reports
};

// Thread-safe. One thread of its own, "attach", does everything; whoever trains never waits for it.
class Attachment {
 public:
  // Begins to attach. `clock` must outlive this object.
  Attachment(std::shared_ptr<grpc::Channel> channel, v1::TrainerHello hello, const AttachmentOptions& options,
             const core::Clock* clock);
  ~Attachment();
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;

  // Waits for the first welcome, and for the edits that come with it. Errors as for Close; CANCELLED: RequestStop was
  // called; UNAVAILABLE: no server came, or it went before the edits came, for AttachmentOptions::max_wait.
  absl::StatusOr<v1::TrainerWelcome> AwaitWelcome();

  // After AwaitWelcome: what the server, or RequestStop, wants of the training loop. When the attachment ends by an
  // error the command is kStop.
  core::LiveControls& controls() { return *controls_; }

  // Reports come from `reports` from now on; it must outlive the attachment. Call once.
  void SetReports(ReportBuffer* reports) { outbox_.SetReports(reports); }
  // Sends a notice, at once if possible; keeps it until it is acknowledged.
  void Notify(v1::Notice notice);
  // How many transitions of alerts the server has not acknowledged.
  int64_t waiting_alerts() const { return notices_.waiting_alerts(); }

  // Stops the training loop, as if the server had said so.
  void RequestStop();

  // Waits until everything has arrived, and ends the attachment. Where nothing more is acknowledged, also because there
  // is no server, what is not acknowledged is left in the file `last_words`; empty: there is none. OK: the server
  // knows, or will. ABORTED: another trainer has taken over; PERMISSION_DENIED, NOT_FOUND, FAILED_PRECONDITION: the
  // server does not want this trainer (any more); DEADLINE_EXCEEDED: neither server nor file took it in
  // AttachmentOptions::max_wait.
  absl::Status Close(const std::string& last_words = "");

 private:
  // What the thread does; all of these run on it.
  void Run();
  absl::Status RunUntilEnd();
  // One stream, from hello to its end.
  grpc::Status RunStream();
  void Send(AttachStream& stream);
  void Obey(const v1::TrainerDirective& directive);
  void Welcome(const v1::TrainerWelcome& welcome);
  void Take(const v1::EditBatch& batch);
  // Hands out the first welcome if the edits that belong to it are here.
  void LetBegin();
  void WaitToTryAgain();
  // How the end is to be told, once the run is over.
  struct Farewell {
    std::string last_words;
    absl::Duration max_wait;
  };
  absl::Status End(Farewell farewell);
  // Whether the attachment is to end now, and why; once it is, that stays.
  const std::optional<absl::Status>& CheckEnd();
  std::optional<absl::Status> Decide();
  // Stops a run that waits in a pause.
  void LeavePause();
  std::optional<absl::Status> CheckFarewell(const Farewell& farewell);
  // Whether what is not acknowledged lies in the file now.
  bool LeaveLastWords(const std::string& path);
  bool CheckSilence(absl::Duration since) const;

  const std::unique_ptr<v1::TrainerService::Stub> stub_;
  const AttachmentOptions options_;
  const core::Clock* const clock_;
  NoticeLog notices_;
  Outbox outbox_;
  EventQueue events_;
  std::atomic<bool> stop_requested_{false};

  // For the thread alone.
  v1::TrainerHello hello_;
  client::Backoff backoff_;
  v1::TrainerMessage message_;
  bool is_welcome_ = false;  // on the present stream
  v1::TrainerWelcome first_welcome_;
  int64_t edits_to_come_ = 0;  // with the welcome
  bool has_begun_ = false;     // the first welcome is handed out
  absl::Duration last_heard_;  // from a server, by the monotonic clock; at first the start
  absl::Duration last_sent_;   // anything
  absl::Duration last_batch_ = -absl::InfiniteDuration();
  std::optional<absl::Status> decided_;  // see CheckEnd
  // Of the farewell, once it has begun.
  std::optional<absl::Duration> farewell_since_;
  int64_t progress_ = 0;
  absl::Duration last_progress_;
  absl::Duration next_file_ = -absl::InfiniteDuration();
  std::optional<LastWords> words_;

  absl::Mutex mutex_;
  // Made by the thread with the first welcome; the pointer never changes afterwards.
  std::unique_ptr<core::LiveControls> controls_;
  std::optional<v1::TrainerWelcome> welcome_ ABSL_GUARDED_BY(mutex_);
  std::optional<Farewell> farewell_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;  // last, so that it sees all of the above
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_ATTACHMENT_H_
