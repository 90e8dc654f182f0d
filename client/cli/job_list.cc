#include "client/cli/job_list.h"

#include "client/cli/job_text.h"
#include "client/cli/option_types.h"
#include "client/cli/pages.h"

namespace gradwatch::cli {

CLI::App* AddJobList(CLI::App& parent, JobListOptions* options) {
  CLI::App* app = parent.add_subcommand("list", "List jobs, newest first");
  AddWordListOption(*app, "--state", options->states, "Only jobs in this state; may be repeated");
  AddPageOptions(*app, "Jobs at most", &options->limit, &options->page_token);
  AddWordOption(*app, "--view", options->view,
                "How much is told of each: basic, or full (with spec, controls and tensors); unset: basic");
  return app;
}

absl::StatusOr<ExitCode> RunJobList(const JobListOptions& options, Session& session) {
  v1::ListJobsRequest request;
  for (const v1::JobState state : options.states) request.add_states(state);
  request.set_view(options.view);
  request.set_page_token(options.page_token);
  const auto all = ReadPages(session, session.connection().jobs(), &v1::JobService::StubInterface::ListJobs,
                             &v1::ListJobsResponse::mutable_jobs, request, options.limit);
  if (!all.ok()) return all.status();
  client::FormatOptions format = {.include_defaults = true};
  if (options.view != v1::JOB_VIEW_FULL) format.partial = {"spec", "tensors"};  // what BASIC does not tell
  session.Print(
      *all,
      [&] {
        return JobListText({all->jobs().begin(), all->jobs().end()}, session.io().now());
      },
      format);
  NoteIfMore(session, *all, options.limit, "jobs");
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
