// How messages become bytes that many others share: fields of a protobuf message, each with its tag and length, so that
// a message is a mere concatenation of them.
#ifndef GRADWATCH_SERVER_BASE_ENCODING_H_
#define GRADWATCH_SERVER_BASE_ENCODING_H_

#include <google/protobuf/message_lite.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace gradwatch::server {

// Bytes that are shared by reference and never change: a whole text, or a part of what others have parts of, too.
class SharedBytes {
 public:
  SharedBytes() = default;  // as null
  SharedBytes(std::nullptr_t) {}
  SharedBytes(std::shared_ptr<const std::string> bytes) {
    if (bytes != nullptr) part_ = *bytes;
    whole_ = std::move(bytes);
  }
  // `part` lies in `whole`.
  SharedBytes(std::shared_ptr<const std::string> whole, absl::string_view part)
      : whole_(std::move(whole)), part_(part) {}

  const absl::string_view& operator*() const { return part_; }
  const absl::string_view* operator->() const { return &part_; }
  long use_count() const { return whole_.use_count(); }  // of the whole
  friend bool operator==(const SharedBytes& bytes, std::nullptr_t) { return bytes.whole_ == nullptr; }

 private:
  std::shared_ptr<const std::string> whole_;
  absl::string_view part_;
};

// A message as whatever carries it needs it: its bytes are those of `parts`, one after the other. None: the empty
// message.
struct EncodedMessage {
  std::vector<SharedBytes> parts;

  size_t size() const;
  std::string Flatten() const;
};

// Encodes fields one after the other into memory that all of them share: many small pieces would cost more than what is
// in them.
class FieldEncoder {
 public:
  // For so many fields whose contents have so many bytes together.
  FieldEncoder(size_t fields, size_t bytes);
  // As EncodeField, of a message whose ByteSizeLong was called since it changed.
  SharedBytes Encode(int number, const google::protobuf::MessageLite& content);

 private:
  std::shared_ptr<std::string> bytes_;  // has room for all: what is shared never moves
};

// The field `number` with this content: tag, length, content.
SharedBytes EncodeField(int number, const google::protobuf::MessageLite& content);
SharedBytes EncodeField(int number, absl::string_view content);
// The whole message.
EncodedMessage EncodeMessage(const google::protobuf::MessageLite& message);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_ENCODING_H_
