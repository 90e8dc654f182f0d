#include "core/data/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace gradwatch::core {
namespace {

constexpr int kGzipWindow = 15 + 16;  // the largest window, gzip framing
constexpr int64_t kFirstSize = 1 << 16;

// zlib's stream, ended at the end.
class InflateStream {
 public:
  explicit InflateStream(absl::string_view content) : left_(content) {
    ok_ = inflateInit2(&stream_, kGzipWindow) == Z_OK;
  }
  ~InflateStream() { inflateEnd(&stream_); }
  InflateStream(const InflateStream&) = delete;
  InflateStream& operator=(const InflateStream&) = delete;

  bool ok() const { return ok_; }
  // Writes at most `size` bytes to `out`; returns how many, 0 at the end.
  absl::StatusOr<int64_t> Read(char* out, int64_t size);

 private:
  z_stream stream_ = {};
  absl::string_view left_;
  bool ok_ = false;
  bool ended_ = false;
};

absl::StatusOr<int64_t> InflateStream::Read(char* out, int64_t size) {
  constexpr int64_t kMaxChunk = std::numeric_limits<uInt>::max();
  const uInt room = static_cast<uInt>(std::min(size, kMaxChunk));
  stream_.next_out = reinterpret_cast<Bytef*>(out);
  stream_.avail_out = room;
  while (!ended_ && stream_.avail_out == room) {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(left_.data()));
    const uInt offered = static_cast<uInt>(std::min<int64_t>(left_.size(), kMaxChunk));
    stream_.avail_in = offered;
    const int result = inflate(&stream_, Z_NO_FLUSH);
    left_.remove_prefix(offered - stream_.avail_in);
    if (result == Z_STREAM_END) {
      ended_ = left_.empty();
      if (!ended_ && (!IsGzip(left_) || inflateReset(&stream_) != Z_OK)) {
        return absl::InvalidArgumentError(absl::StrCat(left_.size(), " bytes after the end of the gzip data"));
      }
    } else if (result == Z_BUF_ERROR) {  // no progress though there is room: the input is used up
      return absl::InvalidArgumentError("gzip data is cut short");
    } else if (result != Z_OK) {
      const char* const reason = stream_.msg == nullptr ? "unknown cause" : stream_.msg;
      return absl::InvalidArgumentError(absl::StrCat("gzip data is damaged: ", reason));
    }
  }
  return room - stream_.avail_out;
}

}  // namespace

bool IsGzip(absl::string_view content) { return absl::StartsWith(content, "\x1f\x8b"); }

absl::StatusOr<std::string> Gunzip(absl::string_view content, int64_t max_bytes) {
  InflateStream stream(content);
  if (!stream.ok()) return absl::ResourceExhaustedError("no memory to decompress");
  std::string result;
  int64_t size = 0;
  for (;;) {
    result.resize(std::min(max_bytes + 1, std::max(kFirstSize, size * 2)));
    GW_ASSIGN_OR_RETURN(const int64_t count, stream.Read(result.data() + size, result.size() - size));
    size += count;
    if (size > max_bytes) {
      return absl::InvalidArgumentError(absl::StrCat("decompresses to more than the limit of ", max_bytes, " bytes"));
    }
    if (count == 0) break;
  }
  result.resize(size);
  result.shrink_to_fit();
  return result;
}

}  // namespace gradwatch::core
