#include "client/cli/session.h"

#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/lib/grpc_status.h"
#include "client/lib/printable.h"

namespace gradwatch::cli {

absl::Duration Session::Timeout(absl::Duration unset) const { return timeout_.value_or(unset); }

absl::Time Session::Deadline(absl::Duration unset) const { return io_.now() + Timeout(unset); }

void Session::Print(const google::protobuf::Message& message, const std::function<std::string()>& table,
                    client::FormatOptions format) const {
  switch (output_) {
    case Output::kTable:
    case Output::kCsv:
      return PrintText(table());
    case Output::kJson:
      return PrintLine(client::FormatMessage(message, client::OutputSyntax::kJson, format));
    case Output::kYaml:
      return PrintLine(client::FormatMessage(message, client::OutputSyntax::kYaml, format));
  }
}

void Session::Print(const JsonObject& object, const std::function<std::string()>& table) const {
  switch (output_) {
    case Output::kTable:
    case Output::kCsv:
      return PrintText(table());
    case Output::kJson:
      return PrintLine(object.Build());
    case Output::kYaml:
      return PrintLine(JsonToYaml(object.Build()));
  }
}

void Session::PrintText(absl::string_view text, absl::string_view color) const {
  constexpr char kPlain[] = "\x1b[0m";
  *io_.out << color << client::PrintableLines(absl::StripSuffix(text, "\n")) << (color.empty() ? "" : kPlain) << '\n'
           << std::flush;
}

void Session::PrintLine(absl::string_view line) const {
  *io_.out << absl::StripSuffix(line, "\n") << '\n' << std::flush;
}

void Session::PrintItem(const JsonObject& object) const {
  PrintLine(absl::StrCat(output_ == Output::kYaml ? "--- " : "", object.Build()));
}

absl::Status Session::CheckOutput() const {
  if (io_.out->good()) return absl::OkStatus();
  const client::Cancellation* cancellation = connection_.cancellation();
  if (cancellation != nullptr && cancellation->cancelled()) return absl::CancelledError("interrupted");
  return OutputLost();
}

void Session::SetDone(std::string what) {
  done_ = std::move(what);
  std::signal(SIGPIPE, SIG_IGN);  // also where whoever was to read the answer is gone
}

absl::Status Session::WithDone(const absl::Status& status) const {
  return done_.empty() ? status : absl::Status(status.code(), absl::StrCat(status.message(), "; ", done_));
}

void Session::Note(absl::string_view line) const { *io_.err << client::Printable(line) << '\n' << std::flush; }

absl::StatusOr<v1::Job> Session::GetJob(const std::string& job_id) const {
  v1::GetJobRequest request;
  request.set_job_id(job_id);
  return connection_.Call(connection_.jobs(), &v1::JobService::StubInterface::GetJob, request,
                          client::Repeat::kWhenUnavailable);
}

absl::Status OutputLost() { return absl::DataLossError("cannot write to the standard output"); }

void PrintError(std::ostream& err, const absl::Status& status) {
  const auto violations = client::GetFieldViolations(status);
  for (const auto& violation : violations) {
    err << "gradwatch: " << client::Printable(violation.field()) << ": " << client::Printable(violation.description())
        << '\n';
  }
  if (!violations.empty()) return;
  if (absl::IsCancelled(status) && status.message().empty()) return;  // all is said
  std::string message = client::Printable(status.message());
  if (absl::IsDeadlineExceeded(status)) absl::StrAppend(&message, "; --timeout gives more");
  err << "gradwatch: " << (message.empty() ? absl::StatusCodeToString(status.code()) : message) << '\n';
}

}  // namespace gradwatch::cli
