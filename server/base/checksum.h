// CRC-32 as zlib's, many times as fast where the processor multiplies polynomials.
#ifndef GRADWATCH_SERVER_BASE_CHECKSUM_H_
#define GRADWATCH_SERVER_BASE_CHECKSUM_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace gradwatch::server {

// `before`: of what comes before the bytes.
uint32_t Crc32(absl::string_view bytes, uint32_t before = 0);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_CHECKSUM_H_
