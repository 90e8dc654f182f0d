// How messages become bytes that many others share: fields of a protobuf message, each with its tag and length, so that
// a message is a mere concatenation of them.
#ifndef GRADWATCH_SERVER_BASE_ENCODING_H_
#define GRADWATCH_SERVER_BASE_ENCODING_H_

#include <google/protobuf/message_lite.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace gradwatch::server {

// Bytes that are shared by reference and never change.
using SharedBytes = std::shared_ptr<const std::string>;

// A message as whatever carries it needs it: its bytes are those of `parts`, one after the other. None: the empty
// message.
struct EncodedMessage {
  std::vector<SharedBytes> parts;

  size_t size() const;
  std::string Flatten() const;
};

// The field `number` with this content: tag, length, content.
SharedBytes EncodeField(int number, const google::protobuf::MessageLite& content);
SharedBytes EncodeField(int number, absl::string_view content);
// The whole message.
EncodedMessage EncodeMessage(const google::protobuf::MessageLite& message);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_ENCODING_H_
