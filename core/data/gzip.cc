#include "core/data/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/byte_units.h"
#include "core/base/status_macros.h"

namespace gradwatch::core {
namespace {

constexpr int kGzipWindow = 15 + 16;  // the largest window, gzip framing
constexpr size_t kPackedBlock = 64 << 10;
constexpr absl::string_view kGzipStart = "\x1f\x8b";

// What a file is that is neither text nor IDX, by its first bytes.
struct KnownFormat {
  absl::string_view start, name;
};
constexpr KnownFormat kKnownFormats[] = {
    {"PK\x03\x04", "a zip archive, as spreadsheets (xlsx) are too"},
    {"\x28\xb5\x2f\xfd", "compressed with zstd"},
    {{"\xfd"
      "7zXZ\0",
      6},
     "compressed with xz"},
    {"BZh", "compressed with bzip2"},
    {"PAR1\x15", "a parquet file"},  // a table may begin with a name, PAR1, but not go on so
    {"\x93NUMPY", "a NumPy array (npy)"},
};
constexpr size_t kLongestStart = 10;

absl::Status BytesAfterEnd() { return absl::InvalidArgumentError("there are bytes after the end of the gzip data"); }

// INVALID_ARGUMENT if what starts so is known to be nothing that is read here.
absl::Status CheckFormat(absl::string_view start, bool packed) {
  if (packed && IsGzip(start)) return absl::InvalidArgumentError("is gzipped twice; must be plain or gzipped once");
  for (const auto& [known, name] : kKnownFormats) {
    if (!absl::StartsWith(start, known)) continue;
    // Text, too, may start with these letters; what is compressed goes on with digits of pi.
    if (known == "BZh" && (start.size() < kLongestStart || start.substr(4, 6) != "1AY&SY")) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(packed ? "what is gzipped is " : "is ", name, "; must be plain or gzipped"));
  }
  return absl::OkStatus();
}

class Gunzip final : public ByteSource {
 public:
  Gunzip(std::unique_ptr<ByteSource> packed, int64_t max_bytes)
      : packed_(std::move(packed)), max_bytes_(max_bytes), block_(kPackedBlock) {
    ready_ = inflateInit2(&stream_, kGzipWindow) == Z_OK;
  }
  ~Gunzip() override { inflateEnd(&stream_); }
  Gunzip(const Gunzip&) = delete;
  Gunzip& operator=(const Gunzip&) = delete;

  absl::StatusOr<int64_t> Read(char* out, int64_t size) override;
  absl::Status Rewind() override;

 private:
  // More to inflate; false at the end.
  absl::StatusOr<bool> Refill();
  // Between two members: takes zeros away, and begins with the next member if there is one in the block.
  absl::Status StartMember();
  // Inflates what is there into the room that is there.
  absl::Status Inflate();

  const std::unique_ptr<ByteSource> packed_;
  const int64_t max_bytes_;
  std::vector<char> block_;
  z_stream stream_ = {};
  bool ready_ = false;
  bool in_member_ = true;  // false between two members, and at the end
  int members_ = 0;        // that have ended
  int64_t given_ = 0;
};

absl::StatusOr<int64_t> Gunzip::Read(char* out, int64_t size) {
  if (!ready_) return absl::ResourceExhaustedError("no memory to decompress");
  const uInt room = static_cast<uInt>(std::min<int64_t>(size, std::numeric_limits<uInt>::max()));
  stream_.next_out = reinterpret_cast<Bytef*>(out);
  stream_.avail_out = room;
  while (stream_.avail_out == room) {
    if (stream_.avail_in == 0) {
      GW_ASSIGN_OR_RETURN(const bool more, Refill());
      if (!more && in_member_) return absl::InvalidArgumentError("gzip data is cut short");
      if (!more) return 0;
    }
    if (!in_member_) GW_RETURN_IF_ERROR(StartMember());
    if (in_member_) GW_RETURN_IF_ERROR(Inflate());
  }
  given_ += room - stream_.avail_out;
  if (given_ > max_bytes_) {
    return absl::InvalidArgumentError(
        absl::StrCat("decompresses to more than the limit of ", max_bytes_, " bytes", InUnits(max_bytes_)));
  }
  return room - stream_.avail_out;
}

absl::StatusOr<bool> Gunzip::Refill() {
  GW_ASSIGN_OR_RETURN(const int64_t count, packed_->Read(block_.data(), static_cast<int64_t>(block_.size())));
  stream_.next_in = reinterpret_cast<Bytef*>(block_.data());
  stream_.avail_in = static_cast<uInt>(count);
  return count > 0;
}

absl::Status Gunzip::StartMember() {
  for (; stream_.avail_in > 0 && *stream_.next_in == 0; --stream_.avail_in) ++stream_.next_in;
  if (stream_.avail_in == 0) return absl::OkStatus();
  if (static_cast<char>(*stream_.next_in) != kGzipStart[0]) return BytesAfterEnd();
  if (inflateReset(&stream_) != Z_OK) return absl::ResourceExhaustedError("no memory to decompress");
  in_member_ = true;
  return absl::OkStatus();
}

absl::Status Gunzip::Inflate() {
  const int result = inflate(&stream_, Z_NO_FLUSH);
  if (result == Z_STREAM_END) {
    in_member_ = false;
    ++members_;
    return absl::OkStatus();
  }
  if (result == Z_OK || result == Z_BUF_ERROR) return absl::OkStatus();  // no progress without more input
  if (members_ > 0 && stream_.total_out == 0) return BytesAfterEnd();
  const char* const reason = stream_.msg == nullptr ? "unknown cause" : stream_.msg;
  return absl::InvalidArgumentError(absl::StrCat("gzip data is damaged: ", reason));
}

absl::Status Gunzip::Rewind() {
  GW_RETURN_IF_ERROR(packed_->Rewind());
  stream_.avail_in = 0;
  in_member_ = true;
  members_ = 0;
  given_ = 0;
  if (inflateReset(&stream_) != Z_OK) return absl::ResourceExhaustedError("no memory to decompress");
  return absl::OkStatus();
}

}  // namespace

bool IsGzip(absl::string_view content) { return absl::StartsWith(content, kGzipStart); }

std::unique_ptr<ByteSource> MakeGunzip(std::unique_ptr<ByteSource> packed, int64_t max_bytes) {
  return std::make_unique<Gunzip>(std::move(packed), max_bytes);
}

absl::StatusOr<Unpacked> UnpackIfGzip(std::unique_ptr<ByteSource> file, int64_t max_bytes) {
  char start[kLongestStart];
  GW_ASSIGN_OR_RETURN(int64_t count, ReadFully(*file, start, sizeof start));
  GW_RETURN_IF_ERROR(file->Rewind());
  Unpacked unpacked = {.source = std::move(file), .packed = IsGzip(absl::string_view(start, count))};
  if (unpacked.packed) {
    unpacked.source = MakeGunzip(std::move(unpacked.source), max_bytes);
    GW_ASSIGN_OR_RETURN(count, ReadFully(*unpacked.source, start, sizeof start));
    GW_RETURN_IF_ERROR(unpacked.source->Rewind());
  }
  GW_RETURN_IF_ERROR(CheckFormat(absl::string_view(start, count), unpacked.packed));
  return unpacked;
}

}  // namespace gradwatch::core
