// Lists that come by pages.
#ifndef GRADWATCH_CLIENT_CLI_PAGES_H_
#define GRADWATCH_CLIENT_CLI_PAGES_H_

#include <google/protobuf/repeated_field.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/cli/option_types.h"
#include "client/cli/session.h"
#include "client/cli/text.h"

namespace gradwatch::cli {

inline constexpr int kMaxPage = 1000;  // a server sends no more at once

// Adds --limit, described by `limit_text`, and --page-token.
inline void AddPageOptions(CLI::App& app, const char* limit_text, int* limit, std::string* page_token) {
  AddCountOption(app, "--limit", *limit, limit_text)->capture_default_str();
  app.add_option("--page-token", *page_token, "Go on where a list with the same filters was cut: its next_page_token")
      ->check(NotEmpty());
}

// Reads pages, from the page token of `request` on, until there are `limit` items, or no more; `items` is the
// response's list. The page token of what is returned says, as the last page did, whether there are more:
// ReadPages(session, connection.jobs(), &JobService::StubInterface::ListJobs, &ListJobsResponse::mutable_jobs, ...).
template <typename Stub, typename Request, typename Response, typename Item>
absl::StatusOr<Response> ReadPages(const Session& session, Stub& stub,
                                   grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                   google::protobuf::RepeatedPtrField<Item>* (Response::*items)(), Request request,
                                   int limit) {
  Response all;
  do {
    request.set_page_size(std::min(limit - (all.*items)()->size(), kMaxPage));
    absl::StatusOr<Response> page = session.connection().Call(stub, method, request, client::Repeat::kWhenUnavailable);
    if (!page.ok()) return page.status();
    (all.*items)()->MergeFrom(*((*page).*items)());
    all.set_next_page_token(page->next_page_token());
    request.set_page_token(page->next_page_token());
  } while (!all.next_page_token().empty() && (all.*items)()->size() < limit);
  return all;
}

// Says that there are more of `what` than `limit`, if so, and how to get them.
template <typename Response>
void NoteIfMore(const Session& session, const Response& all, int limit, const char* what) {
  if (all.next_page_token().empty()) return;
  session.Note(absl::StrCat("gradwatch: there are more than ", limit, " ", what,
                            "; see --limit, or go on with --page-token ", ShellQuoted(all.next_page_token())));
}

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_PAGES_H_
