#include "server/base/encoding.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace gradwatch::server {
namespace {

using ::google::protobuf::internal::WireFormatLite;
using ::google::protobuf::io::CodedOutputStream;

constexpr size_t kMaxHead = 16;

// Tag and length, for `length` bytes of content behind them.
void AppendHead(int number, size_t length, std::string* bytes) {
  uint8_t head[kMaxHead];
  uint8_t* end = CodedOutputStream::WriteTagToArray(
      WireFormatLite::MakeTag(number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED), head);
  end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(length), end);
  bytes->append(head, end);
}

// The same, with room for the content.
std::string Head(int number, size_t length) {
  std::string bytes;
  bytes.reserve(kMaxHead + length);
  AppendHead(number, length, &bytes);
  return bytes;
}

}  // namespace

size_t EncodedMessage::size() const {
  size_t size = 0;
  for (const SharedBytes& part : parts) size += part->size();
  return size;
}

std::string EncodedMessage::Flatten() const {
  std::string bytes;
  bytes.reserve(size());
  for (const SharedBytes& part : parts) absl::StrAppend(&bytes, *part);
  return bytes;
}

FieldEncoder::FieldEncoder(size_t fields, size_t bytes) : bytes_(std::make_shared<std::string>()) {
  bytes_->reserve(fields * kMaxHead + bytes);
}

SharedBytes FieldEncoder::Encode(int number, const google::protobuf::MessageLite& content) {
  const size_t begin = bytes_->size(), size = static_cast<size_t>(content.GetCachedSize());
  if (bytes_->capacity() - begin < kMaxHead + size) {
    *this = FieldEncoder(1, size);  // more than was said
    return Encode(number, content);
  }
  AppendHead(number, size, bytes_.get());
  const size_t head = bytes_->size();
  bytes_->resize(head + size);
  content.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(bytes_->data() + head));
  return {bytes_, absl::string_view(*bytes_).substr(begin)};
}

SharedBytes EncodeField(int number, const google::protobuf::MessageLite& content) {
  std::string bytes = Head(number, content.ByteSizeLong());
  content.AppendToString(&bytes);
  return std::make_shared<const std::string>(std::move(bytes));
}

SharedBytes EncodeField(int number, absl::string_view content) {
  std::string bytes = Head(number, content.size());
  bytes.append(content.data(), content.size());
  return std::make_shared<const std::string>(std::move(bytes));
}

EncodedMessage EncodeMessage(const google::protobuf::MessageLite& message) {
  return {{std::make_shared<const std::string>(message.SerializeAsString())}};
}

}  // namespace gradwatch::server
