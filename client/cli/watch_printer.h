// The messages of a job's stream as lines: JSON objects for programs, text for people.
#ifndef GRADWATCH_CLIENT_CLI_WATCH_PRINTER_H_
#define GRADWATCH_CLIENT_CLI_WATCH_PRINTER_H_

#include <string>
#include <utility>
#include <vector>

#include "client/cli/progress.h"
#include "client/cli/session.h"
#include "gradwatch/v1/watch_service.pb.h"

namespace gradwatch::cli {

// Prints events of any job: as JSON, or as text with the event's number. Firing alerts are coloured.
void PrintEvent(const Session& session, const v1::Event& event, bool with_job);

class WatchPrinter {
 public:
  // `with_tensors`: text lines of single tensors, too.
  WatchPrinter(const Session& session, std::string job_id, bool with_tensors)
      : session_(session), job_id_(std::move(job_id)), with_tensors_(with_tensors), progress_(session.io()) {}

  // The job as it is now: names of tensors, number of steps.
  void OnJob(const v1::Job& job);
  bool knows_tensors() const { return !tensors_.empty(); }
  void Print(const v1::Event& event);
  void Print(const v1::StepReport& report);
  // The row of its last report, if that came, with what lies before it.
  void Print(const v1::ConflatedPoint& point);
  void Print(const v1::StatisticsLost& lost);
  // The last line in JSON: {"type":"end","job":..,"reason":..,"state":..,"resume_token":..}; nothing for people.
  // Reasons: "terminal", "deleted", "alert", "until_step", "detached" (Ctrl-C), "timeout", "error".
  void PrintEnd(const std::string& reason, const std::string& state, const std::string& resume_token);
  // Takes the progress line away.
  void Clear() { progress_.Clear(); }

 private:
  bool IsTable() const { return session_.output() == Output::kTable; }
  std::string TensorName(int index) const;
  JsonObject ReportJson(const v1::StepReport& report) const;
  JsonObject PointJson(const v1::ConflatedPoint& point) const;
  void PrintHeader();
  // `remarks` stand behind those of the report.
  void PrintRow(const v1::StepReport& report, const std::string& remarks);

  const Session& session_;
  const std::string job_id_;
  const bool with_tensors_;
  std::vector<std::string> tensors_;
  Progress progress_;
  bool header_done_ = false;
};

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_WATCH_PRINTER_H_
