#include "client/cli/job_text.h"

#include "absl/strings/str_cat.h"
#include "client/cli/controls_text.h"
#include "client/cli/text.h"
#include "client/cli/words.h"

namespace gradwatch::cli {
namespace {

std::string StepsText(const v1::Job& job) {
  return job.spec().steps() > 0 ? absl::StrCat(job.steps_done(), "/", job.spec().steps())
                                : absl::StrCat(job.steps_done());
}

std::string LossText(const v1::Job& job) { return job.has_last_loss() ? NumberText(job.last_loss()) : ""; }
std::string NormText(const v1::Job& job) { return job.has_last_grad_norm() ? NumberText(job.last_grad_norm()) : ""; }

std::string RevisionText(const v1::Job& job) {
  std::string text = absl::StrCat("revision ", job.control_revision());
  if (job.applied_revision() != job.control_revision()) {
    absl::StrAppend(&text, ", the trainer uses revision ", job.applied_revision());
  }
  return text;
}

}  // namespace

std::string JobText(const v1::Job& job, absl::Time now) {
  std::vector<std::vector<std::string>> rows;
  const auto add = [&rows](const char* name, const std::string& value) {
    if (!value.empty()) rows.push_back({name, value});
  };
  add("job", job.job_id());
  add("name", job.spec().display_name());
  add("state", Word(job.state()));
  add("failure", job.failure());
  add("steps", StepsText(job));
  add("attempt", absl::StrCat(job.attempt()));
  add("loss", LossText(job));
  add("gradient norm", NormText(job));
  add("firing alerts", absl::StrCat(job.firing_alerts()));
  add("clip", ClipText(job.controls().clip()));
  add("controls", RevisionText(job));
  add("etag", job.etag());
  add("last event", absl::StrCat(job.last_event()));
  add("tensors", job.tensors().empty() ? "" : absl::StrCat(job.tensors_size()));
  add("needs", job.has_estimate() ? EstimateText(job.estimate()) : "");
  add("created", AgoText(job.create_time(), now));
  add("started", AgoText(job.start_time(), now));
  add("ended", AgoText(job.end_time(), now));
  return TableText(rows);
}

std::string JobListText(const std::vector<v1::Job>& jobs, absl::Time now) {
  std::vector<std::vector<std::string>> rows = {
      {"JOB", "STATE", "STEPS", "LOSS", "GRAD NORM", "ALERTS", "ATTEMPT", "CREATED"}};
  for (const v1::Job& job : jobs) {
    rows.push_back({job.job_id(), Word(job.state()), StepsText(job), LossText(job), NormText(job),
                    absl::StrCat(job.firing_alerts()), absl::StrCat(job.attempt()), AgoText(job.create_time(), now)});
  }
  return TableText(rows);
}

std::string EstimateText(const v1::ResourceEstimate& estimate) {
  return absl::StrCat(estimate.parameters(), " parameters; memory: ", BytesText(estimate.parameter_bytes()),
                      " parameters and optimizer, ", BytesText(estimate.activation_bytes()), " activations, ",
                      BytesText(estimate.data_bytes()), " data");
}

}  // namespace gradwatch::cli
