// gradwatch adjust: changes the other controls of a running job: learning rate scale and how much is measured.
#ifndef GRADWATCH_CLIENT_CLI_ADJUST_H_
#define GRADWATCH_CLIENT_CLI_ADJUST_H_

#include <CLI/App.hpp>

#include "absl/types/optional.h"
#include "client/cli/adjusting.h"
#include "client/cli/session.h"

namespace gradwatch::cli {

struct AdjustOptions {
  AdjustingOptions adjusting;
  absl::optional<double> learning_rate_scale;
  absl::optional<int> report_every;
  absl::optional<int> histogram_every;
  v1::StatisticsLevel statistics = v1::STATISTICS_LEVEL_UNSPECIFIED;  // unspecified: unchanged
  absl::optional<bool> gradient_cosine;
  absl::optional<bool> layer_statistics;
};

CLI::App* AddAdjust(CLI::App& parent, AdjustOptions* options);
absl::StatusOr<ExitCode> RunAdjust(const AdjustOptions& options, Session& session);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_ADJUST_H_
