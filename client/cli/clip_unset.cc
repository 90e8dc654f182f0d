#include "client/cli/clip_unset.h"

#include "client/cli/controls_text.h"

namespace gradwatch::cli {

CLI::App* AddClipUnset(CLI::App& parent, ClipUnsetOptions* options) {
  CLI::App* app = parent.add_subcommand(
      "unset", "Take away the limit that some tensors have of their own, so that they are limited as all are");
  AddAdjustingOptions(*app, &options->adjusting);
  app->add_option("--tensors", options->tensors, "The glob of that limit, as `clip get` shows it")->required();
  return app;
}

absl::StatusOr<ExitCode> RunClipUnset(const ClipUnsetOptions& options, Session& session) {
  v1::AdjustJobRequest request;
  request.mutable_update_mask()->add_paths(OverridePath(options.tensors));  // without a value: it goes
  return Adjust(
      options.adjusting, [&request](const v1::Job&) { return request; }, session);
}

}  // namespace gradwatch::cli
