// The fields of a serialised message, one after the other, without decoding what is not asked for.
#ifndef GRADWATCH_SERVER_STREAM_WIRE_FIELDS_H_
#define GRADWATCH_SERVER_STREAM_WIRE_FIELDS_H_

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <cstdint>

#include "absl/strings/string_view.h"

namespace gradwatch::server {

class WireFields {
 public:
  using Type = google::protobuf::internal::WireFormatLite::WireType;

  // `message` outlives this.
  explicit WireFields(absl::string_view message);

  // Goes to the next field. False: there is none, or, unless AtEnd, what comes is not one.
  bool Next();
  bool AtEnd() const { return end_ == message_.size(); }

  bool Is(int number, Type type) const {
    return tag_ == google::protobuf::internal::WireFormatLite::MakeTag(number, type);
  }
  // Of a varint or a fixed number: its bits.
  uint64_t bits() const { return bits_; }
  // Of a field with a length: what is in it.
  absl::string_view content() const { return content_; }
  // Tag, length and content.
  absl::string_view bytes() const { return message_.substr(begin_, end_ - begin_); }

 private:
  bool ReadValue();

  const absl::string_view message_;
  google::protobuf::io::CodedInputStream stream_;
  uint32_t tag_ = 0;
  size_t begin_ = 0, end_ = 0;
  uint64_t bits_ = 0;
  absl::string_view content_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_WIRE_FIELDS_H_
