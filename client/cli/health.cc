#include "client/cli/health.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/cli/retention.h"
#include "client/cli/text.h"
#include "client/lib/printable.h"
#include "client/lib/timestamp.h"

namespace gradwatch::cli {

namespace {

// "12 MiB of reports and 3 MiB of ranges take 17 MiB of the disk, 31 GiB are free; kept at most: 4 GiB in all, of a job
// 1 GiB, any age".
std::string StoreText(const v1::StoreInfo& store) {
  const std::string most = store.max_bytes() == 0 ? "any number of bytes" : BytesText(store.max_bytes());
  return absl::StrCat("statistics: ", BytesText(store.report_bytes()), " of reports and ",
                      BytesText(store.range_bytes()), " of ranges take ", BytesText(store.disk_bytes()),
                      " of the disk, ", BytesText(store.free_bytes()), " are free; kept at most: ", most,
                      " in all, of a job ", RetentionText(store.job_retention()));
}

std::string StoppedText(const v1::StoreInfo& store, absl::Time now) {
  const absl::Duration since = std::max(now - client::FromTimestamp(store.stopped_since()), absl::ZeroDuration());
  return absl::StrCat("statistics are not stored, for ", DurationText(since),
                      " now: ", client::Printable(store.stopped()));
}

}  // namespace

CLI::App* AddHealth(CLI::App& parent, HealthOptions*) {
  return parent.add_subcommand("health", "Say whether the server serves, what it allows and what it stores");
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
    std::string text = absl::StrCat(connection.address(), " serves, version ", client::Printable(info->version()),
                                    "; at most ", info->max_running_jobs(), " running jobs, ", info->max_parameters(),
                                    " parameters and ", BytesText(info->max_job_bytes()), " a job");
    const v1::StoreInfo& store = info->statistics();
    if (info->has_statistics()) absl::StrAppend(&text, "\n", StoreText(store));
    if (!store.stopped().empty()) absl::StrAppend(&text, "\n", StoppedText(store, session.io().now()));
    return text;
  });
  return ExitCode::kSuccess;
}

absl::StatusOr<ExitCode> RunVersion(const VersionOptions&, Session& session) {
  session.Print(JsonObject().Add("version", GRADWATCH_VERSION), [] { return "gradwatch " GRADWATCH_VERSION; });
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
