#include "server/stream/resume_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "core/base/error.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;

TEST(ResumeTokenTest, ComesBackAsItWas) {
  const ResumeToken tokens[] = {
      {},
      {"epoch", "uid", {1, 2, 3}, 4, 5},
      {"e", "", {0, 0, -1}, 1, std::numeric_limits<uint64_t>::max()},
      {std::string(100, 'e'),
       "uid",
       {std::numeric_limits<int64_t>::max(), std::numeric_limits<int32_t>::max(), int64_t{1} << 62},
       std::numeric_limits<int64_t>::max(),
       0},
  };
  for (const ResumeToken& token : tokens) {
    const std::string text = token.Encode();
    EXPECT_EQ(text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
              std::string::npos);
    const auto decoded = ResumeToken::Decode(text);
    ASSERT_THAT(decoded, IsOk());
    EXPECT_EQ(*decoded, token);
  }
}

TEST(ResumeTokenTest, RefusesWhatIsNotOurs) {
  const std::string good = ResumeToken{"epoch", "uid", {10, 1, 20}, 0, 77}.Encode();
  for (const std::string& text : {std::string(), std::string("AAAA"), std::string("not base64!"), good + "=",
                                  good + "\n", " " + good, good + good, std::string(1 << 20, 'A')}) {
    const auto decoded = ResumeToken::Decode(text);
    EXPECT_THAT(decoded, StatusIs(absl::StatusCode::kInvalidArgument, _));
    EXPECT_EQ(core::GetReason(decoded.status()), "BAD_RESUME_TOKEN");
  }
}

TEST(ResumeTokenTest, RefusesEveryChangeOfACharacter) {
  const std::string good = ResumeToken{"epoch", "uid", {10, 1, 20}, 0, 77}.Encode();
  for (size_t i = 0; i < good.size(); ++i) {
    for (const char other : {'A', '_', 'q', '7', '=', '\0'}) {
      std::string bad = good;
      bad[i] = other;
      if (bad == good) continue;
      EXPECT_THAT(ResumeToken::Decode(bad), StatusIs(absl::StatusCode::kInvalidArgument, _)) << bad;
    }
    EXPECT_THAT(ResumeToken::Decode(good.substr(0, i)), StatusIs(absl::StatusCode::kInvalidArgument, _));
  }
}

TEST(ResumeTokenTest, RefusesRandomStrings) {
  constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::mt19937 random(3);
  for (int i = 0; i < 10'000; ++i) {
    std::string text(random() % 120, '\0');
    for (char& c : text) c = i % 2 == 0 ? kAlphabet[random() % 64] : static_cast<char>(random());
    EXPECT_THAT(ResumeToken::Decode(text), StatusIs(absl::StatusCode::kInvalidArgument, _));
  }
}

}  // namespace
}  // namespace gradwatch::server
