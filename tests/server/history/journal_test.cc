#include "server/history/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;

TEST(JournalTest, GivesBackWhatWasPutIn) {
  const std::vector<std::vector<JournalPart>> cases = {
      {},
      {{"", 0, ""}},
      {{"job", 1, "entries"}},
      {{"job", std::numeric_limits<int32_t>::max(), std::string(100'000, 'x')}, {"other", -1, std::string(3, '\0')}},
      {{"job", 1, "a"}, {"job", 2, "b"}, {"job", 1, "c"}},
  };
  for (const std::vector<JournalPart>& parts : cases) {
    const auto decoded = DecodeJournal(EncodeJournal(parts));
    ASSERT_THAT(decoded, IsOk());
    EXPECT_EQ(*decoded, parts);
  }
}

TEST(JournalTest, SaysThatItIsDamagedOrIsWhole) {
  std::mt19937_64 random(1);
  std::string entries(2000, '\0');
  for (char& c : entries) c = static_cast<char>(random() % 7);
  const std::vector<JournalPart> parts = {{"3f2b", 1, entries}, {"77aa", 2, "few"}};
  const std::string record = EncodeJournal(parts);
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = record;
    if (round % 3 == 0) damaged.resize(random() % damaged.size());
    if (round % 3 == 1) damaged += static_cast<char>(random());
    if (round % 3 == 2) damaged[random() % damaged.size()] ^= static_cast<char>(1 << random() % 8);
    const auto decoded = DecodeJournal(damaged);
    if (decoded.ok()) {
      EXPECT_EQ(*decoded, parts) << "round " << round;
    } else {
      EXPECT_THAT(decoded, StatusIs(absl::StatusCode::kDataLoss, _));
    }
  }
}

// What somebody has put together with sizes that are not there.
TEST(JournalTest, TakesNoMemoryForWhatIsNotThere) {
  for (const std::string& content : {std::string("\xff\xff\xff\xff\x7f"), std::string("\x01j\x01\x7f"),
                                     std::string("\x01j\xff\xff\xff\xff\xff\x01\x00", 9)}) {
    std::string frame(ZSTD_compressBound(content.size()), '\0');
    frame.resize(ZSTD_compress(frame.data(), frame.size(), content.data(), content.size(), 1));
    EXPECT_THAT(DecodeJournal("\x01" + frame), StatusIs(absl::StatusCode::kDataLoss, _));
  }
}

}  // namespace
}  // namespace gradwatch::server
