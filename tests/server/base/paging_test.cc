#include "server/base/paging.h"

#include <gmock/gmock.h>

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

}  // namespace
}  // namespace gradwatch::server
