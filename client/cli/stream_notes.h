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
      : session_(session), before_note_(std::move(before_note)) {}

  // For the stream; this object must outlive it.
  client::ResumeOptions Options();
  // Call it for each message.
  void OnMessage();
  // Notes "`before`again with: `command` --resume `token`"; nothing without a token.
  void TellHowToGoOn(const std::string& before, const std::string& command, const std::string& token);
  // The same when the stream ended with an error, `if_cancelled` being said after Ctrl-C. Returns the error to end
  // with; its message is empty where all is said.
  absl::Status Fail(const absl::Status& status, const std::string& if_cancelled, const std::string& command,
                    const std::string& token);

 private:
  void Note(const std::string& text);

  const Session& session_;
  const std::function<void()> before_note_;
  bool lost_ = false;
};

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_STREAM_NOTES_H_
