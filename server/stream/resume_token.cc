#include "server/stream/resume_token.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <zlib.h>

#include "absl/strings/escaping.h"
#include "core/base/error.h"

namespace gradwatch::server {
namespace {

using ::google::protobuf::io::CodedInputStream;
using ::google::protobuf::io::CodedOutputStream;

constexpr uint32_t kVersion = 1;
constexpr size_t kMaxTextSize = 1024;
constexpr size_t kChecksumSize = 4;

uint32_t Checksum(absl::string_view bytes) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

void WriteText(const std::string& text, CodedOutputStream* stream) {
  stream->WriteVarint32(static_cast<uint32_t>(text.size()));
  stream->WriteString(text);
}

bool ReadText(CodedInputStream* stream, std::string* text) {
  uint32_t size = 0;
  return stream->ReadVarint32(&size) && size <= kMaxTextSize && stream->ReadString(text, static_cast<int>(size));
}

// Numbers from 0; `T` is signed.
template <typename T>
bool ReadNumber(CodedInputStream* stream, T* number) {
  uint64_t value = 0;
  if (!stream->ReadVarint64(&value) || value > static_cast<uint64_t>(std::numeric_limits<T>::max())) return false;
  *number = static_cast<T>(value);
  return true;
}

bool ReadToken(absl::string_view bytes, ResumeToken* token) {
  CodedInputStream stream(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
  uint32_t version = 0;
  int64_t steps = 0;
  const bool complete = stream.ReadVarint32(&version) && version == kVersion && ReadText(&stream, &token->log_epoch) &&
                        ReadText(&stream, &token->uid) && ReadNumber(&stream, &token->cursor.event) &&
                        ReadNumber(&stream, &token->cursor.attempt) && ReadNumber(&stream, &steps) &&
                        ReadNumber(&stream, &token->position) && stream.ReadLittleEndian64(&token->filter_hash);
  token->cursor.step = steps - 1;
  return complete && stream.CurrentPosition() == static_cast<int>(bytes.size());
}

absl::Status BadToken() {
  return core::WithReason(absl::InvalidArgumentError("resume_token: is not a token of this service"),
                          "BAD_RESUME_TOKEN");
}

}  // namespace

std::string ResumeToken::Encode() const {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream output(&bytes);
    CodedOutputStream stream(&output);
    stream.WriteVarint32(kVersion);
    WriteText(log_epoch, &stream);
    WriteText(uid, &stream);
    stream.WriteVarint64(static_cast<uint64_t>(cursor.event));
    stream.WriteVarint64(static_cast<uint64_t>(cursor.attempt));
    stream.WriteVarint64(static_cast<uint64_t>(cursor.step + 1));  // the step before the first is -1
    stream.WriteVarint64(static_cast<uint64_t>(position));
    stream.WriteLittleEndian64(filter_hash);
  }
  uint8_t checksum[kChecksumSize];
  CodedOutputStream::WriteLittleEndian32ToArray(Checksum(bytes), checksum);
  bytes.append(checksum, checksum + kChecksumSize);
  return absl::WebSafeBase64Escape(bytes);
}

absl::StatusOr<ResumeToken> ResumeToken::Decode(absl::string_view text) {
  std::string bytes;
  if (text.size() > kMaxTextSize || !absl::WebSafeBase64Unescape(text, &bytes) || bytes.size() < kChecksumSize) {
    return BadToken();
  }
  const absl::string_view content = absl::string_view(bytes).substr(0, bytes.size() - kChecksumSize);
  uint32_t checksum = 0;
  CodedInputStream::ReadLittleEndian32FromArray(reinterpret_cast<const uint8_t*>(content.data() + content.size()),
                                                &checksum);
  ResumeToken token;
  if (checksum != Checksum(content) || !ReadToken(content, &token)) return BadToken();
  // Base64 has more than one text for the same bytes; only ours is a token.
  if (token.Encode() != text) return BadToken();
  return token;
}

}  // namespace gradwatch::server
