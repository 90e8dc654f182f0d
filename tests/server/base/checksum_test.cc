#include "server/base/checksum.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <random>
#include <string>

namespace gradwatch::server {
namespace {

uint32_t OfZlib(absl::string_view bytes, uint32_t before) {
  return static_cast<uint32_t>(crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

TEST(ChecksumTest, IsThatOfZlib) {
  EXPECT_EQ(Crc32("123456789"), 0xcbf43926u);
  EXPECT_EQ(Crc32(""), 0u);
  EXPECT_EQ(Crc32(absl::string_view(), 7), 7u) << "nothing follows";
  std::mt19937 random(3);
  std::string bytes(5'000, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  for (size_t size = 1; size <= 400; ++size) {
    for (const size_t from : {0, 1, 7, 16}) {
      const absl::string_view part = absl::string_view(bytes).substr(from, size);
      ASSERT_EQ(Crc32(part), OfZlib(part, 0)) << size << " from " << from;
    }
  }
  EXPECT_EQ(Crc32(bytes), OfZlib(bytes, 0));
}

TEST(ChecksumTest, GoesOn) {
  std::mt19937 random(4);
  std::string bytes(1'000, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  const absl::string_view all = bytes;
  for (const size_t cut : {0, 1, 63, 64, 100, 500, 999, 1'000}) {
    EXPECT_EQ(Crc32(all.substr(cut), Crc32(all.substr(0, cut))), Crc32(all)) << cut;
  }
}

}  // namespace
}  // namespace gradwatch::server
