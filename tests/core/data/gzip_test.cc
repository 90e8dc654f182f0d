#include "core/data/gzip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/core/data/make_files.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

absl::StatusOr<std::string> Gunzip(std::string packed, int64_t max_bytes, int64_t block = kReadBlock) {
  return ReadToEnd(*MakeGunzip(std::make_unique<StringSource>(std::move(packed), block), max_bytes));
}

std::string Pattern(int size) {
  std::string text;
  for (int64_t i = 0; i < size; ++i) text.push_back(static_cast<char>(i * i >> 3));
  return text;
}

TEST(GunzipTest, GivesBackWhatWasCompressed) {
  for (const int size : {0, 1, 1000, 65'535, 65'536, 65'537, 1'000'000}) {
    EXPECT_EQ(*Gunzip(MakeGzip(Pattern(size)), 1 << 24), Pattern(size)) << size;
  }
  EXPECT_EQ(*Gunzip(MakeGzip("one") + MakeGzip("two"), 100), "onetwo") << "members follow each other";
  EXPECT_EQ(*Gunzip(MakeGzip("one") + MakeGzip("") + MakeGzip("two"), 100, 1), "onetwo") << "byte by byte";
}

TEST(GunzipTest, CanBeReadAgain) {
  const auto gunzip = MakeGunzip(std::make_unique<StringSource>(MakeGzip("one") + MakeGzip("two")), 100);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(*ReadToEnd(*gunzip), "onetwo");
    ASSERT_TRUE(gunzip->Rewind().ok());
  }
}

TEST(GunzipTest, KeepsToTheLimit) {
  const std::string bomb = MakeGzip(std::string(100'000'000, 'x'));
  ASSERT_LT(bomb.size(), 200'000u);
  EXPECT_THAT(Gunzip(bomb, 1'000'000), StatusIs(kInvalid, HasSubstr("more than the limit of 1000000 bytes")));
  EXPECT_EQ(Gunzip(MakeGzip(Pattern(1000)), 1000)->size(), 1000u);
  EXPECT_THAT(Gunzip(MakeGzip(Pattern(1000)), 999), StatusIs(kInvalid, HasSubstr("limit of 999")));
}

TEST(GunzipTest, EveryTruncationIsCutShort) {
  const std::string whole = MakeGzip(Pattern(500));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(Gunzip(whole.substr(0, size), 1 << 20), StatusIs(kInvalid, HasSubstr("cut short"))) << size;
  }
}

TEST(GunzipTest, DamageIsNoticed) {
  std::string damaged = MakeGzip(Pattern(500));
  damaged[damaged.size() - 6] ^= 1;  // in the checksum
  EXPECT_THAT(Gunzip(damaged, 1 << 20), StatusIs(kInvalid, HasSubstr("damaged")));
  EXPECT_THAT(Gunzip(MakeGzip("a") + "junk", 1 << 20), StatusIs(kInvalid, HasSubstr("bytes after the end")));
}

// As gzip and Python do; tapes and disks are filled up to a block.
TEST(GunzipTest, ZerosAfterAMemberArePadding) {
  for (const int64_t block : {int64_t{1}, int64_t{7}, kReadBlock}) {
    for (const int zeros : {1, 2, 511, 200'000}) {
      EXPECT_EQ(*Gunzip(MakeGzip("one") + std::string(zeros, '\0'), 100, block), "one") << zeros;
      EXPECT_EQ(*Gunzip(MakeGzip("one") + std::string(zeros, '\0') + MakeGzip("two"), 100, block), "onetwo") << zeros;
      EXPECT_THAT(Gunzip(MakeGzip("one") + std::string(zeros, '\0') + "x", 100, block),
                  StatusIs(kInvalid, HasSubstr("bytes after the end")))
          << zeros;
    }
  }
}

TEST(GunzipTest, AnyOtherByteAfterAMemberIsTold) {
  for (const char byte : {'\n', 'x', '\xff', '\x8b'}) {
    EXPECT_THAT(Gunzip(MakeGzip("one") + std::string(1, byte), 100),
                StatusIs(kInvalid, "there are bytes after the end of the gzip data"));
  }
  EXPECT_THAT(Gunzip(MakeGzip("one") + "\x1fz", 100), StatusIs(kInvalid, HasSubstr("bytes after the end")));
}

// The beginnings are those that the formats' own documents tell.
TEST(UnpackTest, WhatIsNoDataIsNamed) {
  const struct {
    std::string content;
    const char* what;
  } cases[] = {
      {std::string("PK\x03\x04\x14\0\x06\0", 8),
       "a zip archive, as spreadsheets (xlsx) are too; must be plain or gzipped"},
      {std::string("\x28\xb5\x2f\xfd\x24\x05", 6), "compressed with zstd; must be plain or gzipped"},
      {std::string("\xfd\x37\x7a\x58\x5a\0\0\x04", 8), "compressed with xz; must be plain or gzipped"},
      {"BZh91AY&SY\x4c\xa7", "compressed with bzip2; must be plain or gzipped"},
      {std::string("PAR1\x15\x04\x15\0\x15", 9), "a parquet file; must be plain or gzipped"},
      {std::string("\x93NUMPY\x01\0v\0{", 11), "a NumPy array (npy); must be plain or gzipped"},
  };
  for (const auto& c : cases) {
    const auto unpack = [](std::string content) {
      return UnpackIfGzip(std::make_unique<StringSource>(std::move(content), 3), 1 << 20).status();
    };
    EXPECT_THAT(unpack(c.content), StatusIs(kInvalid, absl::StrCat("is ", c.what)));
    EXPECT_THAT(unpack(MakeGzip(c.content)), StatusIs(kInvalid, absl::StrCat("what is gzipped is ", c.what)));
  }
  EXPECT_THAT(UnpackIfGzip(std::make_unique<StringSource>(MakeGzip(MakeGzip("1,2\n"))), 1 << 20),
              StatusIs(kInvalid, "is gzipped twice; must be plain or gzipped once"));
}

TEST(UnpackTest, WhatOnlyLooksLikeItIsRead) {
  for (const char* const text :
       {"", "P", "PK,x\n1,2\n", "BZh9,x\n1,2\n", "BZh91AY", "(x\n", "PAR1,x\n1,2\n", "PAR1", "\x93NUM,x\n"}) {
    auto plain = UnpackIfGzip(std::make_unique<StringSource>(text), 1 << 20);
    ASSERT_THAT(plain, IsOk()) << text;
    EXPECT_FALSE(plain->packed);
    EXPECT_EQ(*ReadToEnd(*plain->source), text) << "from its start";
    auto packed = UnpackIfGzip(std::make_unique<StringSource>(MakeGzip(text)), 1 << 20);
    ASSERT_THAT(packed, IsOk()) << text;
    EXPECT_TRUE(packed->packed);
    EXPECT_EQ(*ReadToEnd(*packed->source), text) << "from its start";
  }
}

TEST(GunzipTest, IsKnownByContent) {
  EXPECT_TRUE(IsGzip(MakeGzip("")));
  EXPECT_FALSE(IsGzip(""));
  EXPECT_FALSE(IsGzip("\x1f"));
  EXPECT_FALSE(IsGzip("plain"));
}

}  // namespace
}  // namespace gradwatch::core
