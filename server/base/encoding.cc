#include "server/base/encoding.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <utility>

namespace gradwatch::server {
namespace {

using ::google::protobuf::internal::WireFormatLite;
using ::google::protobuf::io::CodedOutputStream;

// Tag and length, with room for the content behind them.
std::string Head(int number, size_t length) {
  uint8_t head[16];
  uint8_t* end = CodedOutputStream::WriteTagToArray(
      WireFormatLite::MakeTag(number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED), head);
  end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(length), end);
  std::string bytes;
  bytes.reserve(static_cast<size_t>(end - head) + length);
  bytes.append(head, end);
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
  for (const SharedBytes& part : parts) bytes += *part;
  return bytes;
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
