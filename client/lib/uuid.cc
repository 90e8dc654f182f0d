#include "client/lib/uuid.h"

#include <cstdint>
#include <random>

#include "absl/strings/str_format.h"

namespace gradwatch::client {

std::string RandomUuid() {
  std::random_device device;
  const auto draw = [&device] { return (uint64_t{device()} << 32) | device(); };
  const uint64_t high = (draw() & ~uint64_t{0xf000}) | 0x4000;                     // version 4
  const uint64_t low = (draw() & ~(uint64_t{0xc} << 60)) | (uint64_t{0x8} << 60);  // variant 10
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32, (high >> 16) & 0xffff, high & 0xffff, low >> 48,
                         low & 0xffffffffffff);
}

}  // namespace gradwatch::client
