// What the tests of the stores share.
#ifndef GRADWATCH_TESTS_SERVER_STORE_STORE_TESTING_H_
#define GRADWATCH_TESTS_SERVER_STORE_STORE_TESTING_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "server/history/encoded_report.h"
#include "server/history/statistics_store.h"
#include "server/store/ledger.h"

namespace gradwatch::server {

// Runs `operation` and returns what its OnCommit got.
inline absl::Status CommitAndWait(Ledger& ledger, Ledger::Operation operation) {
  absl::Notification done;
  absl::Status result;
  ledger.Submit([&](LedgerTransaction& transaction) {
    transaction.OnCommit([&](const absl::Status& status) {
      result = status;
      done.Notify();
    });
    return operation(transaction);
  });
  done.WaitForNotification();
  return result;
}

inline JobRow MakeJobRow(const std::string& uid, const std::string& job_id) {
  JobRow row;
  row.job.set_uid(uid);
  row.job.set_job_id(job_id);
  row.attach_token = absl::StrCat("token of ", uid);
  return row;
}

inline v1::Event MakeEvent(const std::string& job_id, int64_t number) {
  v1::Event event;
  event.set_job_id(job_id);
  event.set_number(number);
  event.mutable_state_changed()->set_reason(absl::StrCat("reason ", number));
  return event;
}

inline v1::Event MakeAlertEvent(const std::string& job_id, int64_t number, const std::string& alert_id,
                                v1::AlertState state, v1::Severity severity = v1::SEVERITY_WARNING) {
  v1::Event event;
  event.set_job_id(job_id);
  event.set_number(number);
  v1::Alert* alert = event.mutable_alert_changed()->mutable_alert();
  alert->set_alert_id(alert_id);
  alert->set_job_id(job_id);
  alert->set_state(state);
  alert->set_severity(severity);
  return event;
}

inline absl::Status AppendEvent(Ledger& ledger, const std::string& uid, v1::Event event) {
  return CommitAndWait(ledger,
                       [&](LedgerTransaction& transaction) { return transaction.AppendEvent(uid, &event).status(); });
}

// A report whose loss tells versions of one step apart.
inline EncodedReport MakeReport(int32_t attempt, int64_t step, double loss = 1) {
  v1::StepReport report;
  report.set_attempt(attempt);
  report.set_step(step);
  report.set_loss(loss);
  return EncodeReport(report);
}

inline std::vector<EncodedReport> MakeReports(int32_t attempt, int64_t first_step, int64_t last_step, double loss = 1) {
  std::vector<EncodedReport> reports;
  for (int64_t step = first_step; step <= last_step; ++step) reports.push_back(MakeReport(attempt, step, loss));
  return reports;
}

// "step=loss" of a report, "first-last reason" of a lost range.
inline std::string Describe(const EncodedReport& entry) {
  if (entry.lost) {
    const auto lost = DecodeLost(*entry.bytes);
    if (!lost.ok() || lost->first_step() != entry.first_step || lost->last_step() != entry.step) return "WRONG";
    return absl::StrCat(lost->first_step(), "-", lost->last_step(), " ", lost->reason());
  }
  const auto report = DecodeReport(*entry.bytes);
  if (!report.ok() || report->step() != entry.step || entry.first_step != entry.step) return "WRONG";
  return absl::StrCat(report->step(), "=", report->loss());
}

inline absl::Status AppendAndWait(StatisticsStore& store, const std::string& uid, std::vector<EncodedReport> reports) {
  absl::Notification done;
  absl::Status result;
  store.Append(uid, std::move(reports), [&](const absl::Status& status, std::vector<EncodedReport>) {
    result = status;
    done.Notify();
  });
  done.WaitForNotification();
  if (result.ok()) return result;
  // Until its callback has returned, what is queued fails with it.
  absl::Notification heard;
  store.Barrier([&] { heard.Notify(); });
  heard.WaitForNotification();
  return result;
}

// Packs all that was appended.
inline absl::Status SettleAndWait(StatisticsStore& store) {
  absl::Notification done;
  absl::Status result;
  store.Settle([&](const absl::Status& status) {
    result = status;
    done.Notify();
  });
  done.WaitForNotification();
  return result;
}

}  // namespace gradwatch::server

#endif  // GRADWATCH_TESTS_SERVER_STORE_STORE_TESTING_H_
