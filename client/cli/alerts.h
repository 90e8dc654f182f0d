// gradwatch alerts list, watch, get and ack: alerts of all jobs, or of one.
#ifndef GRADWATCH_CLIENT_CLI_ALERTS_H_
#define GRADWATCH_CLIENT_CLI_ALERTS_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "client/cli/session.h"

namespace gradwatch::cli {

struct AlertsListOptions {
  std::string job_id;                                    // empty: all
  v1::Severity min_severity = v1::SEVERITY_UNSPECIFIED;  // unspecified: all
  std::vector<v1::AlertState> states;                    // empty: all
  std::vector<std::string> rules;                        // by name; empty: all
  int limit = 100;
  std::string page_token;  // empty: from the first
};

struct AlertsWatchOptions {
  std::string job_id;
  v1::Severity min_severity = v1::SEVERITY_UNSPECIFIED;
  bool from_beginning = false;
  std::string resume_token;
};

struct AlertsGetOptions {
  std::string alert_id;
};

struct AlertsAckOptions {
  std::string alert_id;
  std::string comment;
};

CLI::App* AddAlertsList(CLI::App& parent, AlertsListOptions* options);
CLI::App* AddAlertsWatch(CLI::App& parent, AlertsWatchOptions* options);
CLI::App* AddAlertsGet(CLI::App& parent, AlertsGetOptions* options);
CLI::App* AddAlertsAck(CLI::App& parent, AlertsAckOptions* options);

absl::StatusOr<ExitCode> RunAlertsList(const AlertsListOptions& options, Session& session);
// Goes on until Ctrl-C or the timeout; then a note says how to go on. A server that comes back with another history
// (its data folder was replaced) is told in a note and read from its beginning.
absl::StatusOr<ExitCode> RunAlertsWatch(const AlertsWatchOptions& options, Session& session);
absl::StatusOr<ExitCode> RunAlertsGet(const AlertsGetOptions& options, Session& session);
absl::StatusOr<ExitCode> RunAlertsAck(const AlertsAckOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_ALERTS_H_
