#include "client/cli/health.h"

#include "absl/strings/str_cat.h"
#include "client/cli/text.h"
#include "client/lib/printable.h"

namespace gradwatch::cli {

CLI::App* AddHealth(CLI::App& parent, HealthOptions*) {
  return parent.add_subcommand("health", "Say whether the server serves, and what it allows");
}

CLI::App* AddVersion(CLI::App& parent, VersionOptions*) {
  return parent.add_subcommand("version", "Print the version of this program");
}

absl::StatusOr<ExitCode> RunHealth(const HealthOptions&, Session& session) {
  const client::Connection& connection = session.connection();
  const absl::Status health = connection.CheckHealth();
  if (!health.ok()) return health;
  const auto info = connection.Call(connection.jobs(), &v1::JobService::StubInterface::GetServerInfo,
                                    v1::GetServerInfoRequest(), client::Repeat::kWhenUnavailable);
  if (!info.ok()) return info.status();
  JsonObject object;
  object.Add("server", connection.address()).Add("status", "serving").AddFields(*info);
  session.Print(object, [&] {
    return absl::StrCat(connection.address(), " serves, version ", client::Printable(info->version()), "; at most ",
                        info->max_running_jobs(), " running jobs, ", info->max_parameters(), " parameters and ",
                        BytesText(info->max_job_bytes()), " a job");
  });
  return ExitCode::kSuccess;
}

absl::StatusOr<ExitCode> RunVersion(const VersionOptions&, Session& session) {
  session.Print(JsonObject().Add("version", GRADWATCH_VERSION), [] { return "gradwatch " GRADWATCH_VERSION; });
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
