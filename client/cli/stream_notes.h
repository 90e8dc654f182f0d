// What a streaming command says on the error stream: that the connection was lost, that it is back, how to go on later.
#ifndef GRADWATCH_CLIENT_CLI_STREAM_NOTES_H_
#define GRADWATCH_CLIENT_CLI_STREAM_NOTES_H_

#include <functional>
#include <string>

#include "client/cli/session.h"
#include "client/lib/resuming_stream.h"

namespace gradwatch::cli {

class StreamNotes {
 public:
  // `before_note` makes room on the terminal; may be null.
  explicit StreamNotes(const Session& session, std::function<void()> before_note = nullptr)
      : session_(session), before_note_(std::move(before_note)), deadline_(session.Deadline()) {}

  // For the stream, and for one that takes its place: the command's time is not renewed. This object must outlive them.
  client::ResumeOptions Options();
  // Call it for each message.
  void OnMessage();
  // Call it where another stream, from the beginning, takes the place of one that the server cannot go on with.
  void OnOtherHistory();
  // Notes "gradwatch: `text`".
  void Note(const std::string& text);
  // Notes how to go on when the stream ended with an error: "again with: `command` --resume `token`", `if_cancelled`
  // before it after Ctrl-C; nothing without a token. Where the server has no such place any more, that only the
  // beginning is left. Returns the error to end with; its message is empty where all is said.
  absl::Status Fail(const absl::Status& status, const std::string& if_cancelled, const std::string& command,
                    const std::string& token);

 private:
  const Session& session_;
  const std::function<void()> before_note_;
  const absl::Time deadline_;
  bool lost_ = false;
};

// "again with: `command` --resume `token`".
std::string ResumeText(const std::string& command, const std::string& token);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_STREAM_NOTES_H_
