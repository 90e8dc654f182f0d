// The place in a stream that a client brings back to go on from there.
#ifndef GRADWATCH_SERVER_STREAM_RESUME_TOKEN_H_
#define GRADWATCH_SERVER_STREAM_RESUME_TOKEN_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/stream/job_channel.h"

namespace gradwatch::server {

// Opaque to clients: base64url of a small message with a checksum.
struct ResumeToken {
  std::string log_epoch;
  std::string uid;  // of the job; empty: a stream of all jobs
  WatchCursor cursor;
  int64_t position = 0;  // of the last event delivered, in a stream of all jobs
  uint64_t filter_hash = 0;
  friend bool operator==(const ResumeToken&, const ResumeToken&) = default;

  std::string Encode() const;
  // INVALID_ARGUMENT (reason BAD_RESUME_TOKEN): not one of ours.
  static absl::StatusOr<ResumeToken> Decode(absl::string_view text);
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_RESUME_TOKEN_H_
