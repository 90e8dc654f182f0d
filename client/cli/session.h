// What every command gets: where to write, in which form, and which server to ask.
#ifndef GRADWATCH_CLIENT_CLI_SESSION_H_
#define GRADWATCH_CLIENT_CLI_SESSION_H_

#include <google/protobuf/message.h>

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "client/cli/exit_code.h"
#include "client/cli/io.h"
#include "client/cli/json.h"
#include "client/lib/connection.h"
#include "client/lib/spec_writer.h"

namespace gradwatch::cli {

enum class Output { kTable, kJson, kYaml, kCsv };  // CSV: of commands that say so

class Session {
 public:
  // `timeout` as given by the user, for the whole command.
  Session(Io& io, Output output, client::Connection& connection, absl::optional<absl::Duration> timeout)
      : io_(io), output_(output), connection_(connection), timeout_(timeout) {}

  Io& io() const { return io_; }
  Output output() const { return output_; }
  client::Connection& connection() const { return connection_; }
  // How long a command waits that has a time of its own: the user's timeout, else `unset`. When it gives up, from now.
  absl::Duration Timeout(absl::Duration unset) const;
  absl::Time Deadline(absl::Duration unset = absl::InfiniteDuration()) const;

  // Prints data: the message as JSON or YAML, or what `table` makes for people, lines of PrintText.
  void Print(const google::protobuf::Message& message, const std::function<std::string()>& table,
             client::FormatOptions format = {.include_defaults = true}) const;
  void Print(const JsonObject& object, const std::function<std::string()>& table) const;
  // Lines for people, at once, in `color` (an escape sequence; empty: none). All that a terminal would obey in them is
  // escaped: whatever a server, a peer or a file says ends here.
  void PrintText(absl::string_view text, absl::string_view color = "") const;
  // One item of a stream: an object a line, in YAML a document a line.
  void PrintItem(const JsonObject& object) const;
  // OK as long as all that was printed is written; else CANCELLED after Ctrl-C, or DATA_LOSS, say for a full disk.
  absl::Status CheckOutput() const;
  // What the command has done by now, in one sentence for people. Where its output cannot be written, the error says
  // it: it is done all the same.
  void SetDone(std::string what);
  // `status` with what was done.
  absl::Status WithDone(const absl::Status& status) const;
  // One line for people, on the error stream, escaped as in PrintText.
  void Note(absl::string_view line) const;

  absl::StatusOr<v1::Job> GetJob(const std::string& job_id) const;

 private:
  // One line of JSON or YAML, which have escapes of their own, at once.
  void PrintLine(absl::string_view line) const;

  Io& io_;
  const Output output_;
  client::Connection& connection_;
  const absl::optional<absl::Duration> timeout_;
  std::string done_;
};

// What was printed could not be written.
absl::Status OutputLost();

// Writes why a command failed: a line for each wrong field, or one line; escaped as in PrintText.
void PrintError(std::ostream& err, const absl::Status& status);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_SESSION_H_
