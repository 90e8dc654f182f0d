#include "client/cli/job_text.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "client/cli/controls_text.h"
#include "client/cli/event_text.h"
#include "client/cli/report_text.h"
#include "client/cli/retention.h"
#include "client/cli/text.h"
#include "client/lib/enum_word.h"
#include "client/lib/timestamp.h"

namespace gradwatch::cli {
namespace {

std::string StepsText(const v1::Job& job) {
  return job.spec().steps() > 0 ? absl::StrCat(job.steps_done(), "/", job.spec().steps())
                                : absl::StrCat(job.steps_done());
}

std::string LossText(const v1::Job& job) { return job.has_last_loss() ? NumberText(job.last_loss()) : "-"; }

std::string LastNormText(const v1::Job& job) {
  return NormText(job.has_last_grad_norm() ? absl::optional<double>(job.last_grad_norm()) : absl::nullopt,
                  job.last_non_finite());
}

// Of the last step: "2.5 (4 NaN or infinite)".
std::string LastGradientText(const v1::Job& job) {
  const std::string norm = LastNormText(job);
  return job.last_non_finite() == 0 ? norm : absl::StrCat(norm, " (", job.last_non_finite(), " NaN or infinite)");
}

// "loss 0.31, accuracy 0.9 (after step 99)".
std::string LastValidationText(const v1::Job& job) {
  if (!job.has_last_validation()) return job.spec().has_validation() ? "-" : "";
  const std::string text = ValidationText(job.last_validation());
  return job.has_last_validation_step() ? absl::StrCat(text, " (after step ", job.last_validation_step(), ")") : text;
}

// "9000 examples; the first line is a header"; nothing about data that is made without end.
std::string DataText(const v1::DataSummary& data) {
  std::string text = data.has_examples() ? absl::StrCat(data.examples(), " examples") : "";
  if (data.has_header() && data.note().empty()) {
    absl::StrAppend(&text, text.empty() ? "" : "; ", "the first line is ", data.header() ? "a header" : "data");
  }
  if (!data.note().empty()) absl::StrAppend(&text, text.empty() ? "" : "; ", data.note());
  return text;
}

// "external, pytorch 1.13"; nothing about a trainer that the server starts.
std::string TrainerText(const v1::Job& job) {
  if (!job.spec().has_external()) return "";
  const std::string& framework = job.spec().external().framework();
  const std::string text = framework.empty() ? "external" : absl::StrCat("external, ", framework);
  return job.state() == v1::JOB_STATE_PENDING ? absl::StrCat(text, "; it has not attached yet") : text;
}

// "14:03:05 at the latest, in 45 s"; nothing about a job that is not to stop.
std::string StopText(const v1::Job& job, absl::Time now, absl::TimeZone zone) {
  if (job.state() != v1::JOB_STATE_STOPPING || !job.has_stop_deadline()) return "";
  const std::string text = absl::StrCat(ClockText(job.stop_deadline(), now, zone), " at the latest");
  const absl::Duration left = client::FromTimestamp(job.stop_deadline()) - now;
  return left > absl::ZeroDuration() ? absl::StrCat(text, ", in ", DurationText(left)) : text;
}

std::string RevisionText(const v1::Job& job) {
  const std::string text = absl::StrCat("revision ", job.control_revision());
  if (job.waiting_edits() == 0) return text;
  return absl::StrCat(text, "; ", job.waiting_edits(), job.waiting_edits() == 1 ? " edit waits" : " edits wait");
}

}  // namespace

std::string JobText(const v1::Job& job, absl::Time now, absl::TimeZone zone, absl::string_view counted_alerts) {
  std::vector<std::vector<std::string>> rows;
  const auto add = [&rows](const char* name, const std::string& value) {
    if (!value.empty()) rows.push_back({name, value});
  };
  add("job", job.job_id());
  add("name", job.spec().display_name());
  add("labels", job.spec().labels().empty() ? "" : LabelsText(job.spec().labels()));
  add("state", client::Word(job.state()));
  add("stops by", StopText(job, now, zone));
  add("trainer", TrainerText(job));
  add("failure", job.failure());
  add("steps", StepsText(job));
  add("attempt", absl::StrCat(job.attempt()));
  add("loss", LossText(job));
  add("gradient norm", LastGradientText(job));
  add("validation", LastValidationText(job));
  add("non-finite steps", absl::StrCat(job.non_finite_steps()));
  add("alerts", absl::StrCat(job.firing_alerts(), " firing, ", job.fired_alerts(), " fired so far", counted_alerts));
  add("clip", ClipText(job.controls().clip()));
  add("adjusted", SettingsText(job.spec(), job.controls()));
  add("controls", RevisionText(job));
  add("etag", job.etag());
  add("last event", absl::StrCat(job.last_event()));
  add("data", DataText(job.data()));
  add("tensors", job.tensors().empty() ? "" : absl::StrCat(job.tensors_size()));
  add("needs", job.has_estimate() ? EstimateText(job.estimate()) : "");
  add("stored", job.has_statistics() ? UsageText(job.statistics()) : "");
  add("kept", job.has_statistics() ? RetentionText(job.statistics().retention()) : "");
  add("created", AgoText(job.create_time(), now));
  add("started", AgoText(job.start_time(), now));
  add("ended", AgoText(job.end_time(), now));
  return TableText(rows);
}

std::string JobListText(const std::vector<v1::Job>& jobs, absl::Time now) {
  std::vector<std::vector<std::string>> rows = {
      {"JOB", "STATE", "STEPS", "LOSS", "GRAD NORM", "NON-FINITE", "FIRING", "FIRED", "ATTEMPT", "CREATED"}};
  for (const v1::Job& job : jobs) {
    rows.push_back({job.job_id(), client::Word(job.state()), StepsText(job), LossText(job), LastNormText(job),
                    absl::StrCat(job.non_finite_steps()), absl::StrCat(job.firing_alerts()),
                    absl::StrCat(job.fired_alerts()), absl::StrCat(job.attempt()), AgoText(job.create_time(), now)});
  }
  return TableText(rows);
}

std::string NonFiniteStepsText(const v1::Job& job) {
  return job.non_finite_steps() == 0 ? ""
                                     : absl::StrCat(" (", job.non_finite_steps(), " of them with NaN or infinities)");
}

std::string EstimateText(const v1::ResourceEstimate& estimate) {
  const std::pair<int64_t, const char*> parts[] = {
      {estimate.parameter_bytes(), "parameters and optimizer"},
      {estimate.activation_bytes(), "activations"},
      {estimate.data_bytes(), "data"},
      {estimate.watch_bytes(), "statistics and rules"},
      {estimate.report_bytes(), "reports"},
      {estimate.start_bytes(), "start"},
      {estimate.process_bytes(), "program"},
  };
  std::vector<std::string> told;
  double sum = 0;  // as the engine adds them up (core/spec), which clients do not link
  for (const auto& [bytes, what] : parts) {
    sum += static_cast<double>(bytes);
    if (bytes > 0) told.push_back(absl::StrCat(BytesText(bytes), " ", what));
  }
  return absl::StrCat(estimate.parameters(), " parameters; memory: ", BytesText(static_cast<int64_t>(sum)),
                      " in all: ", absl::StrJoin(told, ", "));
}

}  // namespace gradwatch::cli
