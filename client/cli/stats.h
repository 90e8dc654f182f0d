// gradwatch stats: the statistics of a job in so many points, its newest values, or its histograms.
#ifndef GRADWATCH_CLIENT_CLI_STATS_H_
#define GRADWATCH_CLIENT_CLI_STATS_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

struct StatsOptions {
  std::string job_id;
  std::vector<std::string> series;
  int attempt = 0;  // 0: the present one
  absl::optional<int64_t> from_step, to_step;
  int points = 0;  // 0: few for people, more for programs
  bool newest = false;
  bool histograms = false;
};

CLI::App* AddStats(CLI::App& parent, StatsOptions* options);

// Prints what is stored up to now, also as CSV; it does not wait for more.
absl::StatusOr<ExitCode> RunStats(const StatsOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_STATS_H_
