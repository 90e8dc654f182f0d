#include "client/cli/job_list.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/cli/job_text.h"
#include "client/cli/option_types.h"

namespace gradwatch::cli {
namespace {

constexpr int kMaxPage = 1000;

}  // namespace

CLI::App* AddJobList(CLI::App& parent, JobListOptions* options) {
  CLI::App* app = parent.add_subcommand("list", "List jobs, newest first");
  AddWordListOption(*app, "--state", options->states, "Only jobs in this state; may be repeated");
  app->add_option("--limit", options->limit, "Jobs at most")->check(WholePositive())->capture_default_str();
  AddWordOption(*app, "--view", options->view,
                "How much is told of each: basic, or full (with spec, controls and tensors); unset: basic");
  return app;
}

absl::StatusOr<ExitCode> RunJobList(const JobListOptions& options, Session& session) {
  v1::ListJobsRequest request;
  for (const v1::JobState state : options.states) request.add_states(state);
  request.set_view(options.view);
  v1::ListJobsResponse all;
  do {
    request.set_page_size(std::min(options.limit - all.jobs_size(), kMaxPage));
    const auto page = session.connection().Call(session.connection().jobs(), &v1::JobService::StubInterface::ListJobs,
                                                request, client::Repeat::kWhenUnavailable);
    if (!page.ok()) return page.status();
    all.mutable_jobs()->MergeFrom(page->jobs());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() && all.jobs_size() < options.limit);
  const bool is_basic = options.view != v1::JOB_VIEW_FULL;
  session.Print(all,
                [&] {
                  return JobListText({all.jobs().begin(), all.jobs().end()}, session.io().now());
                },
                {.include_defaults = true, .partial = is_basic ? "spec" : ""});
  if (!request.page_token().empty()) {
    session.Note(absl::StrCat("gradwatch: there are more than ", options.limit, " jobs; see --limit"));
  }
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
