#include "client/cli/adjust.h"

#include "client/cli/option_types.h"

namespace gradwatch::cli {
namespace {

v1::AdjustJobRequest MakeRequest(const AdjustOptions& options) {
  v1::AdjustJobRequest request;
  if (options.learning_rate_scale.has_value()) {
    request.mutable_controls()->set_learning_rate_scale(*options.learning_rate_scale);
    request.mutable_update_mask()->add_paths("learning_rate_scale");
  }
  if (options.report_every.has_value()) {
    request.mutable_controls()->set_report_every(*options.report_every);
    request.mutable_update_mask()->add_paths("report_every");
  }
  if (options.histogram_every.has_value()) {
    request.mutable_controls()->set_histogram_every(*options.histogram_every);
    request.mutable_update_mask()->add_paths("histogram_every");
  }
  if (options.statistics != v1::STATISTICS_LEVEL_UNSPECIFIED) {
    request.mutable_controls()->set_statistics(options.statistics);
    request.mutable_update_mask()->add_paths("statistics");
  }
  if (options.gradient_cosine.has_value()) {
    request.mutable_controls()->set_gradient_cosine(*options.gradient_cosine);
    request.mutable_update_mask()->add_paths("gradient_cosine");
  }
  if (options.layer_statistics.has_value()) {
    request.mutable_controls()->set_layer_statistics(*options.layer_statistics);
    request.mutable_update_mask()->add_paths("layer_statistics");
  }
  return request;
}

}  // namespace

CLI::App* AddAdjust(CLI::App& parent, AdjustOptions* options) {
  CLI::App* app = parent.add_subcommand("adjust", "Change a running job, and say from which step it holds");
  AddAdjustingOptions(*app, &options->adjusting);
  app->add_option("--lr-scale", options->learning_rate_scale, "Factor on the learning rate")
      ->check(client::FinitePositive());
  AddCountOption(*app, "--report-every", options->report_every, "Statistics of tensors every this many steps");
  AddCountOption(*app, "--histogram-every", options->histogram_every,
                 "Their histograms every this many steps, and while the condition of a rule holds");
  AddWordOption(*app, "--statistics", options->statistics, "How much is measured: none, norm, full");
  AddBoolOption(*app, "--gradient-cosine", options->gradient_cosine,
                "Compare the gradients of two steps in a row: true or false");
  AddBoolOption(*app, "--layer-statistics", options->layer_statistics,
                "Measure what goes through every layer: true or false");
  return app;
}

absl::StatusOr<ExitCode> RunAdjust(const AdjustOptions& options, Session& session) {
  const v1::AdjustJobRequest request = MakeRequest(options);
  if (request.update_mask().paths().empty()) {
    return absl::InvalidArgumentError(
        "nothing to change: give --lr-scale, --report-every, --histogram-every, --statistics, --gradient-cosine or "
        "--layer-statistics");
  }
  return Adjust(
      options.adjusting, [&request](const v1::Job&) { return request; }, session);
}

}  // namespace gradwatch::cli
