// Makes small data files.
#ifndef GRADWATCH_TESTS_CORE_DATA_MAKE_FILES_H_
#define GRADWATCH_TESTS_CORE_DATA_MAKE_FILES_H_

#include <zlib.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace gradwatch::core {

inline std::string MakeGzip(absl::string_view content) {
  z_stream stream = {};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
  std::string result(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) std::abort();
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}

// The lowest `bytes` bytes of `value`, highest first.
inline std::string BigEndian(uint64_t value, int bytes) {
  std::string result;
  for (int i = bytes - 1; i >= 0; --i) result.push_back(static_cast<char>(value >> (8 * i)));
  return result;
}

inline std::string MakeIdx(int type, const std::vector<uint32_t>& dimensions, absl::string_view elements) {
  std::string file = {0, 0, static_cast<char>(type), static_cast<char>(dimensions.size())};
  for (const uint32_t dimension : dimensions) file += BigEndian(dimension, 4);
  return file + std::string(elements);
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_TESTS_CORE_DATA_MAKE_FILES_H_
