#include "server/stream/wire_fields.h"

namespace gradwatch::server {

using ::google::protobuf::internal::WireFormatLite;

WireFields::WireFields(absl::string_view message)
    : message_(message), stream_(reinterpret_cast<const uint8_t*>(message.data()), static_cast<int>(message.size())) {}

bool WireFields::Next() {
  begin_ = end_;
  tag_ = stream_.ReadTag();
  if (tag_ == 0 || !ReadValue()) return false;
  end_ = static_cast<size_t>(stream_.CurrentPosition());
  return true;
}

bool WireFields::ReadValue() {
  uint32_t small = 0;
  switch (WireFormatLite::GetTagWireType(tag_)) {
    case WireFormatLite::WIRETYPE_VARINT:
      return stream_.ReadVarint64(&bits_);
    case WireFormatLite::WIRETYPE_FIXED64:
      return stream_.ReadLittleEndian64(&bits_);
    case WireFormatLite::WIRETYPE_FIXED32:
      if (!stream_.ReadLittleEndian32(&small)) return false;
      bits_ = small;
      return true;
    case WireFormatLite::WIRETYPE_LENGTH_DELIMITED: {
      if (!stream_.ReadVarint32(&small)) return false;
      const auto at = static_cast<size_t>(stream_.CurrentPosition());
      if (small > message_.size() - at) return false;
      content_ = message_.substr(at, small);
      return stream_.Skip(static_cast<int>(small));
    }
    default:  // groups, which nobody writes
      return false;
  }
}

}  // namespace gradwatch::server
