// How much is kept of a job's statistics: the options that say it, and what people read of it.
#ifndef GRADWATCH_CLIENT_CLI_RETENTION_H_
#define GRADWATCH_CLIENT_CLI_RETENTION_H_

#include <CLI/App.hpp>
#include <cstdint>
#include <string>

#include "absl/types/optional.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::cli {

struct RetentionOptions {
  absl::optional<int64_t> keep_bytes;
  absl::optional<double> keep_days;

  bool empty() const { return !keep_bytes.has_value() && !keep_days.has_value(); }
};

// Adds --keep-bytes and --keep-days.
void AddRetentionOptions(CLI::App& app, RetentionOptions* options);
// Puts what was given into `retention`; the rest of it stays.
void SetRetention(const RetentionOptions& options, v1::Retention* retention);

// "1 GiB, 7 d"; "any number of bytes, any age"; "the server's own" for what is unset.
std::string RetentionText(const v1::Retention& retention);
// "1.5 MiB of reports from step 4096 on, 200 KiB of ranges".
std::string UsageText(const v1::StatisticsUsage& usage);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_RETENTION_H_
