// gradwatch alerts silence, silences and unsilence: what marks alerts as silenced for a time.
#ifndef GRADWATCH_CLIENT_CLI_SILENCES_H_
#define GRADWATCH_CLIENT_CLI_SILENCES_H_

#include <google/protobuf/timestamp.pb.h>

#include <CLI/App.hpp>
#include <string>

#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

struct AlertsSilenceOptions {
  std::string jobs, rules, tensors;  // globs; empty: all
  absl::optional<absl::Duration> duration;
  absl::optional<google::protobuf::Timestamp> until;
  std::string comment;
};

struct AlertsSilencesOptions {
  int limit = 100;
  std::string page_token;  // empty: from the first
};

struct AlertsUnsilenceOptions {
  std::string silence_id;
};

CLI::App* AddAlertsSilence(CLI::App& parent, AlertsSilenceOptions* options);
CLI::App* AddAlertsSilences(CLI::App& parent, AlertsSilencesOptions* options);
CLI::App* AddAlertsUnsilence(CLI::App& parent, AlertsUnsilenceOptions* options);

absl::StatusOr<ExitCode> RunAlertsSilence(const AlertsSilenceOptions& options, Session& session);
absl::StatusOr<ExitCode> RunAlertsSilences(const AlertsSilencesOptions& options, Session& session);
absl::StatusOr<ExitCode> RunAlertsUnsilence(const AlertsUnsilenceOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_SILENCES_H_
