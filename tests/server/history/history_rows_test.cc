#include "server/history/history_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "server/history/history_database.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::testing::Not;

constexpr char kUid[] = "00000000-0000-4000-8000-000000000001";

TEST(HistoryRowsTest, KeysAreReadBackAndShortEnough) {
  const RowKey kKeys[] = {
      {.kind = RowKind::kBatch, .uid = kUid, .attempt = 3, .steps = {256, 511}},
      {.kind = RowKind::kItem, .uid = "u", .attempt = 1, .level = 2, .steps = {int64_t{1} << 40, -1}},
      {.kind = RowKind::kLost, .uid = "u", .attempt = 1, .steps = {7, -1}},
      {.kind = RowKind::kNames, .uid = "u"},
      {.kind = RowKind::kProtected, .uid = "u", .attempt = 1},
      {.kind = RowKind::kTier,
       .uid = kUid,
       .attempt = 1,
       .level = 1,
       .group = TierGroup::kLayerDead,
       .steps = {0, 255}},
  };
  for (const RowKey& key : kKeys) {
    const std::string bytes = key.Encode();
    EXPECT_LE(bytes.size(), kLongestHistoryKey);
    const auto read = RowKey::Decode(bytes);
    ASSERT_TRUE(read.has_value()) << bytes;
    EXPECT_EQ(read->Encode(), bytes);
    EXPECT_EQ(read->uid, key.uid);
    EXPECT_EQ(read->steps, key.steps);
    const KeyRange of_job = RowsOf(key.kind, key.uid), all = RowsOf(key.kind);
    EXPECT_TRUE(of_job.from <= bytes && bytes < of_job.to);
    EXPECT_TRUE(all.from <= of_job.from && of_job.to < all.to);
    EXPECT_FALSE(RowKey::Decode(bytes.substr(0, bytes.size() - 1)).has_value());
  }
  EXPECT_FALSE(RowKey::Decode("").has_value());
  EXPECT_FALSE(RowKey::Decode("v").has_value());
}

TEST(HistoryRowsTest, KeysAreInTheOrderOfJobsAttemptsAndSteps) {
  const auto key = [](const char* uid, int32_t attempt, int64_t first) {
    return RowKey{.kind = RowKind::kBatch, .uid = uid, .attempt = attempt, .steps = {first, first}}.Encode();
  };
  EXPECT_LT(key("u", 1, 255), key("u", 1, 256));
  EXPECT_LT(key("u", 1, 70'000), key("u", 2, 0));
  EXPECT_LT(key("u", 200, 0), key("u-2", 1, 0));
  EXPECT_LT(key("u", 200, 0), RowsOf(RowKind::kBatch, "u").to);
  EXPECT_GT(key("u-2", 1, 0), RowsOf(RowKind::kBatch, "u").to);
  EXPECT_EQ(JournalNumber(JournalKey(uint64_t{1} << 40)), uint64_t{1} << 40);
  EXPECT_LT(JournalKey(255), JournalKey(256));
}

TEST(HistoryRowsTest, ValuesAreReadBackOrRefused) {
  const HistoryItem item{.steps = {256, 511},
                         .through = 500,
                         .previous_step = 255,
                         .bytes = 40'000,
                         .stored = absl::FromUnixSeconds(1'700'000'000),
                         .journal = 77,
                         .groups = 5};
  EXPECT_EQ(DecodeItem(256, EncodeItem(item)), item);
  const LostSteps lost{{7, 9}, "away"};
  EXPECT_EQ(DecodeLostSteps(7, EncodeLostSteps(lost)), lost);
  const StepRanges ranges = {{1, 5}, {10, 10}};
  EXPECT_EQ(DecodeRanges(EncodeRanges(ranges)), ranges);
  const std::vector<std::string> names = {"a", "", "layer 3"};
  EXPECT_EQ(DecodeNames(EncodeNames(names)), names);
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i) {
    std::string bytes(random() % 30, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    DecodeItem(0, bytes);  // and nothing happens
    DecodeRanges(bytes);
    DecodeNames(bytes);
  }
  EXPECT_FALSE(DecodeItem(0, "\x80").has_value());
  EXPECT_FALSE(DecodeNames("\x05name").has_value());
}

TEST(HistoryRowsTest, UidsAreNames) {
  EXPECT_THAT(CheckUid(kUid), IsOk());
  for (const char* uid : {"", "a/b", "a b", "0123456789012345678901234567890123456"})
    EXPECT_THAT(CheckUid(uid), Not(IsOk()));
}

}  // namespace
}  // namespace gradwatch::server
