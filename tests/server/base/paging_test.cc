#include "server/base/paging.h"

#include <gmock/gmock.h>

#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "gradwatch/v1/alert.pb.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::StatusIs;
using ::testing::HasSubstr;

TEST(Paging, Sizes) {
  EXPECT_EQ(*PageSize(0, 50), 50);
  EXPECT_EQ(*PageSize(7, 50), 7);
  EXPECT_EQ(*PageSize(1000, 50), 1000);
  EXPECT_EQ(*PageSize(1001, 50), 1000);
  EXPECT_THAT(PageSize(-1, 50), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_size: -1")));
}

TEST(Paging, EndsAtAMebibyteOrAtItsEntriesAndHasAtLeastOne) {
  const auto taken = [](int entries, size_t bytes) {
    v1::Silence entry;
    entry.set_comment(std::string(bytes, 'x'));
    PageRoom room(entries);
    int count = 0;
    while (room.Take(entry)) ++count;
    return count;
  };
  EXPECT_EQ(taken(3, 10), 3);
  EXPECT_EQ(taken(1000, 0), 1000);
  EXPECT_EQ(taken(1000, size_t{10} << 10), 102);
  EXPECT_EQ(taken(1000, size_t{2} << 20), 1);
}

TEST(Paging, TokensHoldForTheirListOnly) {
  const std::string token = MakePageToken(123, "jobs");
  EXPECT_EQ(*ReadPageToken(token, "jobs", 9), 123);
  EXPECT_EQ(*ReadPageToken("", "jobs", 9), 9);
  for (const std::string& wrong : {std::string("x"), std::string("!!"), token.substr(1), token + "A"}) {
    EXPECT_EQ(core::GetReason(ReadPageToken(wrong, "jobs", 9).status()), "BAD_PAGE_TOKEN") << wrong;
  }
  EXPECT_EQ(core::GetReason(ReadPageToken(token, "alerts", 9).status()), "BAD_PAGE_TOKEN");
}

TEST(Paging, APlaceMayTakeSeveralNumbers) {
  const std::vector<int64_t> place = {1, -1, std::numeric_limits<int64_t>::max()};
  const std::string token = MakePageToken(place, "statistics");
  EXPECT_EQ(*ReadPagePlace(token, "statistics", 3), place);
  for (const size_t numbers : {1u, 2u, 4u}) {
    EXPECT_EQ(core::GetReason(ReadPagePlace(token, "statistics", numbers).status()), "BAD_PAGE_TOKEN") << numbers;
  }
  EXPECT_EQ(core::GetReason(ReadPagePlace("", "statistics", 3).status()), "BAD_PAGE_TOKEN");
  EXPECT_EQ(core::GetReason(ReadPageToken(token, "statistics", 0).status()), "BAD_PAGE_TOKEN");
}

// Whatever a client sends: an error, or numbers that make the same token again.
TEST(Paging, DamagedTokensAreRefused) {
  std::mt19937_64 random(1);
  const std::vector<int64_t> place = {3, 12, 4096};
  const std::string token = MakePageToken(place, "list");
  for (int i = 0; i < 10'000; ++i) {
    std::string damaged = token;
    for (uint64_t j = 0; j <= random() % 3; ++j) damaged[random() % damaged.size()] = static_cast<char>(random());
    if (random() % 4 == 0) damaged.resize(random() % damaged.size());
    const auto read = ReadPagePlace(damaged, "list", 3);
    if (read.ok()) {
      EXPECT_EQ(*read, place);
    }
  }
}

}  // namespace
}  // namespace gradwatch::server
