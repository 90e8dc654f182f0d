#include "client/cli/stream_notes.h"

#include "absl/strings/str_cat.h"
#include "client/cli/text.h"

namespace gradwatch::cli {

client::ResumeOptions StreamNotes::Options() {
  client::ResumeOptions options;
  options.deadline = deadline_;
  options.on_break = [this](const client::StreamBreak& broken) {
    if (broken.cause.ok() || lost_) return;  // asked to come back, or told already
    lost_ = true;
    Note(absl::StrCat("connection lost (", std::string(broken.cause.message()), "); trying again"));
  };
  return options;
}

void StreamNotes::OnMessage() {
  if (lost_) Note("connected again; going on from where it was");
  lost_ = false;
}

void StreamNotes::OnOtherHistory() {
  Note("the server has come back with another history; it is told from its beginning");
  lost_ = false;  // it does not go on from where it was
}

absl::Status StreamNotes::Fail(const absl::Status& status, const std::string& if_cancelled, const std::string& command,
                               const std::string& token) {
  const bool cancelled = absl::IsCancelled(status);
  if (absl::IsOutOfRange(status)) {
    Note(absl::StrCat("what is kept: ", command, " --from-beginning"));
  } else if (!token.empty()) {
    Note(absl::StrCat(cancelled ? if_cancelled : "", ResumeText(command, token)));
  }
  return cancelled && !token.empty() ? absl::CancelledError("") : status;
}

void StreamNotes::Note(const std::string& text) {
  if (before_note_) before_note_();
  session_.Note(absl::StrCat("gradwatch: ", text));
}

std::string ResumeText(const std::string& command, const std::string& token) {
  return absl::StrCat("again with: ", command, " --resume ", ShellQuoted(token));
}

}  // namespace gradwatch::cli
