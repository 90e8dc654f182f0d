// Standard output that does not hold up Ctrl-C: a reader that has stopped is waited for only until the user gives up.
#ifndef GRADWATCH_CLIENT_CLI_OUTPUT_BUFFER_H_
#define GRADWATCH_CLIENT_CLI_OUTPUT_BUFFER_H_

#include <limits.h>

#include <array>
#include <streambuf>

#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "client/lib/cancellation.h"

namespace gradwatch::cli {

// The stream goes bad when nothing can be written any more. Not thread-safe.
class OutputBuffer : public std::streambuf {
 public:
  // `fd` and `cancellation` must outlive the buffer. After the cancellation the reader gets `grace`, in all, to make
  // room for what is left.
  OutputBuffer(int fd, const client::Cancellation* cancellation, absl::Duration grace = absl::Seconds(1));
  ~OutputBuffer() override { OutputBuffer::sync(); }

 protected:
  int_type overflow(int_type character) override;
  int sync() override;

 private:
  bool AwaitRoom();

  const int fd_;
  const client::Cancellation* const cancellation_;
  const absl::Duration grace_;
  absl::optional<absl::Time> give_up_;  // set once cancelled
  std::array<char, PIPE_BUF> buffer_;   // a pipe that has room at all has room for so much
};

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_OUTPUT_BUFFER_H_
