#include "client/cli/retention.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/cli/text.h"
#include "client/lib/decimal.h"
#include "client/lib/duration.h"
#include "client/lib/number_option.h"

namespace gradwatch::cli {
namespace {

constexpr double kMostDays = 3'652'500;  // ten thousand years

// Refuses all but numbers of days.
std::string ReadDays(const std::string& text) {
  const std::optional<double> value = client::ParseDecimal(text);
  if (!value.has_value()) return "\"" + text + "\" is not a decimal number";
  return *value >= 0 && *value <= kMostDays ? "" : "\"" + text + "\" is not a number of days from 0 to 3652500";
}

}  // namespace

void AddRetentionOptions(CLI::App& app, RetentionOptions* options) {
  constexpr const char* kWhat = "of its reports is kept; those around alerts go last, ranges of 256 steps stay";
  client::AddWholeOption(
      app, "--keep-bytes", options->keep_bytes,
      absl::StrCat("How many bytes ", kWhat, "; 0: any number (default: what the server says, see gradwatch health)"),
      {.least = 0, .most = std::numeric_limits<int64_t>::max(), .name = "a whole number from 0 on"});
  app.add_option("--keep-days", options->keep_days, "For how many days a report is kept; 0: any (default: the same)")
      ->check(CLI::Validator([](const std::string& text) { return ReadDays(text); }, ""));
}

void SetRetention(const RetentionOptions& options, v1::Retention* retention) {
  if (options.keep_bytes.has_value()) retention->set_max_bytes(*options.keep_bytes);
  if (options.keep_days.has_value())
    *retention->mutable_max_age() = client::ToDuration(*options.keep_days * absl::Hours(24));
}

std::string RetentionText(const v1::Retention& retention) {
  constexpr const char* kOwn = "the server's own";
  if (!retention.has_max_bytes() && !retention.has_max_age()) return kOwn;
  const absl::Duration age = client::FromDuration(retention.max_age());
  const std::string bytes = !retention.has_max_bytes()   ? absl::StrCat("bytes: ", kOwn)
                            : retention.max_bytes() == 0 ? "any number of bytes"
                                                         : BytesText(retention.max_bytes());
  const std::string days = !retention.has_max_age()      ? absl::StrCat("age: ", kOwn)
                           : age == absl::ZeroDuration() ? "any age"
                                                         : DurationText(age);
  return absl::StrCat(bytes, ", ", days);
}

std::string UsageText(const v1::StatisticsUsage& usage) {
  const std::string from = usage.has_first_step() ? absl::StrCat(" from step ", usage.first_step(), " on") : "";
  return absl::StrCat(BytesText(usage.report_bytes()), " of reports", from, ", ", BytesText(usage.range_bytes()),
                      " of ranges");
}

}  // namespace gradwatch::cli
