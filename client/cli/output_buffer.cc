#include "client/cli/output_buffer.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "absl/time/clock.h"

namespace gradwatch::cli {
namespace {

// How often a blocked writer looks for a cancellation.
constexpr int kLookMilliseconds = 50;

}  // namespace

OutputBuffer::OutputBuffer(int fd, const client::Cancellation* cancellation, absl::Duration grace)
    : fd_(fd), cancellation_(cancellation), grace_(grace) {
  setp(buffer_.data(), buffer_.data() + buffer_.size());
}

OutputBuffer::int_type OutputBuffer::overflow(int_type character) {
  if (sync() != 0) return traits_type::eof();
  if (traits_type::eq_int_type(character, traits_type::eof())) return traits_type::not_eof(character);
  return sputc(traits_type::to_char_type(character));
}

int OutputBuffer::sync() {
  const char* next = pbase();
  while (next < pptr()) {
    if (!AwaitRoom()) break;
    const ssize_t written = write(fd_, next, pptr() - next);
    if (written < 0 && errno != EINTR && errno != EAGAIN) break;
    if (written > 0) next += written;
  }
  const bool all = next == pptr();
  setp(buffer_.data(), buffer_.data() + buffer_.size());  // what could not be written is lost
  return all ? 0 : -1;
}

bool OutputBuffer::AwaitRoom() {
  for (;;) {
    pollfd entry = {fd_, POLLOUT, 0};
    const int ready = poll(&entry, 1, kLookMilliseconds);
    if (ready > 0) return true;  // room, or an error that write() tells
    if (ready < 0 && errno != EINTR) return false;
    if (!cancellation_->cancelled()) continue;
    if (!give_up_.has_value()) give_up_ = absl::Now() + grace_;
    if (absl::Now() >= *give_up_) return false;
  }
}

}  // namespace gradwatch::cli
