#include "core/data/gzip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "tests/core/data/make_files.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

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

TEST(GunzipTest, IsKnownByContent) {
  EXPECT_TRUE(IsGzip(MakeGzip("")));
  EXPECT_FALSE(IsGzip(""));
  EXPECT_FALSE(IsGzip("\x1f"));
  EXPECT_FALSE(IsGzip("plain"));
}

}  // namespace
}  // namespace gradwatch::core
