// Decides what a trainer says next: notices at once, and reports in the order of steps, as many as the server takes.
#ifndef GRADWATCH_CLIENT_WORKER_OUTBOX_H_
#define GRADWATCH_CLIENT_WORKER_OUTBOX_H_

#include <atomic>
#include <cstdint>
#include <deque>

#include "client/worker/notice_log.h"
#include "client/worker/report_buffer.h"
#include "gradwatch/v1/trainer_service.pb.h"

namespace gradwatch::worker {

// For one thread, except SetReports. Notices do not wait for reports, so that an alert is not kept behind what may take
// its time; only the end of the run is told when all reports were sent, alone.
class Outbox {
 public:
  static constexpr int kMaxReports = 1024;
  static constexpr int kMaxNotices = 256;
  // What a server takes of notices or reports in one message.
  static constexpr size_t kMaxBatchBytes = size_t{3} << 20;
  // A batch of reports ends with the report that makes it so large: a notice waits while one is encoded and written,
  // and while the server takes in what is on its way before it.
  static constexpr size_t kReportBytes = size_t{16} << 10;
  // No batch of reports begins with so much on its way that is not acknowledged.
  static constexpr size_t kMaxBytesOnWay = (size_t{64} << 10) - kReportBytes;
  static constexpr int kMaxReportsOnWay = 1024;

  // `notices` must outlive this object. `report_bytes`: takes the place of kReportBytes where nobody waits behind a
  // batch.
  explicit Outbox(NoticeLog* notices, size_t report_bytes = kReportBytes)
      : notices_(notices), report_bytes_(report_bytes) {}

  // Any thread, once: reports come from `reports` from now on, which must outlive this object.
  void SetReports(ReportBuffer* reports) { reports_.store(reports, std::memory_order_release); }

  // A stream has begun: goes back to what the server does not have yet. Nothing is on its way.
  void Begin(const v1::TrainerWelcome& welcome);
  void Acknowledge(const v1::TrainerAck& ack);

  // Whether a batch of few reports goes out, or waits until there are more. Notices never wait.
  enum class Urgency { kNow, kCanWait };
  // Fills `message` with what is to be sent next and counts it as sent. False: there is nothing now.
  bool Next(Urgency urgency, v1::TrainerMessage* message);

  // Whether the server has everything that there is.
  bool AllAcknowledged() const;
  // Rises with every step and notice that is acknowledged.
  int64_t progress() const { return acked_step_ + notices_->acknowledged(); }
  // A welcome by which another outbox of the same notices and reports begins with what is not acknowledged.
  v1::TrainerWelcome Position() const;
  // Where reports come from; null: there are none yet.
  ReportBuffer* reports() const { return reports_.load(std::memory_order_acquire); }

 private:
  // What was sent on this stream and not acknowledged.
  struct OnWay {
    int64_t last_step = 0;
    int reports = 0;
    size_t bytes = 0;
  };

  bool HasCredit() const { return bytes_on_way_ < kMaxBytesOnWay && reports_on_way_ < kMaxReportsOnWay; }
  // Adds the reports from next_step_ to before `end` that fit, and the ranges that could not be kept.
  void FillBatch(ReportBuffer* reports, int64_t end, v1::ReportBatch* batch);
  // Adds one report; false: it is no longer kept.
  bool AddReport(ReportBuffer* reports, v1::ReportBatch* batch);
  void SkipLost(int64_t end, v1::ReportBatch* batch);
  // Adds the next notices; the one that tells the end goes alone.
  void FillNotices(v1::NoticeBatch* batch);

  NoticeLog* const notices_;
  const size_t report_bytes_;
  std::atomic<ReportBuffer*> reports_{nullptr};
  int32_t attempt_ = 0;
  int64_t epoch_ = 0;
  int64_t next_notice_ = 1;
  int64_t next_step_ = 0;
  int64_t last_reported_step_ = -1;  // the last one that was not lost
  int64_t acked_step_ = -1;
  bool last_was_full_ = false;  // the last batch of reports: the next one does not wait
  std::deque<OnWay> on_way_;    // batches of reports
  size_t bytes_on_way_ = 0;     // their sums
  int reports_on_way_ = 0;
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_OUTBOX_H_
